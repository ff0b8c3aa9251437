// What changes to containers' networks cost, alone and among a thousand others. Runs in network
// namespaces of its own; prints the median of each in microseconds.

#include <fcntl.h>
#include <kj/debug.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "privhelper/frontend-process.h"
#include "privhelper/network.h"

namespace warden::privhelper {

namespace {

constexpr int SAMPLES = 40;

Fd newNamespace() {
  int before, made;
  KJ_SYSCALL(before = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  Fd home(before);
  KJ_SYSCALL(unshare(CLONE_NEWNET));
  KJ_SYSCALL(made = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  KJ_SYSCALL(setns(home, CLONE_NEWNET));
  return Fd(made);
}

class Samples {
 public:
  template <typename Body>
  void time(Body&& body) {
    uint64_t start = monotonicUs();
    body();
    values.push_back(monotonicUs() - start);
  }
  void print(const char* what, int others) {
    std::sort(values.begin(), values.end());
    printf("%-28s %5d others  p50 %6lu  p95 %6lu us\n", what, others, values[values.size() / 2],
           values[values.size() * 95 / 100]);
  }

 private:
  std::vector<uint64_t> values;
};

OutRule ruleTo(uint32_t address, uint16_t firstPort, uint16_t lastPort) {
  return OutRule{.destination = {address, address | 255},
                 .protocol = schema::Protocol::TCP,
                 .firstPort = firstPort,
                 .lastPort = lastPort,
                 .icmpType = -1,
                 .icmpCode = -1,
                 .log = false};
}

void measure(Network& network, int others) {
  Samples attach, port, rule, chainRule, forget;
  for (int i = 0; i < SAMPLES; ++i) {
    Fd space = newNamespace();
    auto container = kj::heap<ContainerNetwork>(network, ContainerId::fromNumber(900000 + i), 2000);
    attach.time([&] { container->attach(space); });
    port.time([&] { container->mapPort({2000, 80}); });
    rule.time([&] { container->allowOut(ruleTo(0x08080800, 80, 80)); });
    chainRule.time([&] { container->allowOut(ruleTo(0x08080800, 80, 9000)); });
    space = nullptr;
    while (!container->isGone()) {
      pollfd p{network.fd(), POLLIN, 0};
      poll(&p, 1, 1000);
      network.handleEvents();
    }
    forget.time([&] { container = nullptr; });
  }
  attach.print("attach", others);
  port.print("map port", others);
  rule.print("allow out, by element", others);
  chainRule.print("allow out, by chain", others);
  forget.print("remove rules, connections", others);
}

void run() {
  KJ_SYSCALL(unshare(CLONE_NEWNET));
  NetworkPolicy policy{.serverName = "warden-bench",
                       .poolStart = 0x0afe0000,
                       .poolSize = 4096,
                       .mtu = 1500,
                       .allowNetworks = {},
                       .allowHostAccess = false,
                       .allowIpv6 = false};
  int null;
  KJ_SYSCALL(null = open("/dev/null", O_WRONLY | O_CLOEXEC));
  AuditLog log{Fd(null)};
  Network network(policy, log);
  measure(network, 0);

  // Rules alone: interfaces are not what is looked through.
  kj::Vector<kj::Own<ContainerFirewall>> others;
  for (int i = 0; i < 1000; ++i) {
    auto id = ContainerId::fromNumber(1000 + i);
    others.add(kj::heap<ContainerFirewall>(network.rules(), id, kj::str("w-", id.text(), "-0"),
                                           policy.containerAddress(i)));
    others.back()->mapPort({static_cast<uint16_t>(10000 + i), 80});
    others.back()->allowOut(ruleTo(0x08080800, 80, 80));
  }
  measure(network, 1000);
  for (auto& other : others)
    other->allowOut(ruleTo(0x08080800, 80, 9000));
  printf("each of them with a chain:\n");
  measure(network, 1000);
}

}  // namespace

}  // namespace warden::privhelper

int main() {
  warden::privhelper::run();
}
