// The socket of /healthz in the hands of a frontend that was taken over: it leads nowhere.

#include "privhelper/health-listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <kj/vector.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include "base/privilege.h"
#include "tests/unit/base-testing.h"

namespace warden::privhelper {
namespace {

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

Fd tcpSocket() {
  int fd;
  KJ_SYSCALL(fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return Fd(fd);
}

struct Listener {
  Fd socket = tcpSocket();
  uint16_t port;

  Listener() {
    auto address = loopback(0);
    KJ_SYSCALL(bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)));
    KJ_SYSCALL(listen(socket, 8));
    socklen_t size = sizeof(address);
    KJ_SYSCALL(getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size));
    port = ntohs(address.sin_port);
  }
};

bool connects(int socket, uint16_t port) {
  auto address = loopback(port);
  if (connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) return true;
  if (errno != EINPROGRESS) return false;
  pollfd waiting{socket, POLLOUT, 0};
  if (poll(&waiting, 1, 500) != 1) return false;
  int error = -1;
  socklen_t size = sizeof(error);
  KJ_SYSCALL(getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size));
  return error == 0;
}

void disconnect(int socket) {
  // connect(2): "The connection can be dissolved by an address of family AF_UNSPEC".
  sockaddr nobody{};
  nobody.sa_family = AF_UNSPEC;
  connect(socket, &nobody, sizeof(nobody));
}

class HealthListenerTest : public testing::Test {
 protected:
  HealthListenerTest() {
    {
      Listener free;
      config.healthCheckPort = free.port;
    }
    KJ_IF_MAYBE (socket, openHealthListener(config, "w.yml")) {
      listener = kj::mv(*socket);
    }
  }
  ~HealthListenerTest() noexcept override {}

  Config config;
  Fd listener;
  Fd client = tcpSocket();

  Fd accepted() {
    KJ_REQUIRE(connects(client, *config.healthCheckPort));
    pollfd waiting{listener, POLLIN, 0};
    KJ_REQUIRE(poll(&waiting, 1, 2000) == 1);
    int fd;
    KJ_SYSCALL(fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    return Fd(fd);
  }
};

TEST_F(HealthListenerTest, serves) {
  Fd connection = accepted();
  KJ_SYSCALL(send(client, "x", 1, 0));
  pollfd waiting{connection, POLLIN, 0};
  EXPECT_EQ(poll(&waiting, 1, 2000), 1);
  char byte;
  EXPECT_EQ(recv(connection, &byte, 1, 0), 1);
  EXPECT_EQ(send(connection, "y", 1, 0), 1);
  waiting.fd = client;
  EXPECT_EQ(poll(&waiting, 1, 2000), 1);
  EXPECT_EQ(recv(client, &byte, 1, 0), 1);
}

TEST_F(HealthListenerTest, isConnectedToNothingElse) {
  Listener victim;
  Fd connection = accepted();
  for (int socket : {connection.get(), listener.get()}) {
    disconnect(socket);
    EXPECT_FALSE(connects(socket, victim.port));
  }
  // What they try would work otherwise.
  Fd plain = tcpSocket();
  EXPECT_TRUE(connects(plain, victim.port));
}

TEST_F(HealthListenerTest, keepsItsFilter) {
  Fd connection = accepted();
  for (int socket : {connection.get(), listener.get()}) {
    int unused = 0;
    EXPECT_EQ(setsockopt(socket, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused)), -1);
    EXPECT_EQ(errno, EPERM);
    sock_filter all = BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
    sock_fprog filter{.len = 1, .filter = &all};
    EXPECT_EQ(setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)), -1);
    int off = 0;
    setsockopt(socket, SOL_SOCKET, SO_LOCK_FILTER, &off, sizeof(off));
    EXPECT_EQ(setsockopt(socket, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused)), -1);
  }
}

TEST_F(HealthListenerTest, aPortForWhichTheRightIsMissingIsAnErrorThatSaysWhatToDo) {
  int status = test::inChild([this]() {
    // ip(7), ip_unprivileged_port_start: 1024 in a new network namespace.
    CHILD_EXPECT(unshare(CLONE_NEWNET) == 0);
    kj::Vector<int> others;
    for (int cap = 0; cap <= CAP_LAST_CAP; ++cap)
      if (cap != CAP_NET_BIND_SERVICE) others.add(cap);
    limitCapabilities(others);
    config.healthCheckPort = 80;
    try {
      openHealthListener(config, "w.yml");
    } catch (const ConfigError& e) {
      std::string said = e.what();
      for (auto part : {"w.yml: health_check_server.port", "127.0.0.1:80", "Permission denied",
                        "from 1024 on", "CAP_NET_BIND_SERVICE"}) {
        CHILD_EXPECT(said.find(part) != std::string::npos);
      }
      return 0;
    }
    return 1;
  });
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace warden::privhelper
