// What the helper finds out about a client by itself: with real processes of several users.

#include "privhelper/client-facts.h"

#include <capnp/message.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base-testing.h"
#include "base/pidfd.h"
#include "base/unix-address.h"
#include "privhelper/filters.h"

namespace warden::privhelper {
namespace {

constexpr uid_t ALICE = 60001;

TEST(UnitTest, isTheFirstComponentThatIsNoSlice) {
  EXPECT_EQ(unitOf("0::/system.slice/warden.service\n"), "warden.service");
  EXPECT_EQ(unitOf("0::/system.slice/system-getty.slice/getty@tty1.service/deeper\n"),
            "getty@tty1.service");
  EXPECT_EQ(unitOf("0::/user.slice/user-1000.slice/session-3.scope\n"), "session-3.scope");
  // What a user's own manager calls units is the user's word.
  EXPECT_EQ(unitOf("0::/user.slice/user-1000.slice/user@1000.service/app.slice/root.service\n"),
            "user@1000.service");
  EXPECT_EQ(unitOf("0::/system.slice/_cgroup.service\n"), "cgroup.service");
  EXPECT_EQ(unitOf("12:pids:/a.service\n1:name=systemd:/system.slice/b.service\n0::/\n"),
            "b.service");
  EXPECT_EQ(unitOf("1:name=systemd:/\n0::/system.slice/b.service\n"), "b.service");
  for (const char* none : {"", "0::/\n", "0::/system.slice\n", "0::/warden/instance-0/x.service\n",
                           "4:memory:/a.service\n", "0::/.service\n", "nonsense"})
    EXPECT_EQ(unitOf(none), "") << none;
  EXPECT_EQ(unitOf("0::/" + std::string(300, 'a') + ".service\n"), "");
}

// An observer as the server has it, but in this mount namespace.
struct RunningObserver {
  Fd connection;
  pid_t pid;

  RunningObserver() {
    SocketPair pair = makePacketPair();
    KJ_SYSCALL(pid = fork());
    if (pid == 0) {
      pair.left = nullptr;
      try {
        runObserver(kj::mv(pair.right));
      } catch (...) {
        _exit(1);
      }
    }
    connection = kj::mv(pair.left);
  }
  ~RunningObserver() {
    connection = nullptr;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
};

class ClientFactsTest : public ::testing::Test {
 protected:
  ClientFactsTest() {
    if (geteuid() != 0) return;
    int raw;
    KJ_SYSCALL(raw = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    listener = Fd(raw);
    UnixAddress address(listenerPath());
    KJ_SYSCALL(bind(listener, address.get(), address.size()));
    KJ_SYSCALL(chmod(listenerPath().c_str(), 0777));
    KJ_SYSCALL(chmod(directory.path.c_str(), 0755));
    KJ_SYSCALL(listen(listener, 8));
    identity.emplace(listener.get());
    facts.emplace(*identity, Observer(duplicate(observer.connection)));
  }
  ~ClientFactsTest() noexcept override {}

  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: clients of several users";
  }

  std::string listenerPath() { return directory.path + "/listener"; }

  // A process of the user that has connected, and waits until it is killed.
  pid_t startClient(uid_t user, bool dumpable = true) {
    pid_t pid;
    KJ_SYSCALL(pid = fork());
    if (pid != 0) return pid;
    UnixAddress address(listenerPath());
    Fd connection(socket(AF_UNIX, SOCK_STREAM, 0));
    if (setgid(user) < 0 || setuid(user) < 0 || prctl(PR_SET_DUMPABLE, dumpable) < 0 ||
        connect(connection, address.get(), address.size()) < 0) {
      _exit(1);
    }
    for (;;)
      pause();
  }

