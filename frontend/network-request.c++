#include "frontend/network-request.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>
#include <kj/debug.h>

#include <charconv>

#include "frontend/client-error.h"

namespace warden::frontend {

namespace {

using google::protobuf::internal::WireFormatLite;

constexpr uint32_t LARGEST_PORT = 65535;
constexpr int32_t LARGEST_ICMP_NUMBER = 255;

template <typename... Params>
[[noreturn]] void refuse(Params&&... params) {
  kj::throwFatalException(clientErrorOf(kj::fwd<Params>(params)...));
}

kj::String textOf(const std::string& bytes) {
  return kj::heapString(bytes.data(), bytes.size());
}

uint16_t checkPort(const char* field, uint32_t port, uint32_t lowest = 1) {
  if (port < lowest || port > LARGEST_PORT) {
    refuse(field, " is ", port, "; a port from ", lowest, " to ", LARGEST_PORT, " is accepted");
  }
  return port;
}

kj::Maybe<uint32_t> parseRangeEnd(std::string_view digits) {
  uint32_t value;
  auto end = digits.data() + digits.size();
  auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (error != std::errc() || stop != end || value < 1 || value > LARGEST_PORT) return nullptr;
  return value;
}

void readPortRange(const std::string& text, OutRule& rule) {
  auto colon = std::min(text.find(':'), text.size());
  auto first = parseRangeEnd(std::string_view(text).substr(0, colon));
  auto last = parseRangeEnd(std::string_view(text).substr(std::min(colon + 1, text.size())));
  if (first == nullptr || last == nullptr) {
    refuse("port_range is '", textOf(text), "'; two ports from 1 to ", LARGEST_PORT,
           " with a colon between them, as in 8000:8080, are accepted");
  }
  rule.firstPort = KJ_ASSERT_NONNULL(first);
  rule.lastPort = KJ_ASSERT_NONNULL(last);
  if (rule.firstPort >= rule.lastPort) {
    refuse("Port range maximum must be greater than minimum");
  }
}

int16_t checkIcmp(const char* field, int32_t value) {
  if (value < -1 || value > LARGEST_ICMP_NUMBER) {
    refuse(field, " is ", value, "; a number from 0 to ", LARGEST_ICMP_NUMBER,
           ", or -1 for any, is accepted");
  }
  return value;
}

// A value that the enumeration does not have is kept among the unknown fields, and would else read
// as the default.
void refuseUnknownProtocol(const NetOutRequest& request) {
  auto& unknown = request.unknown_fields();
  google::protobuf::io::ArrayInputStream stream(unknown.data(), unknown.size());
  google::protobuf::io::CodedInputStream fields(&stream);
  while (uint32_t tag = fields.ReadTag()) {
    if (WireFormatLite::GetTagFieldNumber(tag) == NetOutRequest::kProtocolFieldNumber) {
      refuse("protocol has an unknown value; TCP (0), UDP (1), ICMP (2) and ALL (3) are accepted");
    }
    if (!WireFormatLite::SkipField(&fields, tag)) break;
  }
}

schema::Protocol protocolOf(const NetOutRequest& request) {
  switch (request.protocol()) {
    case NetOutRequest::TCP:
      return schema::Protocol::TCP;
    case NetOutRequest::UDP:
      return schema::Protocol::UDP;
    case NetOutRequest::ICMP:
      return schema::Protocol::ICMP;
    case NetOutRequest::ALL:
      return schema::Protocol::ALL;
  }
  KJ_UNREACHABLE;
}

void readPorts(const NetOutRequest& request, OutRule& rule) {
  if (request.has_port()) {
    rule.firstPort = rule.lastPort = checkPort("port", request.port());
  }
  if (request.has_port_range()) readPortRange(request.port_range(), rule);
  switch (rule.protocol) {
    case schema::Protocol::TCP:
    case schema::Protocol::UDP:
      break;
    case schema::Protocol::ALL:
      rule.firstPort = 0;
      rule.lastPort = UINT16_MAX;
      break;
    case schema::Protocol::ICMP:
      if (request.has_port() || request.has_port_range()) {
        refuse(request.has_port() ? "port" : "port_range",
               " does not go with protocol ICMP; icmp_type and icmp_code are accepted");
      }
      break;
  }
}

}  // namespace

PortRequest readNetIn(const NetInRequest& request, uint16_t lowestHostPort) {
  PortRequest ports;
  if (request.has_host_port()) {
    ports.hostPort = checkPort("host_port", request.host_port(), lowestHostPort);
  }
  if (request.has_container_port()) {
    ports.containerPort = checkPort("container_port", request.container_port());
  }
  return ports;
}

OutRule readNetOut(const NetOutRequest& request) {
  if (!request.has_network() && !request.has_port() && !request.has_port_range()) {
    refuse("Please specify network, port, and/or port_range.");
  }
  refuseUnknownProtocol(request);
  OutRule rule;
  if (request.has_network()) {
    KJ_IF_MAYBE (range, parseIpv4Range(textOf(request.network()))) {
      rule.addresses = *range;
    } else {
      refuse("network is '", textOf(request.network()),
             "'; an IPv4 address, a network as in 10.0.0.0/8, or a range as in "
             "10.0.0.1-10.0.0.9 is accepted");
    }
  }
  rule.protocol = protocolOf(request);
  readPorts(request, rule);
  auto type = checkIcmp("icmp_type", request.has_icmp_type() ? request.icmp_type() : -1);
  auto code = checkIcmp("icmp_code", request.has_icmp_code() ? request.icmp_code() : -1);
  if (rule.protocol == schema::Protocol::ICMP) {
    rule.icmpType = type;
    rule.icmpCode = code;
  }
  rule.log = request.log();
  return rule;
}

uint32_t readCreateNetwork(const std::string& network) {
  KJ_IF_MAYBE (address, parseIpv4(textOf(network))) {
    return *address;
  }
  refuse("Could not acquire network: ", textOf(network),
         ": network is no IPv4 address; an address of network.pool_network is accepted");
}

}  // namespace warden::frontend
