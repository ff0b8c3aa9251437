// Networks and what belongs to them, from create to destroy, over restarts, and with many
// containers.

#include "tests/integration/network-test.h"

namespace warden::test {
namespace {

class NetworkLifecycleTest : public NetworkTest {
 protected:
  void SetUp() override { useNoServerTwice(); }

  CreateRequest wish(const std::string& network) {
    CreateRequest request;
    request.set_network(network);
    return request;
  }
  void useEverything(const Container& container, uint16_t port) {
    mapPort(container, port, 80);
    mapPort(container);
    auto out = rule(container, std::string(OUTSIDE) + "-" + OUTSIDE_LAST);
    out.set_port_range("1000:2000");
    out.set_log(true);
    allow(out);
    allowAll(container);
    LimitBandwidthRequest limit;
    limit.set_handle(container.handle);
    limit.set_rate(1000 * 1000);
    limit.set_burst(100 * 1000);
    client().call(limit);
  }
};

TEST_F(NetworkLifecycleTest, leavesNothingAfterDestroy) {
  startNetwork();
  auto before = networkObjects(network());
  for (int round = 0; round < 3; ++round) {
    auto container = create();
    useEverything(container, 5000);
    EXPECT_NE(networkObjects(network()), before);
    client().destroy(container.handle);
  }
  std::vector<std::string> after;
  waitUntil([&]() { return (after = networkObjects(network())) == before; });
  EXPECT_EQ(after, before);
}

TEST_F(NetworkLifecycleTest, leavesNothingAfterStop) {
  startNetwork();
  auto container = create();
  useEverything(container, 5000);
  destroyAll(server());
  EXPECT_EQ(server().stop(), 0) << server().logs();
  expectNothingRemains(server());
  EXPECT_EQ(interfaceNames(network()), (std::vector<std::string>{"lo", "wire0"}));
}

TEST_F(NetworkLifecycleTest, removesWhatADeadServerLeftOfDeadContainers) {
  startNetwork();
  auto before = networkObjects(network());
  std::string id;
  std::vector<pid_t> dead;
  {
    auto container = create();
    id = container.id;
    useEverything(container, 5000);
    auto other = create();
    useEverything(other, 5001);
    dead = {container.wshd, other.wshd};
  }
  server().kill9();
  for (pid_t pid : dead)
    kill(pid, SIGKILL);
  EXPECT_NE(networkObjects(network()), before) << "nothing to be removed: the test is void";
  server().start();
  std::vector<std::string> after;
  waitUntil([&]() { return (after = networkObjects(network())) == before; });
  EXPECT_EQ(after, before);
  EXPECT_TRUE(waitUntil([&]() { return server().depotEntries().empty(); }));
  // Its addresses and ports can be had again.
  TestClient client = connect();
  for (int i = 0; i < 8; ++i)
    client.create();
  NetInRequest request;
  request.set_handle(client.create());
  request.set_host_port(5000);
  client.call(request);
  destroyAll(server());
  EXPECT_EQ(server().stop(), 0);
  expectNothingRemains(server());
}

TEST_F(NetworkLifecycleTest, comesBackWithAFreshTableWhenTheOldOneWasChanged) {
  startNetwork();
  auto before = networkObjects(network());
  server().kill9();
  // As if another version had left it.
  for (const auto& object : before) {
    size_t name = object.find("nft table ");
    if (name != 0) continue;
    auto tables = network().output({"/usr/sbin/nft", "list", "tables"});
    for (const auto& line : splitLines(tables)) {
      std::istringstream words(line);
      std::string word, family, table;
      words >> word >> family >> table;
      network().output({"/usr/sbin/nft", "add", "chain", family, table, "stale"});
      network().output({"/usr/sbin/nft", "add", "rule", family, table, "stale", "accept"});
    }
    break;
  }
  EXPECT_NE(networkObjects(network()), before) << "nothing to be removed: the test is void";
  server().start();
  EXPECT_EQ(networkObjects(network()), before);
}

TEST_F(NetworkLifecycleTest, leavesTablesOfOthersAlone) {
  startNetwork();
  network().output({"/usr/sbin/nft", "add", "table", "ip", "others"});
  network().output({"/usr/sbin/nft", "add", "chain", "ip", "others", "c"});
  network().output({"/usr/sbin/nft", "add", "rule", "ip", "others", "c", "accept"});
  auto container = create();
  useEverything(container, 5000);
  destroyAll(server());
  EXPECT_EQ(server().stop(), 0);
  EXPECT_EQ(splitLines(network().output({"/usr/sbin/nft", "list", "tables"})),
            std::vector<std::string>{"table ip others"});
  network().output({"/usr/sbin/nft", "delete", "table", "ip", "others"});
  expectNothingRemains(server());
}

TEST_F(NetworkLifecycleTest, givesTheNetworkThatContainsTheAddressAskedFor) {
  startNetwork();
  auto container = create(wish("10.254.0.43"));
  EXPECT_EQ(container.hostIp, "10.254.0.41");
  EXPECT_EQ(container.ip, "10.254.0.42");
  auto next = create(wish("10.254.0.44"));
  EXPECT_EQ(next.ip, "10.254.0.46");
}

TEST_F(NetworkLifecycleTest, hasAsManyNetworksAsThePoolAndBeginsWhereItDoes) {
  startNetwork({{"network.pool_network", ""},
                {"network.pool_start_address", "10.77.0.4"},
                {"network.pool_size", "2"},
                {"network.release_delay", "0"}});
  auto first = create(), second = create();
  EXPECT_EQ((std::set<std::string>{first.ip, second.ip}),
            (std::set<std::string>{"10.77.0.6", "10.77.0.10"}));
  EXPECT_NE(client().expectError(CreateRequest()), "");
  client().destroy(first.handle);
  EXPECT_EQ(create().ip, first.ip);
}

TEST_F(NetworkLifecycleTest, refusesNetworksThatCannotBeHad) {
  startNetwork();
  auto container = create(wish("10.254.0.40"));
  auto before = networkObjects(network());
  for (const char* network : {"10.254.0.40", "10.254.0.41", "10.254.0.43", "10.254.4.0",
                              "10.253.255.255", "0.0.0.0", "255.255.255.255", "127.0.0.1"}) {
    std::string message = client().expectError(wish(network));
    EXPECT_EQ(message.find(std::string("Could not acquire network: ") + network), 0u) << message;
  }
  for (const char* network : {"", "x", "10.254.0", "10.254.0.256", "10.254.0.8/30", " 10.254.0.8",
                              "10.254.0.8 ", "10.254.0.08", "-1.2.3.4", "::1", "10.254.0.8\n"}) {
    EXPECT_NE(client().expectError(wish(network)), "") << network;
  }
  EXPECT_EQ(networkObjects(this->network()), before);
  EXPECT_EQ(client().list().size(), 1u);
}

TEST_F(NetworkLifecycleTest, doesNotGiveANetworkAgainWithinTheReleaseDelay) {
  startNetwork({{"network.release_delay", "1"}});
  auto container = create(wish("10.254.0.40"));
  client().destroy(container.handle);
  auto destroyed = std::chrono::steady_clock::now();
  EXPECT_EQ(
      client().expectError(wish("10.254.0.40")).find("Could not acquire network: 10.254.0.40"), 0u);
  bool given = waitUntil([&]() {
    try {
      create(wish("10.254.0.40"));
      return true;
    } catch (const ServerError&) {
      return false;
    }
  });
  EXPECT_TRUE(given);
  EXPECT_GE(std::chrono::steady_clock::now() - destroyed, std::chrono::milliseconds(950));
}

TEST_F(NetworkLifecycleTest, givesANetworkAgainAtOnceWithoutADelay) {
  startNetwork({{"network.release_delay", "0"}, {"network.pool_network", "10.254.0.0/30"}});
  for (int i = 0; i < 10; ++i) {
    auto container = create();
    EXPECT_EQ(container.ip, "10.254.0.2");
    EXPECT_TRUE(ping(network(), container.ip));
    EXPECT_NE(client().expectError(CreateRequest()), "");
    client().destroy(container.handle);
  }
}

TEST_F(NetworkLifecycleTest, aNewContainerInheritsNothingFromTheOneThatHadItsNetwork) {
  startNetwork({{"network.release_delay", "0"}, {"network.pool_network", "10.254.0.0/30"}});
  std::string ip;
  {
    auto container = create();
    ip = container.ip;
    useEverything(container, 5000);
    client().destroy(container.handle);
  }
  auto container = create();
  EXPECT_EQ(container.ip, ip);
  EXPECT_TRUE(arrivals(container,
                       {{"tcp", OUTSIDE, 80}, {"udp", OUTSIDE, 1500}, {"icmp", OUTSIDE, 8 * 256}})
                  .empty());
  TcpListener listener(container.network(), 80);
  EXPECT_FALSE(tryConnect(outside().network(), EXTERNAL, 5000, NO_ANSWER).has_value());
  EXPECT_EQ(client().info(container.handle).bandwidth_stat().in_rate(), 0xffffffffu);
}

TEST_F(NetworkLifecycleTest, keepsTheRulesOfManyContainersApart) {
  constexpr uint16_t COUNT = 100;
  constexpr uint16_t FIRST_PORT = 20000;
  startNetwork({{"network.pool_network", "10.254.0.0/22"}}, 2 * COUNT);
  std::vector<Container> containers;
  for (uint16_t i = 0; i < COUNT; ++i) {
    containers.push_back(create());
    mapPort(containers[i], FIRST_PORT + i, 80);
    auto request = rule(containers[i], OUTSIDE);
    request.set_port(FIRST_PORT + i);
    request.set_protocol(NetOutRequest::UDP);
    allow(request);
  }
  auto expectRight = [&](uint16_t i) {
    std::vector<Attempt> attempts;
    for (uint16_t port : {(i + COUNT - 1) % COUNT, int(i), (i + 1) % COUNT})
      attempts.push_back({"udp", OUTSIDE, uint16_t(FIRST_PORT + port)});
    EXPECT_EQ(arrivals(containers[i], attempts),
              texts({{"udp", OUTSIDE, uint16_t(FIRST_PORT + i)}}));
    TcpListener listener(containers[i].network(), 80);
    expectConversation(tryConnect(outside().network(), EXTERNAL, FIRST_PORT + i), listener);
  };
  for (uint16_t i = 0; i < COUNT; i += 7)
    expectRight(i);
  // Each other one goes; those that stay are as they were.
  for (uint16_t i = 1; i < COUNT; i += 2)
    client().destroy(containers[i].handle);
  for (uint16_t i = 0; i < COUNT; i += 14)
    expectRight(i);
  EXPECT_FALSE(tryConnect(outside().network(), EXTERNAL, FIRST_PORT + 1, NO_ANSWER).has_value());
}

}  // namespace
}  // namespace warden::test
