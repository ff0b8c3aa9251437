// NetIn: ports of the server's external address that lead into containers.

#include "tests/integration/network-test.h"

namespace warden::test {
namespace {

constexpr uint16_t INSIDE_PORT = 8080;
constexpr uint16_t HOST_PORT = 4321;
constexpr uint16_t POOL_START = 61001;
constexpr uint16_t POOL_SIZE = 3;

class NetInTest : public NetworkTest {
 protected:
  void SetUp() override {
    startNetwork({{"port.pool_start_port", std::to_string(POOL_START)},
                  {"port.pool_size", std::to_string(POOL_SIZE)}});
  }
  std::string refusal(const Container& container, std::optional<uint32_t> hostPort = std::nullopt) {
    NetInRequest request;
    request.set_handle(container.handle);
    if (hostPort) request.set_host_port(*hostPort);
    return client().expectError(request);
  }
  std::optional<TcpConnection> fromOutside(uint16_t port, Milliseconds within = ANSWER) {
    return tryConnect(outside().network(), EXTERNAL, port, within);
  }
};

TEST_F(NetInTest, mapsAChosenPortToAChosenPort) {
  auto container = create();
  auto response = mapPort(container, HOST_PORT, INSIDE_PORT);
  EXPECT_EQ(response.host_port(), HOST_PORT);
  EXPECT_EQ(response.container_port(), INSIDE_PORT);
  TcpListener listener(container.network(), INSIDE_PORT);
  expectConversation(fromOutside(HOST_PORT), listener);
}

TEST_F(NetInTest, showsTheContainerWhoConnects) {
  auto container = create();
  mapPort(container, HOST_PORT, INSIDE_PORT);
  TcpListener listener(container.network(), INSIDE_PORT);
  auto connection = fromOutside(HOST_PORT);
  ASSERT_TRUE(connection.has_value());
  auto accepted = listener.accept();
  ASSERT_TRUE(accepted.has_value());
  EXPECT_EQ(accepted->peerAddress(), OUTSIDE);
}

TEST_F(NetInTest, takesTheNextPortOfThePoolForBothSides) {
  auto container = create();
  std::set<uint32_t> ports;
  for (int i = 0; i < POOL_SIZE; ++i) {
    auto response = mapPort(container);
    EXPECT_EQ(response.container_port(), response.host_port());
    EXPECT_GE(response.host_port(), POOL_START);
    EXPECT_LT(response.host_port(), POOL_START + POOL_SIZE);
    EXPECT_TRUE(ports.insert(response.host_port()).second);
    TcpListener listener(container.network(), response.host_port());
    expectConversation(fromOutside(response.host_port()), listener);
  }
  EXPECT_NE(refusal(container), "");
}

TEST_F(NetInTest, takesAPortOfThePoolForAChosenPortOfTheContainer) {
  auto container = create();
  auto response = mapPort(container, std::nullopt, INSIDE_PORT);
  EXPECT_GE(response.host_port(), POOL_START);
  EXPECT_EQ(response.container_port(), INSIDE_PORT);
  TcpListener listener(container.network(), INSIDE_PORT);
  expectConversation(fromOutside(response.host_port()), listener);
}

TEST_F(NetInTest, mapsToTheSamePortWhenOnlyTheHostsIsChosen) {
  auto container = create();
  auto response = mapPort(container, HOST_PORT);
  EXPECT_EQ(response.container_port(), HOST_PORT);
  TcpListener listener(container.network(), HOST_PORT);
  expectConversation(fromOutside(HOST_PORT), listener);
}

TEST_F(NetInTest, mapsSeveralPortsToOne) {
  auto container = create();
  mapPort(container, HOST_PORT, INSIDE_PORT);
  mapPort(container, HOST_PORT + 1, INSIDE_PORT);
  TcpListener listener(container.network(), INSIDE_PORT);
  expectConversation(fromOutside(HOST_PORT), listener);
  expectConversation(fromOutside(HOST_PORT + 1), listener);
}

TEST_F(NetInTest, holdsFromTheHostByItsExternalAddressAndNotOnLoopback) {
  auto container = create();
  mapPort(container, HOST_PORT, INSIDE_PORT);
  TcpListener listener(container.network(), INSIDE_PORT);
  expectConversation(tryConnect(network(), EXTERNAL, HOST_PORT), listener);
  EXPECT_FALSE(tryConnect(network(), "127.0.0.1", HOST_PORT, NO_ANSWER).has_value());
}

TEST_F(NetInTest, holdsForNoOtherAddressOfTheHost) {
  auto container = create();
  mapPort(container, HOST_PORT, INSIDE_PORT);
  TcpListener listener(container.network(), INSIDE_PORT);
  EXPECT_FALSE(tryConnect(outside().network(), SECOND_OF_SERVER, HOST_PORT, NO_ANSWER).has_value());
  EXPECT_FALSE(tryConnect(network(), SECOND_OF_SERVER, HOST_PORT, NO_ANSWER).has_value());
}

TEST_F(NetInTest, isOfTcpOnly) {
  auto container = create();
  mapPort(container, HOST_PORT, INSIDE_PORT);
  WireTrap trap(container.network(), container.interface());
  UdpSocket(outside().network()).send(EXTERNAL, HOST_PORT, "text");
  EXPECT_TRUE(trap.ipv4().empty());
}

TEST_F(NetInTest, opensNothingButItsPort) {
  auto container = create();
  mapPort(container, HOST_PORT, INSIDE_PORT);
  WireTrap trap(container.network(), container.interface());
  EXPECT_FALSE(fromOutside(HOST_PORT + 1, NO_ANSWER).has_value());
  EXPECT_FALSE(fromOutside(INSIDE_PORT, NO_ANSWER).has_value());
  // A machine on the wire that knows the container's address, and routes to it.
  outside().network().output({"/usr/sbin/ip", "route", "replace", POOL, "via", EXTERNAL});
  EXPECT_FALSE(tryConnect(outside().network(), container.ip, INSIDE_PORT + 1, NO_ANSWER));
  EXPECT_FALSE(ping(outside().network(), container.ip, NO_ANSWER));
  EXPECT_EQ(trap.ipv4(), std::vector<std::string>());
}

TEST_F(NetInTest, holdsFromAnotherContainerOnlyWithARuleForIt) {
  auto container = create();
  auto other = create();
  mapPort(container, HOST_PORT, INSIDE_PORT);
  TcpListener listener(container.network(), INSIDE_PORT);
  EXPECT_FALSE(tryConnect(other.network(), EXTERNAL, HOST_PORT, NO_ANSWER).has_value());
  EXPECT_FALSE(tryConnect(other.network(), container.ip, INSIDE_PORT, NO_ANSWER).has_value());
  auto request = rule(other, container.ip);
  request.set_port(INSIDE_PORT);
  allow(request);
  expectConversation(tryConnect(other.network(), EXTERNAL, HOST_PORT), listener);
  EXPECT_FALSE(tryConnect(other.network(), container.ip, INSIDE_PORT + 1, NO_ANSWER).has_value());
}

TEST_F(NetInTest, isRefusedForAPortThatIsTakenAndLeavesTheFirstMapping) {
  auto container = create();
  auto other = create();
  mapPort(container, HOST_PORT, INSIDE_PORT);
  auto before = networkObjects(network());
  EXPECT_NE(refusal(other, HOST_PORT), "");
  EXPECT_NE(refusal(container, HOST_PORT), "");
  EXPECT_EQ(networkObjects(network()), before);
  TcpListener listener(container.network(), INSIDE_PORT);
  expectConversation(fromOutside(HOST_PORT), listener);
}

TEST_F(NetInTest, freesItsPortsAtDestroy) {
  auto container = create();
  std::set<uint32_t> ports;
  for (int i = 0; i < POOL_SIZE; ++i)
    ports.insert(mapPort(container).host_port());
  mapPort(container, HOST_PORT);
  client().destroy(container.handle);
  EXPECT_FALSE(fromOutside(HOST_PORT, NO_ANSWER).has_value());
  EXPECT_FALSE(fromOutside(POOL_START, NO_ANSWER).has_value());
  auto next = create();
  for (int i = 0; i < POOL_SIZE; ++i)
    EXPECT_EQ(ports.count(mapPort(next).host_port()), 1u);
  mapPort(next, HOST_PORT, INSIDE_PORT);
  TcpListener listener(next.network(), INSIDE_PORT);
  expectConversation(fromOutside(HOST_PORT), listener);
}

TEST_F(NetInTest, givesNoPoolPortThatAClientHasChosen) {
  auto container = create();
  mapPort(container, POOL_START + 1);
  std::set<uint32_t> ports{mapPort(container).host_port(), mapPort(container).host_port()};
  EXPECT_EQ(ports, (std::set<uint32_t>{POOL_START, POOL_START + 2}));
  EXPECT_NE(refusal(container), "");
}

TEST_F(NetInTest, needsAnActiveContainer) {
  auto container = create();
  client().stop(container.handle, false, true);
  std::string message = refusal(container, HOST_PORT);
  EXPECT_EQ(message, "Container state must be one of 'active', current state is 'stopped'");
}

TEST_F(NetInTest, lastsWhileTheContainerIsStopped) {
  auto container = create();
  mapPort(container, HOST_PORT, INSIDE_PORT);
  client().stop(container.handle, false, true);
  TcpListener listener(container.network(), INSIDE_PORT);
  expectConversation(fromOutside(HOST_PORT), listener);
}

// Which ports the pool has, by servers that no test has used before.
class PortPoolTest : public NetworkTest {
 protected:
  void SetUp() override { useNoServerTwice(); }

