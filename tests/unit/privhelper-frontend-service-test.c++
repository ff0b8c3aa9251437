// Who may connect to the helper as its frontend, and what the frontend takes for the helper: each
// check is attacked.

#include "privhelper/frontend-service.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "base/packet.h"
#include "base/privilege.h"
#include "base/unix-address.h"
#include "frontend/handover.h"
#include "schema/privhelper.capnp.h"

namespace warden::privhelper {
namespace {

constexpr uid_t FRONTEND = 61234;
constexpr uid_t STRANGER = 61235;

Fd makeSocket() {
  int fd;
  KJ_SYSCALL(fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  return Fd(fd);
}

Fd listenOn(const std::string& path) {
  Fd listener = makeSocket();
  UnixAddress address(path);
  KJ_SYSCALL(bind(listener, address.get(), address.size()));
  KJ_SYSCALL(chmod(path.c_str(), 0666));
  KJ_SYSCALL(listen(listener, 8));
  return listener;
}

Fd connectTo(const std::string& path) {
  Fd connection = makeSocket();
  UnixAddress address(path);
  KJ_SYSCALL(connect(connection, address.get(), address.size()));
  return connection;
}

bool hears(int socket) {
  // True: something arrives within a moment; the end of the connection is not something.
  pollfd p{socket, POLLIN, 0};
  if (poll(&p, 1, 200) != 1) return false;
  char byte;
  return recv(socket, &byte, 1, MSG_PEEK) > 0;
}

class FrontendServiceTest : public testing::Test {
 protected:
  ~FrontendServiceTest() noexcept override {}

  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "becomes other users, which needs root";
    char name[] = "/tmp/warden-service-XXXXXX";
    KJ_REQUIRE(mkdtemp(name) != nullptr);
    directory = name;
    KJ_SYSCALL(chmod(name, 0755));
    service = kj::heap<FrontendService>(
        listenOn(path()), FRONTEND,
        FrontendDescriptors{
            .listener = devNull(), .config = devNull(), .image = devNull(), .depot = devNull()},
        kj::str("w.yml"), *log);
  }
  void TearDown() override {
    if (!directory.empty()) std::filesystem::remove_all(directory);
  }

  static Fd devNull() {
    int fd;
    KJ_SYSCALL(fd = open("/dev/null", O_RDWR | O_CLOEXEC));
    return Fd(fd);
  }

  std::string path() const { return directory + "/helper.sock"; }

  // In a child that has become the user; what it answers.
  static int as(uid_t user, std::function<int()> body) {
    pid_t child;
    KJ_SYSCALL(child = fork());
    if (child == 0) {
      try {
        becomeUser(user, user);
        _exit(body());
      } catch (...) {
        _exit(99);
      }
    }
    int status;
    KJ_SYSCALL(waitpid(child, &status, 0));
    return WEXITSTATUS(status);
  }

  Fd connectAs(uid_t user) {
    // The kernel keeps who has connected (unix(7), SO_PEERCRED); the socket comes back.
    SocketPair pair = makePacketPair();
    int result = as(user, [&] {
      Fd connection = connectTo(path());
      capnp::MallocMessageBuilder message;
      message.initRoot<schema::Handover>();
      int fd = connection;
      sendPacket(pair.right, message, kj::arrayPtr(&fd, 1));
      return 0;
    });
    KJ_REQUIRE(result == 0, result);
    auto packet = receivePacket(pair.left);
    return KJ_ASSERT_NONNULL(packet).takeFd(0);
  }

  std::string directory;
  kj::Own<AuditLog> log = kj::heap<AuditLog>(AuditTrail(devNull()), AuditTrail(devNull()),
                                             AuditOptions::WhenUnwritable::CONTINUE);
  kj::Own<FrontendService> service;
};

TEST_F(FrontendServiceTest, handsOverToItsUser) {
  Fd frontend = connectAs(FRONTEND);
  ASSERT_TRUE(service->start());
  EXPECT_TRUE(service->isRunning());
  auto packet = receivePacket(frontend);
  Packet& received = KJ_ASSERT_NONNULL(packet);
  EXPECT_EQ(received.fdCount(), 5u);
  EXPECT_STREQ(received.getRoot<schema::Handover>().getConfigName().cStr(), "w.yml");
}

TEST_F(FrontendServiceTest, givesAForeignUserNothing) {
  for (uid_t user : {STRANGER, uid_t(0)}) {
    Fd stranger = user == 0 ? connectTo(path()) : connectAs(user);
    EXPECT_FALSE(service->start()) << user;
    EXPECT_FALSE(service->isRunning()) << user;
    EXPECT_FALSE(hears(stranger)) << user;
  }
}

TEST_F(FrontendServiceTest, leavesASecondFrontendUnheardUntilTheFirstHasGone) {
  Fd first = connectAs(FRONTEND);
  ASSERT_TRUE(service->start());
  Fd second = connectAs(FRONTEND);
  EXPECT_EQ(service->startEvent(), -1);
  EXPECT_FALSE(hears(second));

  service->end(SIGTERM, 0);
  EXPECT_TRUE(service->hasEnded());
  service->forget();
  EXPECT_GE(service->startEvent(), 0);
  ASSERT_TRUE(service->start());
  EXPECT_TRUE(hears(second));
}

TEST_F(FrontendServiceTest, isNotServedWhereItsPeerHasGone) {
  connectAs(FRONTEND) = nullptr;
  service->start();
  // Either it saw that at once, or the end of the connection tells.
  if (service->isRunning()) {
    EXPECT_FALSE(hears(service->connection()));
  }
}

TEST_F(FrontendServiceTest, handoverIsTakenFromRootAlone) {
  // A stranger listens, by its own name and behind a link in the place of the helper's socket.
  std::string own = directory + "/own", link = directory + "/link";
  Pipe ready = makePipe(), done = makePipe();
  KJ_SYSCALL(chmod(directory.c_str(), 0777));
  pid_t child;
  KJ_SYSCALL(child = fork());
  if (child == 0) {
    becomeUser(STRANGER, STRANGER);
    Fd listener = listenOn(own);
    done.writeEnd = nullptr;
    ready.writeEnd = nullptr;
    char byte;
    _exit(read(done.readEnd, &byte, 1) < 0);
  }
  ready.writeEnd = nullptr;
  char byte;
  EXPECT_EQ(read(ready.readEnd, &byte, 1), 0);
  KJ_SYSCALL(symlink(own.c_str(), link.c_str()));
  for (auto& name : {own, link})
    EXPECT_THROW(frontend::receiveHandover(name), kj::Exception) << name;
  done.writeEnd = nullptr;
  int status;
  KJ_SYSCALL(waitpid(child, &status, 0));
}

}  // namespace
}  // namespace warden::privhelper
