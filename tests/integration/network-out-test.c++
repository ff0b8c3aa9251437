// NetOut: what a container may open connections to. Counted is what arrives at the other machine.

#include <nlohmann/json.hpp>

#include "tests/integration/network-test.h"

namespace warden::test {
namespace {

constexpr uint16_t ECHO = 8 * 256;

class NetOutTest : public NetworkTest {
 protected:
  void SetUp() override {
    startNetwork();
    container.emplace(create());
  }
  void TearDown() override {
    container.reset();
    NetworkTest::TearDown();
  }

  NetOutRequest rule(const std::string& destination = "") {
    return NetworkTest::rule(*container, destination);
  }

  // Of every kind to every address, those arrive that are expected.
  void expectArrivals(const std::vector<Attempt>& expected) {
    std::vector<Attempt> all;
    for (const char* address : {OUTSIDE, OUTSIDE_NEXT, OUTSIDE_LAST, FAR_AWAY}) {
      for (uint16_t port : {79, 80, 81, 90, 91}) {
        all.push_back({"tcp", address, port});
        all.push_back({"udp", address, port});
      }
      for (uint16_t message : {ECHO, uint16_t(8 * 256 + 1), uint16_t(13 * 256)})
        all.push_back({"icmp", address, message});
    }
    EXPECT_EQ(arrivals(*container, all), texts(expected));
  }

  std::vector<Attempt> to(const char* protocol, const std::vector<const char*>& addresses,
                          const std::vector<uint16_t>& ports) {
    std::vector<Attempt> result;
    for (auto address : addresses) {
      for (uint16_t port : ports)
        result.push_back({protocol, address, port});
    }
    return result;
  }

