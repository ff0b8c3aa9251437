#include "tests/support/network-socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <kj/debug.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace warden::test {

namespace {

constexpr Milliseconds QUIET{50};
constexpr size_t ETHERNET_HEADER = 14;

Fd openSocket(const NetworkNamespace& network, int family, int type, int protocol) {
  return network.in([&]() {
    int raw;
    KJ_SYSCALL(raw = socket(family, type | SOCK_CLOEXEC, protocol));
    return Fd(raw);
  });
}

sockaddr_in addressOf(const std::string& text, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  KJ_REQUIRE(inet_pton(AF_INET, text.c_str(), &address.sin_addr) == 1, text.c_str());
  return address;
}

std::string textOf(const sockaddr_in& address) {
  char text[INET_ADDRSTRLEN];
  return inet_ntop(AF_INET, &address.sin_addr, text, sizeof(text));
}

const sockaddr* generic(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

bool waitFor(int fd, short events, Milliseconds within) {
  pollfd polled{fd, events, 0};
  int n;
  KJ_SYSCALL(n = poll(&polled, 1, within.count()));
  return n == 1;
}

void bindTo(int fd, const std::string& address, uint16_t port) {
  int on = 1;
  KJ_SYSCALL(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
  sockaddr_in local = addressOf(address, port);
  KJ_SYSCALL(bind(fd, generic(local), sizeof(local)), address.c_str(), port);
}

std::string receivePacket(int fd) {
  char buffer[65536];
  ssize_t n;
  KJ_SYSCALL(n = recv(fd, buffer, sizeof(buffer), 0));
  return std::string(buffer, n);
}

int indexOf(const NetworkNamespace& network, const std::string& interface) {
  int index = network.in([&]() { return if_nametoindex(interface.c_str()); });
  KJ_REQUIRE(index != 0, "no such interface", interface.c_str());
  return index;
}

}  // namespace

std::string TcpConnection::peerAddress() const {
  sockaddr_in peer{};
  socklen_t size = sizeof(peer);
  KJ_SYSCALL(getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &size));
  return textOf(peer);
}

void TcpConnection::send(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n;
    KJ_SYSCALL(n = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL));
    bytes.remove_prefix(n);
  }
}

std::string TcpConnection::receive(size_t bytes, Milliseconds within) {
  std::string result;
  while (result.size() < bytes && waitFor(socket, POLLIN, within)) {
    char buffer[65536];
    ssize_t n;
    KJ_SYSCALL(n = recv(socket, buffer, std::min(sizeof(buffer), bytes - result.size()), 0));
    if (n == 0) break;
    result.append(buffer, n);
  }
  return result;
}

TcpListener::TcpListener(const NetworkNamespace& network, uint16_t port, const std::string& address)
    : socket(openSocket(network, AF_INET, SOCK_STREAM, 0)) {
  bindTo(socket, address, port);
  KJ_SYSCALL(listen(socket, 64));
}

uint16_t TcpListener::port() const {
  sockaddr_in local{};
  socklen_t size = sizeof(local);
  KJ_SYSCALL(getsockname(socket, reinterpret_cast<sockaddr*>(&local), &size));
  return ntohs(local.sin_port);
}

std::optional<TcpConnection> TcpListener::accept(Milliseconds within) {
  if (!waitFor(socket, POLLIN, within)) return std::nullopt;
  int raw;
  KJ_SYSCALL(raw = accept4(socket, nullptr, nullptr, SOCK_CLOEXEC));
  return TcpConnection(Fd(raw));
}

std::optional<TcpConnection> tryConnect(const NetworkNamespace& from, const std::string& address,
                                        uint16_t port, Milliseconds within) {
  Fd fd = openSocket(from, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  sockaddr_in peer = addressOf(address, port);
  if (connect(fd, generic(peer), sizeof(peer)) != 0 && errno != EINPROGRESS) return std::nullopt;
  if (!waitFor(fd, POLLOUT, within)) return std::nullopt;
  int error = 0;
  socklen_t size = sizeof(error);
  KJ_SYSCALL(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size));
  if (error != 0) return std::nullopt;
  int off = 0;
  KJ_SYSCALL(ioctl(fd, FIONBIO, &off));
  return TcpConnection(kj::mv(fd));
}

UdpSocket::UdpSocket(const NetworkNamespace& network, uint16_t port, const std::string& address)
    : socket(openSocket(network, AF_INET, SOCK_DGRAM, 0)) {
  int on = 1;
  KJ_SYSCALL(setsockopt(socket, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)));
  bindTo(socket, address, port);
}

bool UdpSocket::send(const std::string& address, uint16_t port, std::string_view data) {
  sockaddr_in peer = addressOf(address, port);
  return sendto(socket, data.data(), data.size(), 0, generic(peer), sizeof(peer)) ==
         static_cast<ssize_t>(data.size());
}