  static uint32_t next(TestClient& client, const std::string& handle) {
    NetInRequest request;
    request.set_handle(handle);
    return client.call(request).host_port();
  }
};

TEST_F(PortPoolTest, handsOutTheNextPortToWhoeverAsks) {
  startNetwork({{"port.pool_start_port", std::to_string(POOL_START)}, {"port.pool_size", "4"}});
  std::string first = client().create(), second = client().create();
  EXPECT_EQ(next(client(), first), POOL_START);
  EXPECT_EQ(next(client(), second), POOL_START + 1u);
  EXPECT_EQ(next(client(), first), POOL_START + 2u);
  client().destroy(first);
  // What was freed comes last.
  EXPECT_EQ(next(client(), second), POOL_START + 3u);
  EXPECT_EQ((std::set<uint32_t>{next(client(), second), next(client(), second)}),
            (std::set<uint32_t>{POOL_START, POOL_START + 2}));
}

TEST_F(PortPoolTest, isAboveTheEphemeralPortsUpTo65000WithoutConfiguration) {
  startNetwork();
  std::istringstream range(network().sysctl("net/ipv4/ip_local_port_range"));
  uint32_t first, last;
  range >> first >> last;
  std::string handle = client().create();
  EXPECT_EQ(next(client(), handle), last + 1);
  client().destroy(handle);
  EXPECT_EQ(server().stop(), 0);

  network().setSysctl("net/ipv4/ip_local_port_range", "1024 64997");
  server().start();
  TestClient again = connect();
  handle = again.create();
  for (uint32_t port : {64998, 64999, 65000})
    EXPECT_EQ(next(again, handle), port);
  NetInRequest request;
  request.set_handle(handle);
  EXPECT_NE(again.expectError(request), "");
}

}  // namespace
}  // namespace warden::test