  Fd accept() {
    int raw;
    KJ_SYSCALL(raw = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    return Fd(raw);
  }

  static void end(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }

  test::TemporaryDirectory directory;
  RunningObserver observer;
  Fd listener;
  std::optional<ListenerIdentity> identity;
  std::optional<ClientFacts> facts;
  std::string self = std::filesystem::read_symlink("/proc/self/exe");
};

TEST_F(ClientFactsTest, nameTheProgramOfAnyUsersProcess) {
  for (uid_t user : {uid_t(0), ALICE}) {
    for (bool dumpable : {true, false}) {
      pid_t client = startClient(user, dumpable);
      Fd socket = accept();
      auto& peer = facts->of(socket, readPeerCredentials(socket));
      EXPECT_EQ(peer.pid, client);
      EXPECT_EQ(peer.uid, user);
      EXPECT_EQ(peer.executable, self);
      end(client);
    }
  }
}

TEST_F(ClientFactsTest, nameNoProgramOfAProcessThatHasEnded) {
  // Its number may be another's by now.
  pid_t client = startClient(ALICE);
  Fd socket = accept();
  auto credentials = readPeerCredentials(socket);
  end(client);
  auto& peer = facts->of(socket, credentials);
  EXPECT_EQ(peer.pid, client);
  EXPECT_EQ(peer.uid, ALICE);
  EXPECT_EQ(peer.executable, "");
  EXPECT_EQ(peer.unit, "");
}

TEST_F(ClientFactsTest, areKeptForTheConnection) {
  pid_t client = startClient(ALICE);
  Fd socket = accept();
  auto credentials = readPeerCredentials(socket);
  facts->of(socket, credentials);
  end(client);
  EXPECT_EQ(facts->of(duplicate(socket), credentials).executable, self);
}

TEST_F(ClientFactsTest, ofAFrontendsMessagesAreTheHelpersOwn) {
  pid_t client = startClient(ALICE);
  Fd socket = accept();
  AuditLog log{duplicate(STDERR_FILENO)};
  auto send = [&](auto&& fill, Fd descriptor = Fd()) {
    capnp::MallocMessageBuilder message;
    fill(message.initRoot<schema::AuditMessage>());
    kj::Vector<Fd> fds;
    if (descriptor != nullptr) fds.add(kj::mv(descriptor));
    auto words = capnp::messageToFlatArray(message);
    Packet packet = decodePacket(words.asBytes(), kj::mv(fds));
    facts->receive(packet, log);
  };
  send([](auto message) { message.setClient(); }, duplicate(socket));
  end(client);
  // It was looked at then.
  EXPECT_EQ(facts->of(socket, readPeerCredentials(socket)).executable, self);
  send([](auto message) { message.setGone(1); });  // of another, or none

  // Who has connected to something else, or nothing, is no client.
  SocketPair pair = makePacketPair();
  EXPECT_ANY_THROW(send([](auto message) { message.setClient(); }, kj::mv(pair.left)));
  EXPECT_ANY_THROW(send([](auto message) { message.setClient(); }));
}

TEST_F(ClientFactsTest, cannotBeHadWhenTheObserverHasEnded) {
  end(observer.pid);
  pid_t client = startClient(ALICE);
  Fd socket = accept();
  EXPECT_ANY_THROW(facts->of(socket, readPeerCredentials(socket)));
  EXPECT_EQ(facts->observer(), -1);
  end(client);
}

TEST(ObserverTest, canReadLinksAndOpenNothing) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root: it gives up privilege";
  RunningObserver running;
  Observer observer(duplicate(running.connection));
  EXPECT_EQ(observer.executableOf(getpid()),
            std::string(std::filesystem::read_symlink("/proc/self/exe")));
  EXPECT_EQ(observer.executableOf(-5), "");
  EXPECT_EQ(observer.executableOf(0), "");
  std::ifstream status("/proc/" + std::to_string(running.pid) + "/status");
  std::string text((std::istreambuf_iterator<char>(status)), {});
  EXPECT_NE(text.find("CapPrm:\t0000000000080000\n"), std::string::npos) << text;  // SYS_PTRACE
  EXPECT_NE(text.find("CapBnd:\t0000000000080000\n"), std::string::npos) << text;
  EXPECT_NE(text.find("Seccomp:\t2\n"), std::string::npos) << text;
  EXPECT_NE(text.find("NoNewPrivs:\t1\n"), std::string::npos) << text;
  int status2 = test::inChild([]() {
    observerFilter().install();
    CHILD_EXPECT(open("/proc/self/mem", O_RDONLY) < 0 && errno == EPERM);
    CHILD_EXPECT(openat(AT_FDCWD, "/", O_PATH) < 0 && errno == EPERM);
    CHILD_EXPECT(fork() < 0 && errno == EPERM);
    CHILD_EXPECT(kill(getppid(), 0) < 0 && errno == EPERM);
    char link[8];
    CHILD_EXPECT(readlinkat(AT_FDCWD, "/proc/self/exe", link, sizeof(link)) > 0);
    return 0;
  });
  EXPECT_EQ(status2, 0);
}

}  // namespace
}  // namespace warden::privhelper
