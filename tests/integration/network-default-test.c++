// What a container reaches when it was allowed nothing, and what the configuration allows to all.

#include "tests/integration/network-test.h"

namespace warden::test {
namespace {

using NetworkDefaultTest = NetworkTest;

class ConfiguredNetworkTest : public NetworkTest {
 protected:
  void SetUp() override {}
};

constexpr uint16_t PORT = 8080;
constexpr uint16_t ECHO = 8 * 256;
const std::vector<std::string> NONE;

std::vector<Attempt> attemptsAt(const std::vector<std::string>& addresses) {
  std::vector<Attempt> result;
  for (const auto& address : addresses) {
    for (uint16_t port : {uint16_t(53), uint16_t(80), PORT}) {
      result.push_back({"tcp", address, port});
      result.push_back({"udp", address, port});
    }
    result.push_back({"icmp", address, ECHO});
  }
  return result;
}

TEST_F(NetworkDefaultTest, reachesNothingOutside) {
  auto container = create();
  WireTrap trap(outside().network(), outside().wire());
  auto attempts = attemptsAt({OUTSIDE, OUTSIDE_NEXT, FAR_AWAY, METADATA, "198.51.100.255",
                              "255.255.255.255", "224.0.0.1", "239.255.255.250", "192.0.2.1"});
  for (const auto& each : attempts)
    attempt(container, each);
  EXPECT_EQ(trap.ipv4(), NONE);
  // The trap works, and so does the wire.
  allowAll(container);
  EXPECT_EQ(arrivals(container, {{"udp", OUTSIDE, PORT}}).size(), 1u);
}

TEST_F(NetworkDefaultTest, reachesNothingOutsideByJobs) {
  auto container = create();
  TcpListener listener(outside().network(), PORT);
  WireTrap trap(outside().network(), outside().wire());
  for (bool privileged : {false, true}) {
    for (const char* address : {OUTSIDE, FAR_AWAY, METADATA, "255.255.255.255", "224.0.0.1"}) {
      SCOPED_TRACE(address);
      tool(container, std::string("send ") + address + " 8080 text", privileged);
    }
    EXPECT_NE(tool(container, std::string("connect ") + OUTSIDE + " 8080", privileged), "");
    EXPECT_NE(tool(container, std::string("ping ") + OUTSIDE, privileged), "");
  }
  EXPECT_EQ(trap.ipv4(), NONE);
  allow(rule(container, OUTSIDE));
  EXPECT_EQ(tool(container, std::string("connect ") + OUTSIDE + " 8080"), "");
}

TEST_F(NetworkDefaultTest, reachesNothingOfTheHost) {
  auto container = create();
  auto other = create();
  TcpListener listener(network(), PORT);
  UdpSocket receiver(network(), PORT);
  LocalTrap trap(network());
  std::string network30 = container.ip.substr(0, container.ip.rfind('.') + 1);
  std::string broadcast =
      network30 + std::to_string(std::stoi(container.ip.substr(network30.size())) + 1);
  for (const auto& each : attemptsAt({container.hostIp, EXTERNAL, SECOND_OF_SERVER, other.hostIp,
                                      broadcast, "255.255.255.255", "224.0.0.1"})) {
    attempt(container, each);
  }
  EXPECT_NE(tool(container, "connect " + container.hostIp + " 8080", true), "");
  EXPECT_NE(tool(container, std::string("connect ") + EXTERNAL + " 8080"), "");
  EXPECT_NE(tool(container, "ping " + container.hostIp), "");
  EXPECT_EQ(trap.packets(), NONE);
  // The trap works, and listener and receiver can be reached.
  EXPECT_TRUE(tryConnect(outside().network(), EXTERNAL, PORT).has_value());
  UdpSocket(outside().network()).send(EXTERNAL, PORT, "text");
  EXPECT_TRUE(receiver.receive().has_value());
  EXPECT_GE(trap.packets().size(), 2u);
}

TEST_F(NetworkDefaultTest, reachesNoOtherContainer) {
  auto container = create();
  auto other = create();
  TcpListener listener(other.network(), PORT);
  WireTrap trap(other.network(), other.interface());
  for (const auto& each : attemptsAt({other.ip, other.hostIp}))
    attempt(container, each);
  for (bool privileged : {false, true}) {
    EXPECT_NE(tool(container, "connect " + other.ip + " 8080", privileged), "");
    EXPECT_NE(tool(container, "ping " + other.ip, privileged), "");
  }
  EXPECT_EQ(trap.frames(), NONE);
  EXPECT_TRUE(ping(network(), other.ip));
  EXPECT_NE(trap.frames(), NONE);
}

TEST_F(NetworkDefaultTest, staysClosedToTheHostWhenARuleAllowsAll) {
  auto container = create();
  allowAll(container);
  LocalTrap trap(network());
  for (const auto& each : attemptsAt({container.hostIp, EXTERNAL, SECOND_OF_SERVER}))
    attempt(container, each);
  EXPECT_EQ(trap.packets(), NONE);
}

TEST_F(NetworkDefaultTest, answersTheHost) {
  auto container = create();
  TcpListener listener(container.network(), PORT);
  expectConversation(tryConnect(network(), container.ip, PORT), listener);
  EXPECT_TRUE(ping(network(), container.ip));
  UdpSocket receiver(container.network(), PORT);
  UdpSocket sender(network());
  ASSERT_TRUE(sender.send(container.ip, PORT, "question"));
  auto question = receiver.receive();
  ASSERT_TRUE(question.has_value());
  EXPECT_EQ(question->sender, container.hostIp);
  ASSERT_TRUE(receiver.send(question->sender, question->port, "answer"));
  auto answer = sender.receive();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->data, "answer");
  // An answer opens no way back.
  LocalTrap trap(network());
  attempt(container, {"udp", container.hostIp, PORT});
  attempt(container, {"tcp", container.hostIp, PORT});
  EXPECT_EQ(trap.packets(), NONE);
}

TEST_F(NetworkDefaultTest, reachesItself) {
  auto container = create();
  TcpListener listener(container.network(), PORT);
  expectConversation(tryConnect(container.network(), "127.0.0.1", PORT), listener);
  expectConversation(tryConnect(container.network(), container.ip, PORT), listener);
}

TEST_F(ConfiguredNetworkTest, reachesAllowedNetworksByEveryProtocol) {
  startNetwork({{"network.allow_networks", "[198.51.100.2, 203.0.113.0/24]"}});
  auto container = create();
  auto attempts = attemptsAt({OUTSIDE, FAR_AWAY});
  EXPECT_EQ(arrivals(container, attempts), texts(attempts));
  EXPECT_TRUE(arrivals(container, attemptsAt({OUTSIDE_NEXT, METADATA})).empty());
  EXPECT_TRUE(ping(container.network(), FAR_AWAY));
  // Another one, too: it is for all.
  auto second = create();
  EXPECT_EQ(arrivals(second, attempts), texts(attempts));
}

TEST_F(ConfiguredNetworkTest, doesNotReachTheHostWhenAllNetworksAreAllowed) {
  startNetwork({{"network.allow_networks", "[0.0.0.0/0]"}});
  auto container = create();
  TcpListener listener(network(), PORT);
  LocalTrap trap(network());
  for (const auto& each : attemptsAt({container.hostIp, EXTERNAL, SECOND_OF_SERVER}))
    attempt(container, each);
  EXPECT_EQ(trap.packets(), NONE);
  auto attempts = attemptsAt({OUTSIDE});
  EXPECT_EQ(arrivals(container, attempts), texts(attempts));
}

TEST_F(ConfiguredNetworkTest, reachesNoOtherContainerWhenAllNetworksAreAllowed) {
  startNetwork({{"network.allow_networks", "[0.0.0.0/0]"}});
  auto container = create();
  auto other = create();
  WireTrap trap(other.network(), other.interface());
  for (const auto& each : attemptsAt({other.ip, other.hostIp}))
    attempt(container, each);
  EXPECT_EQ(trap.frames(), NONE);
  EXPECT_TRUE(ping(network(), other.ip));
  EXPECT_NE(trap.frames(), NONE);
}

TEST_F(ConfiguredNetworkTest, reachesTheHostAndNothingElseWithHostAccess) {
  startNetwork({{"network.allow_host_access", "true"}});
  auto container = create();
  TcpListener listener(network(), PORT);
  expectConversation(tryConnect(container.network(), container.hostIp, PORT), listener);
  expectConversation(tryConnect(container.network(), EXTERNAL, PORT), listener);
  EXPECT_TRUE(ping(container.network(), container.hostIp));
  EXPECT_EQ(tool(container, "ping " + container.hostIp), "");
  EXPECT_TRUE(arrivals(container, attemptsAt({OUTSIDE, METADATA})).empty());
  auto other = create();
  WireTrap trap(other.network(), other.interface());
  attempt(container, {"tcp", other.ip, PORT});
  EXPECT_EQ(trap.frames(), NONE);
}

}  // namespace
}  // namespace warden::test
