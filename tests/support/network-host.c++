#include "tests/support/network-host.h"

#include <unistd.h>

namespace warden::test {

namespace {

constexpr char IP[] = "/usr/sbin/ip";

// No address of its own making, no solicitation: only what a test sends is on the wire.
void raise(const NetworkNamespace& network, const std::string& wire, const std::string& address) {
  network.output({IP, "link", "set", wire, "addrgenmode", "none"});
  network.output({IP, "address", "add", address, "dev", wire});
  network.output({IP, "link", "set", wire, "up"});
}

}  // namespace

Host::Host(const NetworkNamespace& server, HostOptions optionsParam)
    : options(kj::mv(optionsParam)), space(NetworkNamespace::make()) {
  // ip(8) takes a namespace by path, too; it opens this one while we hold it.
  std::string peer = "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(space.fd());
  server.output({IP, "link", "add", options.wire, "type", "veth", "peer", "name", options.wire,
                 "netns", peer});
  raise(space, options.wire, options.address + "/" + options.bits);
  for (const auto& address : options.moreAddresses)
    space.output({IP, "address", "add", address + "/32", "dev", options.wire});
  raise(server, options.wire, options.serverAddress + "/" + options.bits);
  if (options.defaultRoute) {
    server.output({IP, "route", "add", "default", "via", options.address, "dev", options.wire});
  }
}

}  // namespace warden::test
