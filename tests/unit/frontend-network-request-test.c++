#include "frontend/network-request.h"

#include <kj/debug.h>

#include <gtest/gtest.h>

#include "frontend/client-error.h"

namespace warden::frontend {
namespace {

NetOutRequest toNetwork(const std::string& network) {
  NetOutRequest request;
  request.set_network(network);
  return request;
}

NetOutRequest toRange(const std::string& range) {
  NetOutRequest request;
  request.set_port_range(range);
  return request;
}

template <typename Read>
std::string refusal(Read&& read) {
  KJ_IF_MAYBE (reason, kj::runCatchingExceptions([&]() { read(); })) {
    auto text = reason->getDescription();
    return isClientError(*reason) ? std::string(text.begin(), text.size()) : "internal";
  }
  return "";
}

std::string refusalOf(const NetOutRequest& request) {
  return refusal([&]() { readNetOut(request); });
}

TEST(NetInRequestTest, takesPortsFrom1To65535) {
  NetInRequest request;
  auto none = readNetIn(request, 1024);
  EXPECT_TRUE(none.hostPort == nullptr && none.containerPort == nullptr);
  request.set_host_port(65535);
  request.set_container_port(1);
  auto both = readNetIn(request, 1024);
  EXPECT_EQ(KJ_ASSERT_NONNULL(both.hostPort), 65535);
  EXPECT_EQ(KJ_ASSERT_NONNULL(both.containerPort), 1);
}

TEST(NetInRequestTest, refusesOtherPorts) {
  auto host = [](uint32_t port) {
    NetInRequest request;
    request.set_host_port(port);
    return refusal([&]() { readNetIn(request, 1024); });
  };
  auto container = [](uint32_t port) {
    NetInRequest request;
    request.set_container_port(port);
    return refusal([&]() { readNetIn(request, 1024); });
  };
  EXPECT_EQ(host(0), "host_port is 0; a port from 1024 to 65535 is accepted");
  EXPECT_EQ(host(1023), "host_port is 1023; a port from 1024 to 65535 is accepted");
  EXPECT_EQ(host(1024), "");
  EXPECT_EQ(host(65536), "host_port is 65536; a port from 1024 to 65535 is accepted");
  EXPECT_EQ(host(UINT32_MAX), "host_port is 4294967295; a port from 1024 to 65535 is accepted");
  EXPECT_EQ(container(0), "container_port is 0; a port from 1 to 65535 is accepted");
  EXPECT_EQ(container(65536), "container_port is 65536; a port from 1 to 65535 is accepted");
}

TEST(NetOutRequestTest, needsNetworkPortOrRange) {
  NetOutRequest request;
  EXPECT_EQ(refusalOf(request), "Please specify network, port, and/or port_range.");
  request.set_protocol(NetOutRequest::ICMP);
  request.set_icmp_type(8);
  EXPECT_EQ(refusalOf(request), "Please specify network, port, and/or port_range.");
}

TEST(NetOutRequestTest, takesAnAddressANetworkOrARange) {
  auto check = [](const char* text, uint32_t first, uint32_t last) {
    auto rule = readNetOut(toNetwork(text));
    EXPECT_EQ(rule.addresses.first, first) << text;
    EXPECT_EQ(rule.addresses.last, last) << text;
    EXPECT_EQ(rule.protocol, schema::Protocol::TCP);
    EXPECT_EQ(rule.firstPort, 0);
    EXPECT_EQ(rule.lastPort, 65535);
    EXPECT_FALSE(rule.log);
  };
  check("10.0.0.5", 0x0a000005, 0x0a000005);
  check("10.0.0.5/24", 0x0a000000, 0x0a0000ff);
  check("0.0.0.0/0", 0, UINT32_MAX);
  check("10.0.0.5/32", 0x0a000005, 0x0a000005);
  check("10.0.0.5-10.0.1.4", 0x0a000005, 0x0a000104);
}

TEST(NetOutRequestTest, refusesWhatIsNoNetwork) {
  for (std::string text :
       {std::string(), std::string("0.0.0.0/0 -j ACCEPT"), std::string("10.0.0.0/33"),
        std::string("10.0.0.0/-1"), std::string("10.0.0.0/255.0.0.0"), std::string("10.0.0.0/"),
        std::string("10.0.0.9-10.0.0.1"), std::string("10.0.0.1-"), std::string("10.0.0.256"),
        std::string("10.0.0"), std::string("1.2.3.4\0", 8), std::string("1.2.3.4/8\0x", 11),
        std::string("example.com"), std::string("::1"), std::string("010.0.0.1"),
        std::string(" 10.0.0.1"), std::string("10.0.0.1\n"), std::string(100000, '1')}) {
    auto reason = refusalOf(toNetwork(text));
    EXPECT_EQ(reason.find("network is '" + text + "'; "), 0u) << reason.substr(0, 100);
  }
}

TEST(NetOutRequestTest, leavesTheNetworkOpenWhereOnlyAPortIsGiven) {
  NetOutRequest request;
  request.set_port(443);
  auto rule = readNetOut(request);
  EXPECT_EQ(rule.addresses.first, 0u);
  EXPECT_EQ(rule.addresses.last, UINT32_MAX);
  EXPECT_EQ(rule.firstPort, 443);
  EXPECT_EQ(rule.lastPort, 443);
}

TEST(NetOutRequestTest, refusesPortsThatDoNotExist) {
  NetOutRequest request;
  request.set_port(0);
  EXPECT_EQ(refusalOf(request), "port is 0; a port from 1 to 65535 is accepted");
  request.set_port(65536);
  EXPECT_EQ(refusalOf(request), "port is 65536; a port from 1 to 65535 is accepted");
}

TEST(NetOutRequestTest, takesARangeOfPorts) {
  auto rule = readNetOut(toRange("8000:8080"));
  EXPECT_EQ(rule.firstPort, 8000);
  EXPECT_EQ(rule.lastPort, 8080);
  rule = readNetOut(toRange("1:65535"));
  EXPECT_EQ(rule.firstPort, 1);
  EXPECT_EQ(rule.lastPort, 65535);
}

TEST(NetOutRequestTest, refusesARangeThatDoesNotGrow) {
  for (auto range : {"8080:8000", "80:80", "65535:1"}) {
    EXPECT_EQ(refusalOf(toRange(range)), "Port range maximum must be greater than minimum");
  }
}

TEST(NetOutRequestTest, refusesWhatIsNoRangeOfPorts) {
  for (std::string text : {"",
                           "80",
                           ":",
                           "80:",
                           ":80",
                           "0:80",
                           "80:65536",
                           "-1:80",
                           "80:-1",
                           "+1:80",
                           "1:2:3",
                           "1-2",
                           "1: 2",
                           " 1:2",
                           "1:2 ",
                           "a:b",
                           "1:0x10",
                           "99999999999:1",
                           "1:18446744073709551617",
                           "80:443 -j ACCEPT"}) {
    auto reason = refusalOf(toRange(text));
    EXPECT_EQ(reason.find("port_range is '" + text + "'; two ports from 1 to 65535"), 0u) << reason;
  }
  EXPECT_EQ(refusalOf(toRange(std::string("1:2\0", 4))).find("port_range is '1:2"), 0u);
}

TEST(NetOutRequestTest, prefersTheRangeToThePort) {
  NetOutRequest request = toRange("10:20");
  request.set_port(80);
  auto rule = readNetOut(request);
  EXPECT_EQ(rule.firstPort, 10);
  EXPECT_EQ(rule.lastPort, 20);
}

TEST(NetOutRequestTest, takesEveryProtocol) {
  NetOutRequest request = toNetwork("10.0.0.1");
  request.set_protocol(NetOutRequest::UDP);
  EXPECT_EQ(readNetOut(request).protocol, schema::Protocol::UDP);
  request.set_protocol(NetOutRequest::ICMP);
  EXPECT_EQ(readNetOut(request).protocol, schema::Protocol::ICMP);
  request.set_protocol(NetOutRequest::ALL);
  EXPECT_EQ(readNetOut(request).protocol, schema::Protocol::ALL);
  request.set_protocol(NetOutRequest::TCP);
  EXPECT_EQ(readNetOut(request).protocol, schema::Protocol::TCP);
}

TEST(NetOutRequestTest, refusesAProtocolThatItDoesNotKnow) {
  // Field 5 with value 9, as a client of a later protocol might send it.
  NetOutRequest request;
  ASSERT_TRUE(
      request.ParseFromString("\x0a\x01h\x12\x08"
                              "10.0.0.1\x28\x09"));
  EXPECT_FALSE(request.has_protocol());
  EXPECT_EQ(refusalOf(request),
            "protocol has an unknown value; TCP (0), UDP (1), ICMP (2) and ALL (3) are accepted");
}

TEST(NetOutRequestTest, ignoresPortsWithAll) {
  NetOutRequest request = toNetwork("10.0.0.1");
  request.set_protocol(NetOutRequest::ALL);
  request.set_port(80);
  auto rule = readNetOut(request);
  EXPECT_EQ(rule.firstPort, 0);
  EXPECT_EQ(rule.lastPort, 65535);
  request.set_port_range("20:10");
  EXPECT_EQ(refusalOf(request), "Port range maximum must be greater than minimum");
}

TEST(NetOutRequestTest, refusesPortsWithIcmp) {
  NetOutRequest request = toNetwork("10.0.0.1");
  request.set_protocol(NetOutRequest::ICMP);
  request.set_port(80);
  EXPECT_EQ(refusalOf(request),
            "port does not go with protocol ICMP; icmp_type and icmp_code are accepted");
  request.clear_port();
  request.set_port_range("10:20");
  EXPECT_EQ(refusalOf(request).find("port_range does not go with protocol ICMP"), 0u);
}

TEST(NetOutRequestTest, takesIcmpTypeAndCodeWithIcmpOnly) {
  NetOutRequest request = toNetwork("10.0.0.1");
  request.set_icmp_type(8);
  request.set_icmp_code(0);
  EXPECT_EQ(readNetOut(request).icmpType, -1);
  request.set_protocol(NetOutRequest::ICMP);
  auto rule = readNetOut(request);
  EXPECT_EQ(rule.icmpType, 8);
  EXPECT_EQ(rule.icmpCode, 0);
  request.set_icmp_type(-1);
  request.clear_icmp_code();
  rule = readNetOut(request);
  EXPECT_EQ(rule.icmpType, -1);
  EXPECT_EQ(rule.icmpCode, -1);
  request.set_icmp_type(255);
  request.set_icmp_code(255);
  EXPECT_EQ(readNetOut(request).icmpCode, 255);
}

TEST(NetOutRequestTest, refusesIcmpNumbersThatDoNotExist) {
  NetOutRequest request = toNetwork("10.0.0.1");
  request.set_protocol(NetOutRequest::ICMP);
  request.set_icmp_type(256);
  EXPECT_EQ(refusalOf(request),
            "icmp_type is 256; a number from 0 to 255, or -1 for any, is accepted");
  request.set_icmp_type(-2);
  EXPECT_EQ(refusalOf(request),
            "icmp_type is -2; a number from 0 to 255, or -1 for any, is accepted");
  request.set_icmp_type(0);
  request.set_icmp_code(INT32_MAX);
  EXPECT_EQ(refusalOf(request).find("icmp_code is 2147483647; "), 0u);
}

TEST(NetOutRequestTest, passesLogOn) {
  NetOutRequest request = toNetwork("10.0.0.1");
  request.set_log(true);
  EXPECT_TRUE(readNetOut(request).log);
}

TEST(CreateNetworkTest, isAnAddress) {
  EXPECT_EQ(readCreateNetwork("10.254.0.6"), 0x0afe0006u);
  for (auto text : {"", "x", "10.254.0.0/30", "10.254.0.6 "}) {
    EXPECT_EQ(refusal([&]() { readCreateNetwork(text); }),
              std::string("Could not acquire network: ") + text +
                  ": network is no IPv4 address; an address of network.pool_network is accepted");
  }
}

}  // namespace
}  // namespace warden::frontend
