#pragma once
// What clients ask of the network, checked. Each function throws an error for the client that names
// the field, what is wrong with it, and what is accepted.

#include "base/ipv4.h"
#include "schema/privhelper.capnp.h"
#include "schema/warden.pb.h"

namespace warden::frontend {

struct PortRequest {
  kj::Maybe<uint16_t> hostPort;       // none: the next of the pool
  kj::Maybe<uint16_t> containerPort;  // none: the same as the host's
};

PortRequest readNetIn(const NetInRequest& request, uint16_t lowestHostPort);

struct OutRule {
  // As AllowOut of schema/privhelper.capnp.
  Ipv4Range addresses{0, UINT32_MAX};
  schema::Protocol protocol = schema::Protocol::TCP;
  uint16_t firstPort = 0;
  uint16_t lastPort = UINT16_MAX;
  int16_t icmpType = -1;
  int16_t icmpCode = -1;
  bool log = false;
};

OutRule readNetOut(const NetOutRequest& request);
// Of `port` and `port_range` the latter counts where both are there. `icmp_type` and `icmp_code`
// count with protocol ICMP only. With ALL ports do not count; with ICMP they are refused.

uint32_t readCreateNetwork(const std::string& network);
// The address in Create's `network`.

}  // namespace warden::frontend
