// Bad requests about the network: each gets an Error, the connection stays open, nothing changes.

#include "tests/integration/network-test.h"

namespace warden::test {
namespace {

class NetworkRefusalTest : public NetworkTest {
 protected:
  void SetUp() override {
    startNetwork();
    container.emplace(create());
    mapPort(*container, 5000, 80);
    allow(rule(*container, OUTSIDE));
    before = networkObjects(network());
  }
  void TearDown() override {
    container.reset();
    NetworkTest::TearDown();
  }

  template <typename Request>
  std::string expectRefused(const Request& request) {
    client().send(request);
    auto answer = client().receiveFrame();
    EXPECT_EQ(answer.type, Message::Error);
    ErrorResponse error;
    EXPECT_TRUE(error.ParseFromString(answer.payload));
    EXPECT_NE(error.message(), "");
    EXPECT_EQ(error.message().find("internal error"), std::string::npos) << error.message();
    client().ping();
    return error.message();
  }
  void expectNothingChanged() { EXPECT_EQ(networkObjects(network()), before); }

  NetOutRequest out(const std::string& network) { return rule(*container, network); }
  NetInRequest in() {
    NetInRequest request;
    request.set_handle(container->handle);
    return request;
  }

  std::optional<Container> container;
  std::vector<std::string> before;
};

TEST_F(NetworkRefusalTest, netInRefusesPortsThatAreNone) {
  for (uint32_t port : {0u, 65536u, 65537u, 0x10050u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
    SCOPED_TRACE(port);
    auto request = in();
    request.set_host_port(port);
    expectRefused(request);
    request.set_container_port(80);
    expectRefused(request);
    request = in();
    request.set_container_port(port);
    expectRefused(request);
    request.set_host_port(5002);
    expectRefused(request);
  }
  expectNothingChanged();
}

TEST_F(NetworkRefusalTest, netInRefusesPortsOfTheHostsOwn) {
  for (uint32_t port : {1u, 22u, 80u, 443u, 1023u}) {
    auto request = in();
    request.set_host_port(port);
    expectRefused(request);
  }
  expectNothingChanged();
}

TEST_F(NetworkRefusalTest, netOutRefusesWhatNamesNothing) {
  EXPECT_EQ(expectRefused(out("")), "Please specify network, port, and/or port_range.");
  auto request = out("");
  request.set_protocol(NetOutRequest::ALL);
  EXPECT_EQ(expectRefused(request), "Please specify network, port, and/or port_range.");
  expectNothingChanged();
}

TEST_F(NetworkRefusalTest, netOutRefusesNetworksThatAreNone) {
  for (const std::string& network : std::vector<std::string>{"0.0.0.0/0 -j ACCEPT",
                                                             "0.0.0.0/33",
                                                             "0.0.0.0/-1",
                                                             "10.0.0.0/",
                                                             "10.0.0.0/08",
                                                             "10.0.0.0/255.0.0.0",
                                                             "10.0.0.0/99999999999999999999",
                                                             "256.0.0.1",
                                                             "1.2.3",
                                                             "1.2.3.4.5",
                                                             "-1.2.3.4",
                                                             "1.2.3.4-",
                                                             "-1.2.3.4",
                                                             "1.2.3.4-1.2.3.3",
                                                             "1.2.3.4-1.2.3",
                                                             "1.2.3.4-1.2.3.9/24",
                                                             "1.2.3.0/24-1.2.4.0/24",
                                                             "1.2.3.4,5.6.7.8",
                                                             "1.2.3.4 ",
                                                             " 1.2.3.4",
                                                             "1.2.3.4\n",
                                                             "01.2.3.4",
                                                             "0x1.2.3.4",
                                                             "example.com",
                                                             "::1",
                                                             "2001:db8::/32",
                                                             "*",
                                                             "!1.2.3.4",
                                                             "any",
                                                             "\xff\xfe",
                                                             std::string("1.2.3.4\0", 8),
                                                             std::string("1.2.3.4\0/0", 10),
                                                             std::string(100000, '1')}) {
    SCOPED_TRACE(network.substr(0, 40));
    expectRefused(out(network));
  }
  // Present, but empty.
  NetOutRequest empty = out("");
  empty.set_network("");
  expectRefused(empty);
  expectNothingChanged();
}

TEST_F(NetworkRefusalTest, netOutRefusesPortsThatAreNone) {
  for (uint32_t port : {0u, 65536u, 0x10050u, 0xffffffffu}) {
    SCOPED_TRACE(port);
    auto request = out(OUTSIDE);
    request.set_port(port);
    expectRefused(request);
  }
  expectNothingChanged();
}

TEST_F(NetworkRefusalTest, netOutRefusesPortRangesThatAreNone) {
  for (const char* range : {"",
                            ":",
                            "80",
                            "80:",
                            ":80",
                            "80-90",
                            "80:90:100",
                            "a:b",
                            "0:80",
                            "80:65536",
                            "80:99999999999",
                            "-1:80",
                            "80:-1",
                            " 80:90",
                            "80:90 ",
                            "80 : 90",
                            "+80:90",
                            "0x50:0x60",
                            "80:90 -j ACCEPT",
                            "80:90\n"}) {
    SCOPED_TRACE(range);
    auto request = out(OUTSIDE);
    request.set_port_range(range);
    expectRefused(request);
  }
  for (const char* range : {"90:80", "80:80", "65535:1"}) {
    auto request = out(OUTSIDE);
    request.set_port_range(range);
    EXPECT_EQ(expectRefused(request), "Port range maximum must be greater than minimum");
  }
  expectNothingChanged();
}

TEST_F(NetworkRefusalTest, netOutRefusesIcmpNumbersThatAreNone) {
  for (int32_t number : {-2, 256, 65536, INT32_MIN, INT32_MAX}) {
    SCOPED_TRACE(number);
    auto request = out(OUTSIDE);
    request.set_protocol(NetOutRequest::ICMP);
    request.set_icmp_type(number);
    expectRefused(request);
    request.set_icmp_type(8);
    request.set_icmp_code(number);
    expectRefused(request);
  }
  expectNothingChanged();
}

TEST_F(NetworkRefusalTest, netOutRefusesProtocolsThatAreNone) {
  for (char number : {4, 17, 127}) {
    // Field 5, a varint, after what is well formed.
    client().sendFrame(Message::NetOut, out(OUTSIDE_NEXT).SerializeAsString() + "\x28" + number);
    EXPECT_NE(client().receiveError(), "");
  }
  client().ping();
  expectNothingChanged();
}

TEST_F(NetworkRefusalTest, unknownHandlesAreRefused) {
  auto netIn = in();
  netIn.set_handle("nobody");
  EXPECT_EQ(expectRefused(netIn), "unknown handle");
  auto netOut = out(OUTSIDE);
  netOut.set_handle("nobody");
  EXPECT_EQ(expectRefused(netOut), "unknown handle");
  LimitBandwidthRequest limit;
  limit.set_handle("nobody");
  limit.set_rate(1000);
  limit.set_burst(1000);
  EXPECT_EQ(expectRefused(limit), "unknown handle");
  expectNothingChanged();
}

TEST_F(NetworkRefusalTest, netOutNeedsAnActiveContainer) {
  client().stop(container->handle, false, true);
  EXPECT_EQ(expectRefused(out(OUTSIDE_NEXT)),
            "Container state must be one of 'active', current state is 'stopped'");
  expectNothingChanged();
}

TEST_F(NetworkRefusalTest, limitBandwidthRefusesNothingOfEither) {
  LimitBandwidthRequest limit;
  limit.set_handle(container->handle);
  limit.set_rate(0);
  limit.set_burst(1000);
  expectRefused(limit);
  limit.set_rate(1000);
  limit.set_burst(0);
  expectRefused(limit);
  expectNothingChanged();
}

TEST_F(NetworkRefusalTest, rulesAndPortsOfAContainerAreBounded) {
  // Many, and a clear end; then the container still works and goes.
  auto request = out("203.0.113.0/24");
  std::string message;
  for (uint32_t i = 1; i <= 2000 && message.empty(); ++i) {
    request.set_port(i);
    client().send(request);
    auto answer = client().receiveFrame();
    if (answer.type != Message::Error) continue;
    ErrorResponse error;
    error.ParseFromString(answer.payload);
    message = error.message();
    EXPECT_GT(i, 500u);
  }
  EXPECT_NE(message, "");
  EXPECT_EQ(message.find("internal error"), std::string::npos) << message;
  EXPECT_EQ(
      arrivals(*container, {{"tcp", FAR_AWAY, 1}, {"tcp", FAR_AWAY, 500}, {"tcp", FAR_AWAY, 2001}})
          .size(),
      2u);
}

}  // namespace
}  // namespace warden::test
