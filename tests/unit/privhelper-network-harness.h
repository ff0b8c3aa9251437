#pragma once
// Network namespaces for tests of the helper's network: one as the host, with a world outside of
// it, and others as containers. All of them end with the test.

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <netinet/in.h>

#include <string>

#include "privhelper/network.h"
#include "privhelper/step.h"

namespace warden::privhelper {

std::string shell(const std::string& command);
// A command of iproute2 or nft in the caller's namespace; its output. Throws when it fails.

class Namespace {
  // A network namespace that nobody is in.

 public:
  Namespace();

  int fd() const { return descriptor; }
  void close() { descriptor = nullptr; }

  std::string run(const std::string& command) const;
  Fd socket(int family, int type, int protocol = 0) const;
  // Made in it; it stays there.

  template <typename Body>
  auto inside(Body&& body) const {
    Stay stay(descriptor);
    return body();
  }

 private:
  class Stay {
   public:
    explicit Stay(int there);
    ~Stay() noexcept(false);

   private:
    Fd back;
  };
  Fd descriptor;
};

sockaddr_in socketAddress(const char* address, uint16_t port);
Fd listenAt(const Namespace& where, const char* address, uint16_t port);
bool connects(const Namespace& where, const char* address, uint16_t port, int timeoutMs = 300);
// By TCP, within the time.

constexpr char WORLD[] = "192.0.2.2";
constexpr char HOST[] = "192.0.2.1";
// Of the host, on its default route.

class NetworkTest : public ::testing::Test {
 protected:
  NetworkTest();
  ~NetworkTest() noexcept override {}

  struct TestContainer {
    Namespace space;
    ContainerId id;
    std::string name;
    std::string address;
    kj::Own<ContainerNetwork> network;
  };

  void start();
  // Makes `network` by `policy`.
  TestContainer& addContainer(uint32_t index);
  void end(TestContainer& container);
  // Ends its namespace and waits for the interface to be gone.
  bool waitUntilGone(ContainerNetwork& container);
  uint64_t packets(const char* set, const TestContainer& container);
  // Of the container's counter in this set.

  Namespace host;
  Namespace world;
  Fd listener;  // of the world, at port 80
  NetworkPolicy policy;
  AuditLog log;
  kj::Own<Network> network;
  std::vector<std::unique_ptr<TestContainer>> containers;
};

inline OutRule tcpTo(const char* range) {
  return OutRule{.destination = KJ_ASSERT_NONNULL(parseIpv4Range(range)),
                 .protocol = schema::Protocol::TCP,
                 .firstPort = 0,
                 .lastPort = 65535,
                 .icmpType = -1,
                 .icmpCode = -1,
                 .log = false};
}

inline void limit(ContainerNetwork& network, uint64_t rate, uint64_t burst) {
  network.limitBandwidth(network.nextBandwidth(rate, burst));
}

template <typename Call>
int errorOf(Call&& call) {
  try {
    call();
  } catch (const StepError& e) {
    return e.error();
  }
  return 0;
}

}  // namespace warden::privhelper