  std::optional<Container> container;
};

const std::vector<uint16_t> ALL_PORTS{79, 80, 81, 90, 91};
const std::vector<uint16_t> ALL_MESSAGES{ECHO, 8 * 256 + 1, 13 * 256};

TEST_F(NetOutTest, allowsNothingBeforeItIsCalled) {
  expectArrivals({});
}

TEST_F(NetOutTest, isOfTcpWithoutAProtocol) {
  allow(rule(OUTSIDE));
  expectArrivals(to("tcp", {OUTSIDE}, ALL_PORTS));
}

TEST_F(NetOutTest, takesANetwork) {
  allow(rule("198.51.100.0/30"));
  expectArrivals(to("tcp", {OUTSIDE, OUTSIDE_NEXT}, ALL_PORTS));
}

TEST_F(NetOutTest, takesANetworkWithHostBits) {
  allow(rule("198.51.100.1/30"));
  expectArrivals(to("tcp", {OUTSIDE, OUTSIDE_NEXT}, ALL_PORTS));
}

TEST_F(NetOutTest, takesARangeOfAddresses) {
  allow(rule("198.51.100.3-198.51.100.4"));
  expectArrivals(to("tcp", {OUTSIDE_NEXT, OUTSIDE_LAST}, ALL_PORTS));
}

TEST_F(NetOutTest, takesARangeOfOneAddress) {
  allow(rule("198.51.100.3-198.51.100.3"));
  expectArrivals(to("tcp", {OUTSIDE_NEXT}, ALL_PORTS));
}

TEST_F(NetOutTest, takesAPortAlone) {
  auto request = rule();
  request.set_port(80);
  allow(request);
  expectArrivals(to("tcp", {OUTSIDE, OUTSIDE_NEXT, OUTSIDE_LAST, FAR_AWAY}, {80}));
}

TEST_F(NetOutTest, takesAPortOfAnAddress) {
  auto request = rule(OUTSIDE);
  request.set_port(80);
  request.set_protocol(NetOutRequest::TCP);
  allow(request);
  expectArrivals(to("tcp", {OUTSIDE}, {80}));
}

TEST_F(NetOutTest, takesARangeOfPorts) {
  auto request = rule(OUTSIDE);
  request.set_port_range("80:90");
  allow(request);
  expectArrivals(to("tcp", {OUTSIDE}, {80, 81, 90}));
}

TEST_F(NetOutTest, takesARangeOfUdpPorts) {
  auto request = rule(OUTSIDE);
  request.set_port_range("81:90");
  request.set_protocol(NetOutRequest::UDP);
  allow(request);
  expectArrivals(to("udp", {OUTSIDE}, {81, 90}));
}

TEST_F(NetOutTest, takesAnyIcmp) {
  auto request = rule(OUTSIDE);
  request.set_protocol(NetOutRequest::ICMP);
  allow(request);
  expectArrivals(to("icmp", {OUTSIDE}, ALL_MESSAGES));
  EXPECT_TRUE(ping(container->network(), OUTSIDE));
}

TEST_F(NetOutTest, takesMinusOneForAnyIcmp) {
  auto request = rule(OUTSIDE);
  request.set_protocol(NetOutRequest::ICMP);
  request.set_icmp_type(-1);
  request.set_icmp_code(-1);
  allow(request);
  expectArrivals(to("icmp", {OUTSIDE}, ALL_MESSAGES));
}

TEST_F(NetOutTest, takesAnIcmpType) {
  auto request = rule(OUTSIDE);
  request.set_protocol(NetOutRequest::ICMP);
  request.set_icmp_type(8);
  allow(request);
  expectArrivals(to("icmp", {OUTSIDE}, {ECHO, 8 * 256 + 1}));
}

TEST_F(NetOutTest, takesAnIcmpTypeAndCode) {
  auto request = rule(OUTSIDE);
  request.set_protocol(NetOutRequest::ICMP);
  request.set_icmp_type(8);
  request.set_icmp_code(1);
  allow(request);
  expectArrivals(to("icmp", {OUTSIDE}, {8 * 256 + 1}));
}

TEST_F(NetOutTest, takesAllProtocols) {
  auto request = rule(OUTSIDE);
  request.set_protocol(NetOutRequest::ALL);
  allow(request);
  auto expected = to("tcp", {OUTSIDE}, ALL_PORTS);
  for (auto& more : {to("udp", {OUTSIDE}, ALL_PORTS), to("icmp", {OUTSIDE}, ALL_MESSAGES)})
    expected.insert(expected.end(), more.begin(), more.end());
  expectArrivals(expected);
}

TEST_F(NetOutTest, ignoresPortsWithAllProtocols) {
  auto request = rule(OUTSIDE);
  request.set_protocol(NetOutRequest::ALL);
  request.set_port(80);
  allow(request);
  EXPECT_EQ(arrivals(*container, {{"udp", OUTSIDE, 91}, {"icmp", OUTSIDE, ECHO}}).size(), 2u);
}

TEST_F(NetOutTest, addsUp) {
  auto first = rule(OUTSIDE);
  first.set_port(80);
  allow(first);
  auto second = rule(FAR_AWAY);
  second.set_port(90);
  second.set_protocol(NetOutRequest::UDP);
  allow(second);
  allow(first);  // again: harmless
  auto expected = to("tcp", {OUTSIDE}, {80});
  expected.push_back({"udp", FAR_AWAY, 90});
  expectArrivals(expected);
}

TEST_F(NetOutTest, takesRangesThatOverlap) {
  for (const char* range : {"80:90", "81:91", "79:80"}) {
    auto request = rule("198.51.100.2-198.51.100.3");
    request.set_port_range(range);
    allow(request);
  }
  allow(rule("198.51.100.3-198.51.100.4"));
  expectArrivals(to("tcp", {OUTSIDE, OUTSIDE_NEXT, OUTSIDE_LAST}, ALL_PORTS));
}

TEST_F(NetOutTest, lastsWhileTheContainerLives) {
  allow(rule(OUTSIDE));
  client().stop(container->handle, false, true);
  EXPECT_EQ(arrivals(*container, {{"tcp", OUTSIDE, 80}}).size(), 1u);
}

TEST_F(NetOutTest, servesNoOtherContainer) {
  allowAll(*container);
  auto other = create();
  EXPECT_TRUE(arrivals(other, {{"tcp", OUTSIDE, 80}, {"udp", OUTSIDE, 80}, {"icmp", OUTSIDE, ECHO}})
                  .empty());
  EXPECT_EQ(arrivals(*container, {{"tcp", OUTSIDE, 80}}).size(), 1u);
}

TEST_F(NetOutTest, reachesAnotherContainerThatARuleNames) {
  auto other = create();
  auto third = create();
  auto request = rule(other.ip);
  request.set_port(80);
  allow(request);
  TcpListener listener(other.network(), 80);
  TcpListener thirds(third.network(), 80);
  expectConversation(tryConnect(container->network(), other.ip, 80), listener);
  EXPECT_FALSE(tryConnect(container->network(), other.ip, 81, NO_ANSWER).has_value());
  EXPECT_FALSE(tryConnect(container->network(), third.ip, 80, NO_ANSWER).has_value());
  // It is no way back.
  TcpListener own(container->network(), 80);
  EXPECT_FALSE(tryConnect(other.network(), container->ip, 80, NO_ANSWER).has_value());
}

TEST_F(NetOutTest, letsConversationsPassAsTheServersOwn) {
  allowAll(*container);
  TcpListener listener(outside().network(), 80);
  auto connection = tryConnect(container->network(), OUTSIDE, 80);
  ASSERT_TRUE(connection.has_value());
  auto accepted = listener.accept();
  ASSERT_TRUE(accepted.has_value());
  EXPECT_EQ(accepted->peerAddress(), EXTERNAL);
  accepted->send("answer");
  EXPECT_EQ(connection->receive(6), "answer");

  UdpSocket far(outside().network(), 53, FAR_AWAY);
  UdpSocket near(container->network());
  ASSERT_TRUE(near.send(FAR_AWAY, 53, "question"));
  auto question = far.receive();
  ASSERT_TRUE(question.has_value());
  EXPECT_EQ(question->sender, EXTERNAL);
  ASSERT_TRUE(far.send(question->sender, question->port, "answer"));
  EXPECT_TRUE(near.receive().has_value());
  EXPECT_TRUE(ping(container->network(), FAR_AWAY));
}

TEST_F(NetOutTest, logsWithTheContainersIdAsPrefix) {
  auto request = rule(OUTSIDE);
  request.set_port(80);
  request.set_log(true);
  allow(request);
  expectArrivals(to("tcp", {OUTSIDE}, {80}));
  auto ruleset =
      nlohmann::json::parse(network().output({"/usr/sbin/nft", "-j", "list", "ruleset"}));
  int logs = 0;
  for (const auto& entry : ruleset["nftables"]) {
    if (!entry.contains("rule")) continue;
    for (const auto& expression : entry["rule"]["expr"]) {
      if (!expression.contains("log")) continue;
      std::string prefix =
          expression["log"].is_object() ? expression["log"].value("prefix", "") : "";
      EXPECT_NE(prefix.find(container->id), std::string::npos) << entry.dump();
      ++logs;
    }
  }
  EXPECT_EQ(logs, 1);
}

TEST_F(NetOutTest, doesNotLogWithoutBeingTold) {
  allow(rule(OUTSIDE));
  EXPECT_EQ(network().output({"/usr/sbin/nft", "list", "ruleset"}).find("log "), std::string::npos);
}

}  // namespace
}  // namespace warden::test
