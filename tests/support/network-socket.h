#pragma once
// Sockets in a namespace of a test's choice, and traps that see what arrives there. All calls wait
// a bounded time.

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/network-namespace.h"
#include "tests/support/packet-bytes.h"

namespace warden::test {

using Milliseconds = std::chrono::milliseconds;

constexpr Milliseconds NO_ANSWER{200};
// How long an attempt that should fail waits: on these wires, an answer takes less than one.

constexpr Milliseconds ANSWER{5000};
// How long an attempt that should succeed waits, on a busy machine.

class TcpConnection {
 public:
  explicit TcpConnection(Fd socket) : socket(kj::mv(socket)) {}
  std::string peerAddress() const;
  void send(std::string_view bytes);
  std::string receive(size_t bytes, Milliseconds within = ANSWER);
  // That many bytes, or fewer at the end of the stream or of the time.
  int fd() const { return socket.get(); }

 private:
  Fd socket;
};

class TcpListener {
 public:
  TcpListener(const NetworkNamespace& network, uint16_t port,
              const std::string& address = "0.0.0.0");
  // `port` 0: any free one.
  uint16_t port() const;
  std::optional<TcpConnection> accept(Milliseconds within = ANSWER);

 private:
  Fd socket;
};

std::optional<TcpConnection> tryConnect(const NetworkNamespace& from, const std::string& address,
                                        uint16_t port, Milliseconds within = ANSWER);
// None: refused, unreachable or not answered.

class UdpSocket {
 public:
  UdpSocket(const NetworkNamespace& network, uint16_t port = 0,
            const std::string& address = "0.0.0.0");
  bool send(const std::string& address, uint16_t port, std::string_view data);
  // False: the kernel did not take it. Also to broadcast and multicast addresses.

  struct Datagram {
    std::string data;
    std::string sender;
    uint16_t port;
  };
  std::optional<Datagram> receive(Milliseconds within = ANSWER);

 private:
  Fd socket;
};

bool ping(const NetworkNamespace& from, const std::string& address, Milliseconds within = ANSWER,
          uint8_t type = 8, uint8_t code = 0);
// Sends an ICMP message; whether an echo reply comes back.

class WireTrap {
  // Sees every frame that an interface receives, before any filter of that machine.

 public:
  WireTrap(const NetworkNamespace& network, const std::string& interface);

  std::vector<std::string> frames();
  // That have come since the last call, Ethernet header included, once nothing has come for 50 ms.

  std::vector<std::string> ipv4();
  // The same, of IPv4, each described in a line.

 private:
  Fd socket;
};

class LocalTrap {
  // Sees every IPv4 packet of tcp, udp, icmp and some rarer protocols that a machine takes for
  // itself: that has passed its filters and is delivered, whether or not anybody listens.

 public:
  explicit LocalTrap(const NetworkNamespace& network);
  std::vector<std::string> packets();
  // As WireTrap::ipv4().

 private:
  std::vector<Fd> sockets;
};

class FrameSender {
  // Puts frames on an interface as they are.

 public:
  FrameSender(const NetworkNamespace& network, const std::string& interface);
  void send(std::string_view frame);
  const Mac& mac() const { return own; }  // of the interface

 private:
  Fd socket;
  int index;
  Mac own;
};

Mac macOf(const NetworkNamespace& network, const std::string& interface);

}  // namespace warden::test
