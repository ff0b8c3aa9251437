// The helper as a service manager starts it: who takes the frontend's place at its socket, and what
// the descriptor store holds, are attacked.

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <linux/sched.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/privilege.h"
#include "base/unix-address.h"
#include "tests/support/server-test.h"

namespace warden::test {
namespace {

using std::chrono::seconds;

class Child {
  // A process of the test's own, ended with it.

 public:
  template <typename Body>
  explicit Child(Body&& body, pid_t number = 0) {
    // `number`: its pid (clone(2), set_tid); 0: any.
    clone_args arguments{};
    arguments.exit_signal = SIGCHLD;
    if (number != 0) {
      arguments.set_tid = reinterpret_cast<uint64_t>(&number);
      arguments.set_tid_size = 1;
    }
    KJ_SYSCALL(process = syscall(SYS_clone3, &arguments, sizeof(arguments)));
    if (process != 0) return;
    try {
      body();
    } catch (...) {
      _exit(99);
    }
    _exit(0);
  }
  ~Child() {
    kill(process, SIGKILL);
    waitpid(process, nullptr, 0);
  }
  KJ_DISALLOW_COPY(Child);

  pid_t pid() const { return process; }

 private:
  pid_t process;
};

[[noreturn]] void sleepForEver() {
  for (;;)
    pause();
}

class ServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    ServerOptions options;
    options.helper = WARDEN_BIN_DIR "/warden-socket-activate";
    options.slots = 4;
    server = std::make_unique<TestServer>(options);
    server->setEnvironment("WARDEN_TEST_CLIENTS", server->socketPath());
    server->setEnvironment("WARDEN_TEST_FRONTEND", helperSocket());
    user = getpwnam("warden");
    ASSERT_NE(user, nullptr);
  }

  void TearDown() override {
    if (server->brokerPid() > 0) {
      if (frontend) destroyAll(*server);
      server->stop();
    }
    frontend.reset();
    expectNothingRemains(*server);
  }

  std::string helperSocket() const { return server->directory() + "/helper.sock"; }

  void becomeFrontendsUser() { becomeUser(user->pw_uid, user->pw_gid); }

  // In a child that has become the frontend's user.
  int connectToHelper() {
    int fd;
    KJ_SYSCALL(fd = socket(AF_UNIX, SOCK_SEQPACKET, 0));
    UnixAddress address(helperSocket());
    KJ_SYSCALL(connect(fd, address.get(), address.size()));
    return fd;
  }

  void startHelper() {
    unlink(helperSocket().c_str());
    server->launch();
    ASSERT_TRUE(waitUntil([&]() { return access(helperSocket().c_str(), F_OK) == 0; }));
  }

  void startFrontend() {
    frontend = std::make_unique<Child>([this]() {
      becomeFrontendsUser();
      execl(WARDEN_BIN_DIR "/warden-frontend", "warden-frontend", "--connect",
            helperSocket().c_str(), nullptr);
    });
  }

  void start() {
    startHelper();
    startFrontend();
    server->waitUntilServing();
  }

  void killHelper() {
    kill(server->brokerPid(), SIGKILL);
    server->waitForExit();
    frontend.reset();
  }

  // Starts a helper that finds this under the container's id.
  void restartWith(const std::string& id, pid_t stored) {
    server->setEnvironment("WARDEN_TEST_STORE", id + " " + std::to_string(stored));
    start();
  }

  bool recordSays(const std::string& text) {
    return waitUntil([&]() { return server->logs().find(text) != std::string::npos; }, seconds(5));
  }

  std::unique_ptr<TestServer> server;
  std::unique_ptr<Child> frontend;
  passwd* user = nullptr;
};

// --- the frontend's place

TEST_F(ServiceTest, oneThatSaysNothingDoesNotKeepTheFrontendOut) {
  startHelper();
  Child silent([this]() {
    becomeFrontendsUser();
    connectToHelper();
    connectToHelper();
    sleepForEver();
  });
  ASSERT_TRUE(recordSays("frontend connected, pid " + std::to_string(silent.pid())));
  startFrontend();
  server->waitUntilServing(seconds(30));
  EXPECT_TRUE(recordSays("process " + std::to_string(silent.pid()) +
                         " has connected as the frontend and said nothing for 5 s"))
      << server->logs();
  TestClient client = server->connect();
  EXPECT_EQ(client.output(client.create(), "echo fine"), "fine\n");
  // The frontend itself may say nothing for as long as it likes.
  sleep(6);
  client.ping();
  EXPECT_TRUE(isAlive(frontend->pid()));
}

