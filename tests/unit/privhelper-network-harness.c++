#include "tests/unit/privhelper-network-harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <regex>

#include "privhelper/frontend-process.h"

namespace warden::privhelper {

namespace {

Fd currentNamespace() {
  int raw;
  KJ_SYSCALL(raw = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  return Fd(raw);
}

constexpr uint64_t GONE_US = 5'000'000;

}  // namespace

std::string shell(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "re");
  KJ_REQUIRE(pipe != nullptr);
  std::string output;
  char buffer[4096];
  while (size_t n = fread(buffer, 1, sizeof(buffer), pipe))
    output.append(buffer, n);
  int status = pclose(pipe);
  KJ_REQUIRE(status == 0, command.c_str(), output.c_str());
  return output;
}

Namespace::Namespace() {
  Fd before = currentNamespace();
  KJ_SYSCALL(unshare(CLONE_NEWNET));
  descriptor = currentNamespace();
  KJ_SYSCALL(setns(before, CLONE_NEWNET));
}

Namespace::Stay::Stay(int there) : back(currentNamespace()) {
  KJ_SYSCALL(setns(there, CLONE_NEWNET));
}

Namespace::Stay::~Stay() noexcept(false) {
  KJ_SYSCALL(setns(back, CLONE_NEWNET));
}

std::string Namespace::run(const std::string& command) const {
  return inside([&] { return shell(command); });
}

Fd Namespace::socket(int family, int type, int protocol) const {
  return inside([&] {
    int raw;
    KJ_SYSCALL(raw = ::socket(family, type | SOCK_CLOEXEC, protocol));
    return Fd(raw);
  });
}

sockaddr_in socketAddress(const char* address, uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(port);
  KJ_REQUIRE(inet_pton(AF_INET, address, &result.sin_addr) == 1);
  return result;
}

Fd listenAt(const Namespace& where, const char* address, uint16_t port) {
  Fd fd = where.socket(AF_INET, SOCK_STREAM);
  int yes = 1;
  KJ_SYSCALL(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)));
  auto name = socketAddress(address, port);
  KJ_SYSCALL(bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof(name)));
  KJ_SYSCALL(listen(fd, 16));
  return fd;
}

bool connects(const Namespace& where, const char* address, uint16_t port, int timeoutMs) {
  Fd fd = where.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
  auto name = socketAddress(address, port);
  if (connect(fd, reinterpret_cast<sockaddr*>(&name), sizeof(name)) == 0) return true;
  if (errno != EINPROGRESS) return false;
  pollfd p{fd, POLLOUT, 0};
  if (poll(&p, 1, timeoutMs) == 0) return false;
  int error;
  socklen_t size = sizeof(error);
  KJ_SYSCALL(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));
  return error == 0;
}

NetworkTest::NetworkTest()
    : policy{.serverName = "warden-unit",
             .poolStart = 0x0afe0000,
             .poolSize = 256,
             .mtu = 1500,
             .allowNetworks = {},
             .allowHostAccess = false,
             .allowIpv6 = false},
      log(duplicate(STDERR_FILENO)) {
  host.run(
      "ip link set lo up && ip link add up0 type veth peer name up1 && "
      "ip addr add 192.0.2.1/24 dev up0 && ip link set up0 up");
  host.run("ip link set up1 netns /proc/" + std::to_string(getpid()) + "/fd/" +
           std::to_string(world.fd()));
  world.run("ip link set lo up && ip addr add 192.0.2.2/24 dev up1 && ip link set up1 up");
  host.run("ip route add default via 192.0.2.2");
  for (const Namespace* space : {&host, &world}) {
    space->run(
        "for i in $(seq 100); do ip -o link show | grep -q 'up[01].*state UP' && exit; sleep 0.01; "
        "done; exit 1");
  }
  listener = listenAt(world, WORLD, 80);
}

void NetworkTest::start() {
  network = host.inside([&] {
    auto made = kj::heap<Network>(policy, log);
    made->start();
    return made;
  });
}

NetworkTest::TestContainer& NetworkTest::addContainer(uint32_t index) {
  auto id = ContainerId::fromNumber(1000 + index);
  auto made = std::make_unique<TestContainer>(TestContainer{
      .space = {},
      .id = id,
      .name = std::string("w-") + id.text().cStr() + "-0",
      .address = ipv4Text(policy.containerAddress(index)).cStr(),
      .network = kj::heap<ContainerNetwork>(*network, id, index),
  });
  made->network->attach(made->space.fd());
  made->space.run("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6");
  made->space.inside([&] {
    NetlinkSocket socket(NETLINK_ROUTE);
    NetlinkRequest request;
    addLoopback(request);
    addContainerEnd(request, PEER_INDEX, policy.containerAddress(index), policy.hostAddress(index));
    socket.transact("configure the container's end", request);
  });
  made->network->awaitRunning();
  containers.push_back(std::move(made));
  return *containers.back();
}

bool NetworkTest::waitUntilGone(ContainerNetwork& container) {
  uint64_t deadline = monotonicUs() + GONE_US;
  while (!container.isGone()) {
    pollfd p{network->fd(), POLLIN, 0};
    poll(&p, 1, 1000);
    network->handleEvents();
    if (monotonicUs() > deadline) return false;
  }
  return true;
}

void NetworkTest::end(TestContainer& container) {
  container.space.close();
  EXPECT_TRUE(waitUntilGone(*container.network));
  container.network = nullptr;
}

uint64_t NetworkTest::packets(const char* set, const TestContainer& container) {
  std::string listing = host.run("nft list set inet warden-unit " + std::string(set));
  std::smatch match;
  std::regex pattern("\"" + container.name + "\"[^,}]*counter packets ([0-9]+)");
  KJ_REQUIRE(std::regex_search(listing, match, pattern), listing.c_str());
  return std::stoull(match[1]);
}

}  // namespace warden::privhelper
