#include "tests/support/packet-bytes.h"

#include <arpa/inet.h>
#include <kj/debug.h>
#include <net/ethernet.h>
#include <string.h>

namespace warden::test {

namespace {

constexpr size_t IPV4_HEADER = 20;
constexpr size_t UDP_HEADER = 8;
constexpr size_t TCP_HEADER = 20;
constexpr size_t ICMP_HEADER = 8;
constexpr uint16_t MORE_FRAGMENTS = 0x2000;

void put16(std::string& bytes, uint16_t value) {
  bytes += static_cast<char>(value >> 8);
  bytes += static_cast<char>(value);
}

uint16_t get16(std::string_view bytes, size_t at) {
  return static_cast<uint8_t>(bytes[at]) << 8 | static_cast<uint8_t>(bytes[at + 1]);
}

std::string addressBytes(const std::string& text) {
  in_addr address;
  KJ_REQUIRE(inet_pton(AF_INET, text.c_str(), &address) == 1, "no IPv4 address", text.c_str());
  return std::string(reinterpret_cast<const char*>(&address), sizeof(address));
}

std::string addressText(std::string_view bytes) {
  char text[INET_ADDRSTRLEN];
  return inet_ntop(AF_INET, bytes.data(), text, sizeof(text));
}

// RFC 1071.
uint16_t checksum(std::string_view bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    sum += i + 1 < bytes.size() ? get16(bytes, i) : static_cast<uint8_t>(bytes[i]) << 8;
  }
  while (sum > 0xffff)
    sum = (sum & 0xffff) + (sum >> 16);
  return ~sum;
}

void set16(std::string& bytes, size_t at, uint16_t value) {
  bytes[at] = static_cast<char>(value >> 8);
  bytes[at + 1] = static_cast<char>(value);
}

// Of tcp and udp, which count the addresses in.
uint16_t pseudoChecksum(const Ipv4Header& header, std::string_view segment) {
  std::string all = addressBytes(header.source) + addressBytes(header.destination);
  put16(all, header.protocol);
  put16(all, segment.size());
  all += segment;
  return checksum(all);
}

std::string macBytes(const Mac& mac) {
  return std::string(mac.begin(), mac.end());
}

}  // namespace

std::string ethernetFrame(const Mac& to, const Mac& from, uint16_t type, std::string_view payload) {
  std::string frame = macBytes(to) + macBytes(from);
  put16(frame, type);
  return frame.append(payload);
}

std::string ipv4Packet(const Ipv4Header& header, std::string_view payload) {
  std::string bytes;
  size_t headerSize = IPV4_HEADER + header.options.size();
  bytes += static_cast<char>(0x40 | headerSize / 4);
  bytes += '\0';
  put16(bytes, headerSize + payload.size());
  put16(bytes, header.id);
  put16(bytes, header.fragment);
  bytes += static_cast<char>(64);  // time to live
  bytes += static_cast<char>(header.protocol);
  put16(bytes, 0);
  bytes += addressBytes(header.source) + addressBytes(header.destination) + header.options;
  set16(bytes, 10, checksum(bytes));
  return bytes.append(payload);
}

std::string udpPacket(Ipv4Header header, uint16_t sourcePort, uint16_t port,
                      std::string_view data) {
  header.protocol = IPPROTO_UDP;
  std::string segment;
  put16(segment, sourcePort);
  put16(segment, port);
  put16(segment, UDP_HEADER + data.size());
  put16(segment, 0);
  segment.append(data);
  set16(segment, 6, pseudoChecksum(header, segment));
  return ipv4Packet(header, segment);
}

std::string tcpPacket(Ipv4Header header, uint16_t sourcePort, uint16_t port, uint8_t flags) {
  header.protocol = IPPROTO_TCP;
  std::string segment;
  put16(segment, sourcePort);
  put16(segment, port);
  segment.append(8, '\1');  // sequence and acknowledgment numbers
  segment += static_cast<char>(TCP_HEADER / 4 << 4);
  segment += static_cast<char>(flags);
  put16(segment, 1024);  // window
  segment.append(4, '\0');
  set16(segment, 16, pseudoChecksum(header, segment));
  return ipv4Packet(header, segment);
}

std::string icmpPacket(Ipv4Header header, uint8_t type, uint8_t code, std::string_view data) {
  header.protocol = IPPROTO_ICMP;
  std::string message;
  message += static_cast<char>(type);
  message += static_cast<char>(code);
  message.append(ICMP_HEADER - 2, '\0');
  message.append(data);
  set16(message, 2, checksum(message));
  return ipv4Packet(header, message);
}

std::string ipv4Fragment(std::string_view packet, size_t firstByte, size_t bytes) {
  KJ_REQUIRE(firstByte % 8 == 0);
  std::string_view payload = packet.substr(IPV4_HEADER);
  std::string header(packet.substr(0, IPV4_HEADER));
  bool last = firstByte + bytes >= payload.size();
  std::string_view part = payload.substr(firstByte, bytes);
  set16(header, 2, IPV4_HEADER + part.size());
  set16(header, 6, firstByte / 8 | (last ? 0 : MORE_FRAGMENTS));
  set16(header, 10, 0);
  set16(header, 10, checksum(header));
  return header.append(part);
}

std::string arpPacket(uint16_t operation, const Mac& senderMac, const std::string& sender,
                      const Mac& targetMac, const std::string& target) {
  std::string bytes;
  put16(bytes, 1);  // Ethernet
  put16(bytes, ETHERTYPE_IP);
  bytes += static_cast<char>(6);
  bytes += static_cast<char>(4);
  put16(bytes, operation);
  return bytes + macBytes(senderMac) + addressBytes(sender) + macBytes(targetMac) +
         addressBytes(target);
}

std::optional<Ipv4Packet> parseIpv4(std::string_view bytes) {
  if (bytes.size() < IPV4_HEADER || (bytes[0] & 0xf0) != 0x40) return std::nullopt;
  size_t header = (bytes[0] & 0x0f) * 4;
  if (bytes.size() < header) return std::nullopt;
  Ipv4Packet packet{addressText(bytes.substr(12)), addressText(bytes.substr(16)),
                    static_cast<uint8_t>(bytes[9])};
  packet.data = bytes.substr(header);
  bool first = (get16(bytes, 6) & 0x1fff) == 0;
  if (!first || packet.data.size() < 4) return packet;
  if (packet.protocol == IPPROTO_TCP || packet.protocol == IPPROTO_UDP) {
    packet.sourcePort = get16(packet.data, 0);
    packet.port = get16(packet.data, 2);
  } else if (packet.protocol == IPPROTO_ICMP) {
    packet.sourcePort = static_cast<uint8_t>(packet.data[0]);
    packet.port = static_cast<uint8_t>(packet.data[1]);
  }
  return packet;
}

std::string describe(const Ipv4Packet& packet) {
  return "protocol " + std::to_string(packet.protocol) + " " + packet.source + ":" +
         std::to_string(packet.sourcePort) + " -> " + packet.destination + ":" +
         std::to_string(packet.port);
}

}  // namespace warden::test
