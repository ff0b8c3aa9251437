#pragma once
// The fixture of tests of the network: a server, another machine on the wire beside it, containers.

#include <filesystem>
#include <set>

#include "tests/support/network-host.h"
#include "tests/support/network-socket.h"
#include "tests/support/server-test.h"

namespace warden::test {

constexpr char EXTERNAL[] = "198.51.100.1";  // the server's address on its default route
constexpr char OUTSIDE[] = "198.51.100.2";   // the other machine, and further addresses of it
constexpr char OUTSIDE_NEXT[] = "198.51.100.3";
constexpr char OUTSIDE_LAST[] = "198.51.100.4";
constexpr char FAR_AWAY[] = "203.0.113.5";         // by the default route
constexpr char METADATA[] = "169.254.169.254";     // likewise: what clouds keep secrets behind
constexpr char SECOND_OF_SERVER[] = "192.0.2.99";  // another address of the server itself
constexpr char POOL[] = "10.254.0.0/24";

struct Container {
  std::string handle;
  std::string id;
  std::string hostIp;  // as Info says
  std::string ip;
  pid_t wshd;

  NetworkNamespace network() const { return NetworkNamespace::of(wshd); }
  // Who enters it has all rights there: as if the container had broken out of what holds its root.
  // To be held for a moment only: whoever holds it keeps the interface from going with the
  // container.

  std::string hostInterface() const { return "w-" + id + "-0"; }
  std::string interface() const { return "w-" + id + "-1"; }
};

struct Attempt {
  // To open a connection, send a datagram or an ICMP message.
  const char* protocol;  // "tcp", "udp", "icmp"
  std::string address;
  uint16_t port;  // of icmp: type * 256 + code

  std::string text() const;
};

class NetworkTest : public ServerTest {
 protected:
  void SetUp() override { startNetwork(); }
  void TearDown() override;

  void startNetwork(std::map<std::string, std::string> config = {}, uint32_t slots = 16);
  // The pool of networks is POOL, unless `config` says otherwise.

  TestClient& client() { return *connection; }
  const NetworkNamespace& network() { return server().network(); }  // the server's
  Host& outside() { return *machine; }

  Container create(CreateRequest request = {});

  void attempt(const Container& from, const Attempt& attempt);
  // Sends one packet and does not wait for what becomes of it.

  std::set<std::string> arrivals(const Container& from, const std::vector<Attempt>& attempts);
  // Texts of the attempts of which a packet arrives at the other machine, which shall have come
  // from the server's external address.

  NetOutRequest rule(const Container& container, const std::string& destination = "");
  void allow(const NetOutRequest& request) { client().call(request); }
  void allowAll(const Container& container);
  // Every protocol to every address.

  NetInResponse mapPort(const Container& container, std::optional<uint32_t> hostPort = std::nullopt,
                        std::optional<uint32_t> containerPort = std::nullopt);

  std::string hostResolvConf;
  // What /etc/resolv.conf of the host says to a server that is started from here on; empty: what it
  // says.

  std::string tool(const Container& container, const std::string& arguments,
                   bool privileged = false);
  // Runs network-tool.c in a job. "": it worked; else what it printed.

 private:
  std::shared_ptr<NetworkNamespace> space;
  std::optional<Host> machine;
  std::optional<TestClient> connection;
  std::vector<Fd> pending;  // connections that attempt() has begun
};

std::set<std::string> texts(const std::vector<Attempt>& attempts);

void expectConversation(std::optional<TcpConnection> client, TcpListener& listener);
// Both ends talk with each other.

}  // namespace warden::test
