// Whose socket it is: everything but the server's end of a client's connection is refused.

#include "privhelper/peer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/fd.h"
#include "base/unix-address.h"

namespace warden::privhelper {
namespace {

Fd makeSocket(int domain = AF_UNIX, int type = SOCK_STREAM) {
  int fd;
  KJ_SYSCALL(fd = socket(domain, type | SOCK_CLOEXEC, 0));
  return Fd(fd);
}

void bindTo(int socket, const std::string& path) {
  UnixAddress address(path);
  KJ_SYSCALL(bind(socket, address.get(), address.size()));
}

Fd listenOn(const std::string& path) {
  Fd listener = makeSocket();
  bindTo(listener, path);
  KJ_SYSCALL(listen(listener, 8));
  return listener;
}

void connectTo(int socket, const std::string& path) {
  UnixAddress address(path);
  KJ_SYSCALL(connect(socket, address.get(), address.size()));
}

Fd acceptFrom(int listener) {
  int fd;
  KJ_SYSCALL(fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  return Fd(fd);
}

class PeerTest : public testing::Test {
 protected:
  PeerTest() {
    char name[] = "/tmp/peer-test-XXXXXX";
    KJ_REQUIRE(mkdtemp(name) != nullptr);
    directory = name;
    listener = listenOn(path("warden.sock"));
    identity.emplace(listener.get());
  }
  ~PeerTest() noexcept override { std::filesystem::remove_all(directory); }

  std::string path(const char* name) const { return directory + "/" + name; }

  void expectRefused(int socket) { EXPECT_TRUE(attest(socket, *identity).is<Refusal>()); }

  std::string directory;
  Fd listener;
  std::optional<ListenerIdentity> identity;
};

TEST_F(PeerTest, attestsWhoConnected) {
  constexpr uid_t USER = 60001;
  Fd client = makeSocket();
  KJ_SYSCALL(chmod(directory.c_str(), 0755));
  KJ_SYSCALL(chmod(path("warden.sock").c_str(), 0777));
  // Credentials are those of the thread that connects.
  std::thread([&]() {
    gid_t groups[] = {60003, 60002};
    KJ_SYSCALL(syscall(SYS_setgroups, 2, groups));
    KJ_SYSCALL(syscall(SYS_setresgid, USER, USER, USER));
    KJ_SYSCALL(syscall(SYS_setresuid, USER, USER, USER));
    connectTo(client, path("warden.sock"));
  }).join();
  auto attested = attest(acceptFrom(listener), *identity);
  ASSERT_TRUE(attested.is<PeerCredentials>()) << attested.get<Refusal>().reason.cStr();
  auto& peer = attested.get<PeerCredentials>();
  EXPECT_EQ(peer.uid, USER);
  EXPECT_EQ(peer.gid, USER);
  EXPECT_EQ(peer.pid, getpid());
  EXPECT_TRUE(peer.isMember(60002));
  EXPECT_TRUE(peer.isMember(60003));
  EXPECT_FALSE(peer.isMember(0));
}

TEST_F(PeerTest, attestsAClientThatHasEndedWhatItSends) {
  Fd client = makeSocket();
  connectTo(client, path("warden.sock"));
  Fd accepted = acceptFrom(listener);
  KJ_SYSCALL(shutdown(client, SHUT_WR));
  EXPECT_TRUE(attest(accepted, *identity).is<PeerCredentials>());
}

TEST_F(PeerTest, refusesTheSocketOfAClientThatHasLeft) {
  Fd client = makeSocket();
  connectTo(client, path("warden.sock"));
  Fd accepted = acceptFrom(listener);
  client = nullptr;
  expectRefused(accepted);
}

TEST_F(PeerTest, refusesTheClientsEnd) {
  Fd client = makeSocket();
  connectTo(client, path("warden.sock"));
  Fd accepted = acceptFrom(listener);
  expectRefused(client);
}

TEST_F(PeerTest, refusesTheListener) {
  expectRefused(listener);
}

TEST_F(PeerTest, refusesAPairThatWasNeverConnected) {
  int ends[2];
  KJ_SYSCALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
  Fd left(ends[0]), right(ends[1]);
  expectRefused(left);
}

TEST_F(PeerTest, refusesConnectionsToAnotherServiceOfRoot) {
  // Seen from the end that connects, the peer is whoever listens.
  Fd other = listenOn(path("other.sock"));
  Fd client = makeSocket();
  connectTo(client, path("other.sock"));
  Fd accepted = acceptFrom(other);
  expectRefused(client);
  expectRefused(accepted);
}

TEST_F(PeerTest, refusesASocketThatIsBoundToTheSameNameInAnotherMountNamespace) {
  Fd other = listenOn(path("other.sock"));
  Fd client = makeSocket();
  std::thread([&]() {
    KJ_SYSCALL(unshare(CLONE_FS | CLONE_NEWNS));
    KJ_SYSCALL(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr));
    Fd here(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    KJ_SYSCALL(mount("tmpfs", directory.c_str(), "tmpfs", 0, nullptr));
    bindTo(client, path("warden.sock"));
    KJ_SYSCALL(fchdir(here));
    connectTo(client, "other.sock");
  }).join();
  sockaddr_un name{};
  socklen_t size = sizeof(name);
  KJ_SYSCALL(getsockname(client, reinterpret_cast<sockaddr*>(&name), &size));
  ASSERT_EQ(path("warden.sock"), name.sun_path);
  expectRefused(client);
}

TEST_F(PeerTest, refusesOtherKindsOfDescriptors) {
  expectRefused(makeSocket(AF_INET));
  expectRefused(makeSocket(AF_UNIX, SOCK_DGRAM));
  expectRefused(makeSocket(AF_UNIX, SOCK_SEQPACKET));
  expectRefused(makeSocket());
  Pipe pipe = makePipe();
  expectRefused(pipe.readEnd);
  expectRefused(Fd(open("/", O_PATH | O_CLOEXEC)));
  expectRefused(Fd(open("/dev/null", O_RDWR | O_CLOEXEC)));
}

}  // namespace
}  // namespace warden::privhelper
