// Interfaces, tables and limits from their making to their end.

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "privhelper/firewall-table.h"
#include "privhelper/frontend-process.h"
#include "tests/unit/privhelper-network-harness.h"

namespace warden::privhelper {
namespace {

TEST_F(NetworkTest, removesWhatADeadServerLeft) {
  start();
  for (uint32_t i = 0; i < 3; ++i)
    limit(*addContainer(i).network, 1000000, 10000);
  containers[0]->network->mapPort({5000, 1});
  containers[1]->network->allowOut(tcpTo("1.2.3.4-5.6.7.8"));
  host.run("ip link add w-stranger type veth peer name other");
  // As if the process had been killed.
  kj::Own<Network> dead = kj::mv(network);
  start();
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

TEST_F(NetworkTest, portsAndRulesOfOneContainerAreBounded) {
  start();
  auto& container = addContainer(0);
  for (uint32_t i = 0; i < schema::MapPort::MAX_PORTS; ++i)
    container.network->mapPort({uint16_t(10000 + i), 80});
  EXPECT_EQ(errorOf([&] { container.network->mapPort({9999, 80}); }), ENOSPC);
  for (uint32_t i = 0; i < schema::AllowOut::MAX_RULES; ++i) {
    OutRule rule = tcpTo("10.1.0.0-10.9.0.8");
    rule.firstPort = rule.lastPort = 1 + i;
    container.network->allowOut(rule);
  }
  EXPECT_EQ(errorOf([&] { container.network->allowOut(tcpTo("1.2.3.4")); }), ENOSPC);
  end(container);
  auto table = host.run("nft list table inet warden-unit");
  EXPECT_EQ(table.find("c-"), std::string::npos) << table;
  EXPECT_EQ(table.find("10000"), std::string::npos) << table;
}

TEST_F(NetworkTest, bandwidthLimitIsReplacedAndLeavesNothing) {
  start();
  auto& container = addContainer(0);
  EXPECT_EQ(host.run("ip link").find("-b:"), std::string::npos);
  limit(*container.network, 125000, 20000);
  std::string shaper = container.name.substr(0, 14) + "b";
  for (const std::string& name : {container.name, shaper}) {
    auto bucket = host.run("tc qdisc show dev " + name);
    EXPECT_EQ(bucket.find("qdisc tbf "), 0u) << bucket;
    EXPECT_NE(bucket.find("rate 1Mbit burst 20000b"), std::string::npos) << bucket;
  }
  for (uint64_t rate : {uint64_t(1), uint64_t(1) << 32, uint64_t(1) << 63, UINT64_MAX}) {
    for (uint64_t burst : {uint64_t(1), UINT64_MAX})
      limit(*container.network, rate, burst);
  }
  container.network->allowOut(tcpTo(WORLD));
  EXPECT_TRUE(connects(container.space, WORLD, 80));
  end(container);
  EXPECT_EQ(host.run("ip link").find("w-"), std::string::npos);
}

TEST_F(NetworkTest, bandwidthLimitHoldsInBothDirections) {
  start();
  auto& container = addContainer(0);
  limit(*container.network, 200'000, 20'000);
  Fd service = listenAt(container.space, "0.0.0.0", 7);
  Fd client = host.socket(AF_INET, SOCK_STREAM);
  auto name = socketAddress(container.address.c_str(), 7);
  KJ_SYSCALL(connect(client, reinterpret_cast<sockaddr*>(&name), sizeof(name)));
  Fd server(accept(service, nullptr, nullptr));
  auto rateOf = [&](int from, int to) {
    // Bytes a second that arrive, after what the bucket and buffers let through at once.
    setNonblocking(from);
    char block[4096] = {};
    uint64_t start = monotonicUs(), measured = 0, bytes = 0;
    while (monotonicUs() < start + 1'000'000) {
      while (write(from, block, sizeof(block)) > 0) {
      }
      ssize_t n = recv(to, block, sizeof(block), MSG_DONTWAIT);
      if (n <= 0) {
        usleep(1000);
        continue;
      }
      if (measured != 0) bytes += n;
      if (measured == 0 && monotonicUs() > start + 300'000) measured = monotonicUs();
    }
    return measured == 0 ? 0 : bytes * 1'000'000 / (monotonicUs() - measured);
  };
  for (auto [from, to] : {std::pair{client.get(), server.get()}, {server.get(), client.get()}}) {
    uint64_t rate = rateOf(from, to);
    EXPECT_GT(rate, 100'000u);
    EXPECT_LT(rate, 300'000u);
  }
}

TEST_F(NetworkTest, interfaceThatOutlivesItsContainerIsRemoved) {
  start();
  auto& container = addContainer(0);
  uint64_t started = monotonicUs();
  // The namespace stays open, as with connections that the kernel winds up.
  EXPECT_TRUE(waitUntilGone(*container.network));
  EXPECT_GT(monotonicUs() - started, 200'000u);
  EXPECT_EQ(host.run("ip link").find("w-"), std::string::npos);
  EXPECT_EQ(errorOf([&] { container.network->mapPort({5000, 1}); }), ENODEV);
  EXPECT_EQ(errorOf([&] { limit(*container.network, 1, 1); }), ENODEV);
  container.network = nullptr;
}

TEST_F(NetworkTest, nextContainerDoesNotInheritConnections) {
  start();
  auto& first = addContainer(0);
  first.network->allowOut(tcpTo(WORLD));
  first.network->mapPort({5000, 80});
  Fd service = listenAt(first.space, "0.0.0.0", 80);
  auto connections = [&] {
    return std::stoul(host.run("sysctl -n net.netfilter.nf_conntrack_count"));
  };
  ASSERT_TRUE(connects(first.space, WORLD, 80));
  ASSERT_TRUE(connects(world, HOST, 5000));
  EXPECT_NE(connections(), 0u);
  service = nullptr;
  end(first);
  // At once, or when the address is used again.
  addContainer(0);
  EXPECT_EQ(connections(), 0u);
}

TEST_F(NetworkTest, followsTheHostsAddresses) {
  start();
  auto& container = addContainer(0);
  container.network->mapPort({5000, 80});
  Fd service = listenAt(container.space, "0.0.0.0", 80);
  auto external = [&] { return host.run("nft list set inet warden-unit external"); };
  EXPECT_NE(external().find("{ 192.0.2.1 }"), std::string::npos) << external();
  host.run("ip addr add 192.0.2.7/24 dev up0");
  network->handleEvents();
  EXPECT_TRUE(connects(world, "192.0.2.7", 5000));
  host.run("ip route del default");
  network->handleEvents();
  EXPECT_EQ(external().find("elements"), std::string::npos) << external();
  EXPECT_FALSE(connects(world, HOST, 5000));
  host.run("ip route add default nexthop via 192.0.2.2 nexthop via 192.0.2.3");
  network->handleEvents();
  EXPECT_NE(external().find("{ 192.0.2.1, 192.0.2.7 }"), std::string::npos) << external();
  host.run("ip link set up0 down");
  network->handleEvents();
  EXPECT_EQ(external().find("elements"), std::string::npos) << external();
}

TEST_F(NetworkTest, containerThatIsLeftKeepsItsRules) {
  start();
  auto& container = addContainer(0);
  container.network->leave();
  container.network = nullptr;
  network = nullptr;
  EXPECT_FALSE(connects(container.space, WORLD, 80));
  EXPECT_NE(host.run("nft list tables"), "");
  start();
  EXPECT_EQ(host.run("ip link").find("w-"), std::string::npos);
}

TEST_F(NetworkTest, failedAttachLeavesNothing) {
  start();
  auto& container = addContainer(0);
  // The name is taken.
  ContainerNetwork again(*network, container.id, 1);
  EXPECT_EQ(errorOf([&] { again.attach(container.space.fd()); }), EEXIST);
  auto id = ContainerId::fromNumber(7);
  ContainerNetwork other(*network, id, 1);
  EXPECT_NE(errorOf([&] { other.attach(-1); }), 0);
  EXPECT_EQ(host.run("nft list table inet warden-unit").find(id.text().cStr()), std::string::npos);
  EXPECT_EQ(host.run("ip link").find(id.text().cStr()), std::string::npos);
  EXPECT_TRUE(other.isGone());
  EXPECT_FALSE(connects(container.space, WORLD, 80));
  EXPECT_GT(packets(DENIED, container), 0u);
}

}  // namespace
}  // namespace warden::privhelper
