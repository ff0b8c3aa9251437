// Real packets in real network namespaces.

#include <errno.h>
#include <kj/debug.h>
#include <net/ethernet.h>
#include <sys/socket.h>

#include "privhelper/firewall-table.h"
#include "privhelper/step.h"
#include "tests/unit/privhelper-network-harness.h"

namespace warden::privhelper {
namespace {

OutRule tcpTo(const char* range) {
  return OutRule{.destination = KJ_ASSERT_NONNULL(parseIpv4Range(range)),
                 .protocol = schema::Protocol::TCP,
                 .firstPort = 0,
                 .lastPort = 65535,
                 .icmpType = -1,
                 .icmpCode = -1,
                 .log = false};
}

template <typename Call>
int errorOf(Call&& call) {
  try {
    call();
  } catch (const StepError& e) {
    return e.error();
  }
  return 0;
}

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
  container.network->mapPort(5000, 8080);
  EXPECT_TRUE(connects(world, HOST, 5000));
  EXPECT_TRUE(connects(host, HOST, 5000));
  EXPECT_FALSE(connects(host, "127.0.0.1", 5000));
  EXPECT_FALSE(connects(world, HOST, 5001));
  // The network of containers itself stays closed.
  world.run("ip route add 10.254.0.0/16 via 192.0.2.1");
  EXPECT_FALSE(connects(world, container.address.c_str(), 8080));

  auto& other = addContainer(1);
  EXPECT_EQ(errorOf([&] { other.network->mapPort(5000, 1); }), EADDRINUSE);
  EXPECT_EQ(errorOf([&] { container.network->mapPort(5000, 8080); }), EADDRINUSE);
  EXPECT_TRUE(connects(world, HOST, 5000));
  end(container);
  EXPECT_FALSE(connects(world, HOST, 5000));
  other.network->mapPort(5000, 1);
}

TEST_F(NetworkTest, mappedPortOfAnotherContainerNeedsARule) {
  start();
  auto& server = addContainer(0);
  auto& client = addContainer(1);
  Fd service = listenAt(server.space, "0.0.0.0", 8080);
  server.network->mapPort(5000, 8080);
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
  auto received = [&] {
    return std::stoul(world.run("cat /sys/class/net/up1/statistics/rx_packets"));
  };
  (void)received;
  send(container.address.c_str());
  EXPECT_EQ(packets(DENIED, container), 0u);
  uint64_t expected = 0;
  for (const char* source : {"10.254.0.6", "10.254.0.1", "192.0.2.2", "127.0.0.1", "8.8.8.8"}) {
    send(source);
    EXPECT_EQ(packets(DENIED, container), ++expected) << source;
  }
}

TEST_F(NetworkTest, removesWhatADeadServerLeft) {
  start();
  for (uint32_t i = 0; i < 3; ++i)
    addContainer(i).network->limitBandwidth(1000000, 10000);
  containers[0]->network->mapPort(5000, 1);
  containers[1]->network->allowOut(tcpTo("1.2.3.4-5.6.7.8"));
  host.run("ip link add w-stranger type veth peer name other");
  // As if the process had been killed.
  kj::Own<Network> dead = kj::mv(network);
  network = host.inside([&] { return kj::heap<Network>(policy, log); });
  auto links = host.run("ip -o link");
  EXPECT_EQ(links.find("w-0"), std::string::npos) << links;
  EXPECT_NE(links.find("w-stranger"), std::string::npos) << links;
  auto table = host.run("nft list table inet warden-unit");
  EXPECT_EQ(table.find("w-"), std::string::npos) << table;
  EXPECT_EQ(table.find("5000"), std::string::npos) << table;
  containers.clear();
  dead = nullptr;
}

TEST_F(NetworkTest, leavesATableOfAnotherProgramAlone) {
  host.run("nft add table inet warden-unit");
  EXPECT_EQ(errorOf([&] { start(); }), EEXIST);
  EXPECT_NE(host.run("nft list tables").find("warden-unit"), std::string::npos);
}

}  // namespace
}  // namespace warden::privhelper
