#pragma once
// Packets as bytes: made by hand, so that a test can send what no kernel would, and read where they
// arrive. RFC 791 (IPv4), 792 (ICMP), 768 (UDP), 9293 (TCP), 826 (ARP).

#include <netinet/in.h>
#include <stdint.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace warden::test {

using Mac = std::array<uint8_t, 6>;

constexpr Mac BROADCAST_MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

std::string ethernetFrame(const Mac& to, const Mac& from, uint16_t type, std::string_view payload);

struct Ipv4Header {
  std::string source;  // "a.b.c.d"
  std::string destination;
  uint8_t protocol = 253;  // for experiments (RFC 3692)
  uint16_t id = 1;
  uint16_t fragment = 0;  // flags and offset in units of 8 bytes, as on the wire
  std::string options;    // a multiple of 4 bytes
};

std::string ipv4Packet(const Ipv4Header& header, std::string_view payload);
std::string udpPacket(Ipv4Header header, uint16_t sourcePort, uint16_t port, std::string_view data);
std::string tcpPacket(Ipv4Header header, uint16_t sourcePort, uint16_t port, uint8_t flags);
constexpr uint8_t TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16;
std::string icmpPacket(Ipv4Header header, uint8_t type, uint8_t code, std::string_view data);
std::string ipv4Fragment(std::string_view packet, size_t firstByte, size_t bytes);
// A part of a packet's payload as a fragment of it; firstByte a multiple of 8.

std::string arpPacket(uint16_t operation, const Mac& senderMac, const std::string& sender,
                      const Mac& targetMac, const std::string& target);

struct Ipv4Packet {
  std::string source;
  std::string destination;
  uint8_t protocol;
  uint16_t sourcePort = 0;  // of tcp and udp; of icmp the type
  uint16_t port = 0;        // of icmp the code
  std::string data;         // all behind the IPv4 header
};

std::optional<Ipv4Packet> parseIpv4(std::string_view bytes);
// Of a packet that begins at the IPv4 header. None: it is no IPv4 packet.

std::string describe(const Ipv4Packet& packet);

}  // namespace warden::test