TEST_F(ServiceTest, norDoesOneThatSaysSomethingElse) {
  startHelper();
  Child chatty([this]() {
    becomeFrontendsUser();
    int fd = connectToHelper();
    for (;;) {
      send(fd, "what is no message", 18, MSG_NOSIGNAL);
      usleep(100'000);
    }
  });
  ASSERT_TRUE(recordSays("frontend connected, pid " + std::to_string(chatty.pid())));
  startFrontend();
  server->waitUntilServing(seconds(30));
}

// --- the descriptor store

TEST_F(ServiceTest, aDescriptorOfAForeignProcessIsNotTakenForTheContainers) {
  start();
  TestClient client = server->connect();
  std::string id = client.create(), other = client.create();
  pid_t wshd = server->wshdPid(id), otherWshd = server->wshdPid(other);
  Child foreign([]() { sleepForEver(); });
  // A process of the host's, another container's first process, and what is no process.
  for (pid_t stored : {foreign.pid(), otherWshd, pid_t(0)}) {
    killHelper();
    restartWith(id, stored);
    TestClient again = server->connect();
    EXPECT_EQ(again.list().size(), 2u) << stored;
    EXPECT_EQ(server->wshdPid(id), wshd);
    EXPECT_EQ(again.output(id, "hostname"), id + "\n");
    EXPECT_EQ(again.output(other, "hostname"), other + "\n");
  }
  // What the number says is what is destroyed.
  server->connect().destroy(id);
  EXPECT_FALSE(isAlive(wshd));
  EXPECT_TRUE(isAlive(foreign.pid()));
  EXPECT_TRUE(isAlive(otherWshd));
}

TEST_F(ServiceTest, aForeignProcessIsNotTakenForOneThatHasEnded) {
  start();
  std::string id = server->connect().create();
  pid_t wshd = server->wshdPid(id);
  killHelper();
  kill(wshd, SIGKILL);
  ASSERT_TRUE(waitUntil([&]() { return !isAlive(wshd); }));
  Child foreign([]() { sleepForEver(); });
  restartWith(id, foreign.pid());
  EXPECT_TRUE(server->connect().list().empty());
  EXPECT_TRUE(recordSays("its first process has ended"));
  EXPECT_TRUE(waitUntil([&]() { return server->depotEntries().empty(); }));
  EXPECT_TRUE(isAlive(foreign.pid()));
}

TEST_F(ServiceTest, norIsOneThatHasGotItsNumber) {
  for (bool stored : {true, false}) {
    start();
    std::string id = server->connect().create();
    pid_t wshd = server->wshdPid(id);
    killHelper();
    kill(wshd, SIGKILL);
    // Nobody holds the number any more when its last reaper has been.
    std::unique_ptr<Child> foreign;
    ASSERT_TRUE(waitUntil([&]() {
      while (waitpid(-1, nullptr, WNOHANG) > 0) {
      }
      return kj::runCatchingExceptions([&]() {
               foreign = std::make_unique<Child>([]() { sleepForEver(); }, wshd);
             }) == nullptr;
    }));
    ASSERT_EQ(foreign->pid(), wshd);
    if (stored) {
      restartWith(id, wshd);
    } else {
      server->setEnvironment("WARDEN_TEST_STORE", "");
      start();
    }
    EXPECT_TRUE(server->connect().list().empty());
    EXPECT_TRUE(recordSays("another has its number")) << server->logs();
    EXPECT_TRUE(waitUntil([&]() { return server->depotEntries().empty(); }));
    EXPECT_TRUE(isAlive(wshd)) << "it has nothing to do with the container";
    EXPECT_EQ(server->stop(), 0);
    frontend.reset();
    server->setEnvironment("WARDEN_TEST_STORE", "");
  }
}

}  // namespace
}  // namespace warden::test
