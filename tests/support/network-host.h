#pragma once
// Another machine: a network namespace that is joined to the server's by a wire (a veth pair).

#include <string>

#include "tests/support/network-namespace.h"

namespace warden::test {

struct HostOptions {
  std::string wire = "wire0";  // the interface, under this name at both ends
  std::string serverAddress = "198.51.100.1";
  std::string address = "198.51.100.2";
  std::string bits = "24";
  // Of the network that the two addresses are in: one for documentation (RFC 5737), so that no real
  // one is meant even by mistake.
  bool defaultRoute = true;
  // Whether the server reaches the rest of the world by this machine, which makes `serverAddress`
  // the server's external address. This machine itself has no route but the wire's.
  std::vector<std::string> moreAddresses;
  // That this machine has besides; the server reaches them by its default route.
};

class Host {
 public:
  explicit Host(const NetworkNamespace& server, HostOptions options = {});

  const NetworkNamespace& network() const { return space; }
  const std::string& address() const { return options.address; }
  const std::string& serverAddress() const { return options.serverAddress; }
  const std::string& wire() const { return options.wire; }

 private:
  HostOptions options;
  NetworkNamespace space;
};

}  // namespace warden::test