std::optional<UdpSocket::Datagram> UdpSocket::receive(Milliseconds within) {
  if (!waitFor(socket, POLLIN, within)) return std::nullopt;
  char buffer[65536];
  sockaddr_in sender{};
  socklen_t size = sizeof(sender);
  ssize_t n =
      recvfrom(socket, buffer, sizeof(buffer), 0, reinterpret_cast<sockaddr*>(&sender), &size);
  // An ICMP error that came back for what was sent.
  if (n < 0 && (errno == ECONNREFUSED || errno == EHOSTUNREACH)) return std::nullopt;
  KJ_SYSCALL(n);
  return Datagram{std::string(buffer, n), textOf(sender), ntohs(sender.sin_port)};
}

bool ping(const NetworkNamespace& from, const std::string& address, Milliseconds within,
          uint8_t type, uint8_t code) {
  Fd fd = openSocket(from, AF_INET, SOCK_RAW, IPPROTO_ICMP);
  // The kernel writes the IPv4 header.
  std::string message = icmpPacket({"0.0.0.0", "0.0.0.0"}, type, code, "ping").substr(20);
  sockaddr_in peer = addressOf(address, 0);
  if (sendto(fd, message.data(), message.size(), 0, generic(peer), sizeof(peer)) < 0) return false;
  auto deadline = std::chrono::steady_clock::now() + within;
  for (;;) {
    auto left =
        std::chrono::duration_cast<Milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0 || !waitFor(fd, POLLIN, left)) return false;
    auto packet = parseIpv4(receivePacket(fd));
    if (packet && packet->source == address && packet->sourcePort == 0) return true;
  }
}

WireTrap::WireTrap(const NetworkNamespace& network, const std::string& interface)
    : socket(openSocket(network, AF_PACKET, SOCK_RAW, htons(ETH_P_ALL))) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = indexOf(network, interface);
  KJ_SYSCALL(bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)));
  // Until bind() it sees all interfaces.
  while (waitFor(socket, POLLIN, Milliseconds(0)))
    receivePacket(socket);
}

std::vector<std::string> WireTrap::frames() {
  std::vector<std::string> result;
  while (waitFor(socket, POLLIN, QUIET)) {
    char buffer[65536];
    sockaddr_ll from{};
    socklen_t size = sizeof(from);
    ssize_t n;
    KJ_SYSCALL(
        n = recvfrom(socket, buffer, sizeof(buffer), 0, reinterpret_cast<sockaddr*>(&from), &size));
    if (from.sll_pkttype != PACKET_OUTGOING) result.emplace_back(buffer, n);
  }
  return result;
}

std::vector<std::string> WireTrap::ipv4() {
  std::vector<std::string> result;
  for (const auto& frame : frames()) {
    if (frame.size() < ETHERNET_HEADER || frame.compare(12, 2, "\x08\x00", 2) != 0) continue;
    auto packet = parseIpv4(std::string_view(frame).substr(ETHERNET_HEADER));
    result.push_back(packet ? describe(*packet) : "malformed");
  }
  return result;
}

LocalTrap::LocalTrap(const NetworkNamespace& network) {
  constexpr int EXPERIMENTS = 253;
  for (int protocol :
       std::initializer_list<int>{IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, IPPROTO_IGMP, IPPROTO_GRE,
                                  IPPROTO_SCTP, IPPROTO_IPIP, EXPERIMENTS}) {
    sockets.push_back(openSocket(network, AF_INET, SOCK_RAW, protocol));
  }
}

std::vector<std::string> LocalTrap::packets() {
  std::vector<std::string> result;
  bool quiet;
  do {
    quiet = true;
    for (const auto& socket : sockets) {
      while (waitFor(socket, POLLIN, Milliseconds(0))) {
        auto packet = parseIpv4(receivePacket(socket));
        result.push_back(packet ? describe(*packet) : "malformed");
        quiet = false;
      }
    }
    poll(nullptr, 0, QUIET.count());
  } while (!quiet);
  return result;
}

Mac macOf(const NetworkNamespace& network, const std::string& interface) {
  Fd fd = openSocket(network, AF_INET, SOCK_DGRAM, 0);
  ifreq request{};
  strncpy(request.ifr_name, interface.c_str(), IFNAMSIZ - 1);
  KJ_SYSCALL(ioctl(fd, SIOCGIFHWADDR, &request), interface.c_str());
  Mac mac;
  memcpy(mac.data(), request.ifr_hwaddr.sa_data, mac.size());
  return mac;
}

FrameSender::FrameSender(const NetworkNamespace& network, const std::string& interface)
    : socket(openSocket(network, AF_PACKET, SOCK_RAW, 0)),
      index(indexOf(network, interface)),
      own(macOf(network, interface)) {}

void FrameSender::send(std::string_view frame) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = index;
  KJ_SYSCALL(sendto(socket, frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&address),
                    sizeof(address)));
}

}  // namespace warden::test
