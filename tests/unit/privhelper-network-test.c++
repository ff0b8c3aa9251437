// Real packets in real network namespaces.

#include <errno.h>
#include <kj/debug.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "privhelper/firewall-table.h"
#include "privhelper/frontend-process.h"
#include "privhelper/step.h"
#include "tests/unit/privhelper-network-harness.h"

namespace warden::privhelper {
namespace {

TEST_F(NetworkTest, makesInterfacesWithAddressAndMtu) {
  policy.mtu = 1400;
  start();
  auto& container = addContainer(5);
  auto links = host.run("ip -d addr show dev " + container.name);
  EXPECT_NE(links.find("inet 10.254.0.21/30 brd 10.254.0.23"), std::string::npos) << links;
  EXPECT_NE(links.find("mtu 1400"), std::string::npos) << links;
  EXPECT_NE(links.find(",UP"), std::string::npos) << links;
  EXPECT_EQ(links.find("inet6"), std::string::npos) << links;
  auto inside = container.space.run("ip addr && ip route");
  EXPECT_NE(inside.find(std::string("w-") + container.id.text().cStr() + "-1"), std::string::npos);
  EXPECT_NE(inside.find("inet 10.254.0.22/30"), std::string::npos) << inside;
  EXPECT_NE(inside.find("default via 10.254.0.21"), std::string::npos) << inside;
  EXPECT_NE(inside.find("mtu 1400"), std::string::npos) << inside;
  end(container);
  EXPECT_EQ(host.run("ip link").find("w-"), std::string::npos);
  network = nullptr;
  EXPECT_EQ(host.run("nft list tables"), "");
}

TEST_F(NetworkTest, containerReachesNothingByDefault) {
  start();
  auto& container = addContainer(0);
  auto& other = addContainer(1);
  Fd hostListener = listenAt(host, "0.0.0.0", 81);
  Fd otherListener = listenAt(other.space, "0.0.0.0", 81);
  EXPECT_TRUE(connects(host, WORLD, 80));
  EXPECT_TRUE(connects(host, other.address.c_str(), 81));
  EXPECT_EQ(packets(DENIED, container), 0u);
  EXPECT_FALSE(connects(container.space, WORLD, 80));
  uint64_t denied = packets(DENIED, container);
  EXPECT_GT(denied, 0u);
  for (const char* address : {"10.254.0.1", HOST, "10.254.0.5", "10.254.0.6", "169.254.169.254"}) {
    EXPECT_FALSE(connects(container.space, address, 81)) << address;
    EXPECT_GT(packets(DENIED, container), denied) << address;
    denied = packets(DENIED, container);
  }
}

TEST_F(NetworkTest, allowedNetworksAreReachedFromTheHostsAddress) {
  policy.allowNetworks = {{0xc0000200, 0xc00002ff}};
  start();
  auto& container = addContainer(0);
  ASSERT_TRUE(connects(container.space, WORLD, 80));
  sockaddr_in peer;
  socklen_t size = sizeof(peer);
  Fd connection(accept(listener, reinterpret_cast<sockaddr*>(&peer), &size));
  EXPECT_EQ(ntohl(peer.sin_addr.s_addr), 0xc0000201);
  EXPECT_GT(packets("received", container), 0u);
  EXPECT_GT(packets("sent", container), 0u);
}

TEST_F(NetworkTest, mappedPortWorksFromOutsideAndFromTheHost) {
  start();
  auto& container = addContainer(0);
  Fd service = listenAt(container.space, "0.0.0.0", 8080);
  EXPECT_FALSE(connects(world, HOST, 5000));
  container.network->mapPort({5000, 8080});
  EXPECT_TRUE(connects(world, HOST, 5000));
  EXPECT_TRUE(connects(host, HOST, 5000));
  EXPECT_FALSE(connects(host, "127.0.0.1", 5000));
  EXPECT_FALSE(connects(world, HOST, 5001));
  // The network of containers itself stays closed.
  world.run("ip route add 10.254.0.0/16 via 192.0.2.1");
  EXPECT_FALSE(connects(world, container.address.c_str(), 8080));

  auto& other = addContainer(1);
  EXPECT_EQ(errorOf([&] { other.network->mapPort({5000, 1}); }), EADDRINUSE);
  EXPECT_EQ(errorOf([&] { container.network->mapPort({5000, 8080}); }), EADDRINUSE);
  EXPECT_TRUE(connects(world, HOST, 5000));
  end(container);
  EXPECT_FALSE(connects(world, HOST, 5000));
  other.network->mapPort({5000, 1});
}

TEST_F(NetworkTest, mappedPortOfAnotherContainerNeedsARule) {
  start();
  auto& server = addContainer(0);
  auto& client = addContainer(1);
  Fd service = listenAt(server.space, "0.0.0.0", 8080);
  server.network->mapPort({5000, 8080});
  EXPECT_FALSE(connects(client.space, HOST, 5000));
  OutRule rule = tcpTo("10.254.0.2");
  rule.firstPort = rule.lastPort = 8080;
  client.network->allowOut(rule);
  EXPECT_TRUE(connects(client.space, HOST, 5000));
  EXPECT_TRUE(connects(client.space, "10.254.0.2", 8080));
  EXPECT_FALSE(connects(server.space, client.address.c_str(), 8080));
}

TEST_F(NetworkTest, rulesLetOutWhatTheySay) {
  start();
  struct Case {
    const char* network;
    schema::Protocol protocol;
    uint16_t first, last;
    bool log;
    bool reaches;
  } cases[] = {
      {"192.0.2.2", schema::Protocol::TCP, 0, 65535, false, true},
      {"192.0.2.0/24", schema::Protocol::TCP, 80, 80, false, true},
      {"192.0.2.0/25", schema::Protocol::ALL, 0, 65535, false, true},
      {"192.0.2.2", schema::Protocol::TCP, 81, 81, false, false},
      {"192.0.2.2", schema::Protocol::UDP, 80, 80, false, false},
      {"192.0.2.3", schema::Protocol::ALL, 0, 65535, false, false},
      {"0.0.0.0/0", schema::Protocol::TCP, 79, 80, false, true},
      {"0.0.0.0/0", schema::Protocol::TCP, 80, 80, true, true},
      {"0.0.0.0/0", schema::Protocol::ALL, 0, 65535, false, true},
      {"0.0.0.0/0", schema::Protocol::TCP, 81, 65535, false, false},
      {"0.0.0.0/0", schema::Protocol::TCP, 0, 100, false, true},
      {"0.0.0.0/0", schema::Protocol::TCP, 1, 65535, false, true},
      {"192.0.2.0/30", schema::Protocol::TCP, 78, 82, false, true},
      {"192.0.2.0/30", schema::Protocol::TCP, 81, 90, false, false},
      {"192.0.2.1-192.0.2.2", schema::Protocol::TCP, 80, 80, false, true},
      {"1.2.3.4-192.0.2.1", schema::Protocol::TCP, 80, 80, false, false},
      {"1.2.3.4-192.0.2.2", schema::Protocol::TCP, 80, 80, false, true},
  };
  uint32_t index = 0;
  for (auto& c : cases) {
    auto& container = addContainer(index++);
    container.network->allowOut(OutRule{.destination = KJ_ASSERT_NONNULL(parseIpv4Range(c.network)),
                                        .protocol = c.protocol,
                                        .firstPort = c.first,
                                        .lastPort = c.last,
                                        .icmpType = -1,
                                        .icmpCode = -1,
                                        .log = c.log});
    EXPECT_EQ(connects(container.space, WORLD, 80), c.reaches) << index << ": " << c.network;
    end(container);
  }
  // Nothing but the server's own chains and its external address is left.
  auto table = host.run("nft list table inet warden-unit");
  EXPECT_EQ(table.find("w-"), std::string::npos) << table;
  EXPECT_EQ(table.find("c-"), std::string::npos) << table;
}

TEST_F(NetworkTest, spoofedPacketsAreDropped) {
  policy.allowNetworks = {{0, ~0u}};
  start();
  auto& container = addContainer(0);
  Fd raw = container.space.socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  auto send = [&](const char* source) {
    struct __attribute__((packed)) {
      uint8_t version = 0x45, tos = 0;
      uint16_t length = htons(28), id = 0, fragment = 0;
      uint8_t ttl = 64, protocol = IPPROTO_UDP;
      uint16_t checksum = 0;
      uint32_t from, to;
      uint16_t ports[2] = {htons(1000), htons(80)}, size = htons(8), sum = 0;
    } packet;
    packet.from = socketAddress(source, 0).sin_addr.s_addr;
    packet.to = socketAddress(WORLD, 0).sin_addr.s_addr;
    auto to = socketAddress(WORLD, 0);
    ASSERT_EQ(sendto(raw, &packet, sizeof(packet), 0, reinterpret_cast<sockaddr*>(&to), sizeof(to)),
              28);
  };
  send(container.address.c_str());
  EXPECT_EQ(packets(DENIED, container), 0u);
  uint64_t expected = 0;
  for (const char* source : {"10.254.0.6", "10.254.0.1", "192.0.2.2", "127.0.0.1", "8.8.8.8"}) {
    send(source);
    EXPECT_EQ(packets(DENIED, container), ++expected) << source;
  }
}

TEST_F(NetworkTest, rawFramesWithIpv6AreDropped) {
  policy.allowNetworks = {{0, ~0u}};
  start();
  auto& container = addContainer(0);
  Fd raw = container.space.socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
  std::string link = host.run("ip -o link show dev " + container.name);
  std::string hostMac = link.substr(link.find("link/ether ") + 11, 17);
  uint8_t frame[14 + 40 + 8] = {};
  ASSERT_EQ(sscanf(hostMac.c_str(), "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &frame[0], &frame[1],
                   &frame[2], &frame[3], &frame[4], &frame[5]),
            6);
  frame[12] = 0x86;  // IPv6
  frame[13] = 0xdd;
  frame[14] = 0x60;
  frame[19] = 8;                 // payload
  frame[20] = IPPROTO_UDP;       // next header
  frame[21] = 64;                // hops
  frame[22] = frame[38] = 0x20;  // 2000::
  frame[37] = 1;
  frame[53] = 2;
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = PEER_INDEX;
  to.sll_halen = 6;
  for (uint64_t i = 1; i <= 3; ++i) {
    ASSERT_EQ(sendto(raw, frame, sizeof(frame), 0, reinterpret_cast<sockaddr*>(&to), sizeof(to)),
              ssize_t(sizeof(frame)));
    EXPECT_EQ(packets(DENIED, container), i);
  }
}

TEST_F(NetworkTest, icmpRulesTellTypesAndCodes) {
  start();
  auto& container = addContainer(0);
  container.space.run("echo '0 0' > /proc/sys/net/ipv4/ping_group_range");
  Fd ping = container.space.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, IPPROTO_ICMP);
  auto answers = [&] {
    uint8_t echo[8] = {8};
    auto to = socketAddress(WORLD, 0);
    KJ_SYSCALL(sendto(ping, echo, sizeof(echo), 0, reinterpret_cast<sockaddr*>(&to), sizeof(to)));
    pollfd p{ping, POLLIN, 0};
    if (poll(&p, 1, 200) != 1) return false;
    KJ_SYSCALL(recv(ping, echo, sizeof(echo), 0));
    return true;
  };
  OutRule rule = tcpTo("0.0.0.0/0");
  container.network->allowOut(rule);
  EXPECT_FALSE(answers());
  rule.protocol = schema::Protocol::ICMP;
  rule.icmpType = 13;
  container.network->allowOut(rule);
  EXPECT_FALSE(answers());
  rule.icmpType = 8;
  rule.icmpCode = 1;
  container.network->allowOut(rule);
  EXPECT_FALSE(answers());
  rule.icmpCode = 0;
  container.network->allowOut(rule);
  EXPECT_TRUE(answers());
}

TEST_F(NetworkTest, hostIsReachedWhenThePolicySaysSo) {
  policy.allowHostAccess = true;
  start();
  auto& container = addContainer(0);
  Fd hostListener = listenAt(host, "0.0.0.0", 81);
  EXPECT_TRUE(connects(container.space, "10.254.0.1", 81));
  EXPECT_TRUE(connects(container.space, HOST, 81));
  EXPECT_FALSE(connects(container.space, WORLD, 80));
}

TEST_F(NetworkTest, rulesAddUpAndMayBeRepeated) {
  start();
  auto& container = addContainer(0);
  OutRule rule = tcpTo("192.0.2.0/28");
  for (int i = 0; i < 3; ++i)
    container.network->allowOut(rule);
  container.network->allowOut(tcpTo("192.0.2.0-192.0.2.16"));
  EXPECT_TRUE(connects(container.space, WORLD, 80));
  end(container);
}

TEST(AllowedNetworksTest, doNotIncludeOtherContainersByTheWay) {
  NetworkPolicy policy{.poolStart = 100, .poolSize = 25};  // 100 .. 199
  auto allowed = [&](std::vector<Ipv4Range> networks) {
    policy.allowNetworks = networks;
    std::string text;
    for (auto& range : allowedForAll(policy))
      text += std::to_string(range.first) + "-" + std::to_string(range.last) + " ";
    return text;
  };
  EXPECT_EQ(allowed({}), "");
  EXPECT_EQ(allowed({{0, ~0u}}), "0-99 200-4294967295 ");
  EXPECT_EQ(allowed({{0, 150}}), "0-99 ");
  EXPECT_EQ(allowed({{150, 250}}), "200-250 ");
  EXPECT_EQ(allowed({{100, 103}}), "100-103 ");
  EXPECT_EQ(allowed({{300, 400}, {10, 20}, {21, 30}, {350, 500}}), "10-30 300-500 ");
}

}  // namespace
}  // namespace warden::privhelper
