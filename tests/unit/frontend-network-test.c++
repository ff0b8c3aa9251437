// NetIn, NetOut and the networks of containers, through the whole core.

#include <errno.h>
#include <gtest/gtest.h>

#include "tests/unit/frontend-test-client.h"

namespace warden::frontend {
namespace {

using Ports = std::map<uint16_t, uint16_t>;

class NetworkTest : public FlowTest {
 protected:
  void SetUp() override {
    FlowTest::SetUp();
    config.network.poolStart = 0x0a000000;
    config.network.releaseDelay = 0;
    config.port.poolStart = 20000;
    config.port.poolSize = 3;
    startCore();
  }

  void restart() {
    client = nullptr;
    running = nullptr;
    core = nullptr;
    helper = nullptr;
    startCore();
  }

  std::string id(const std::string& handle) {
    auto path = client->info(handle).container_path();
    return path.substr(path.rfind('/') + 1);
  }

  static NetInRequest netIn(const std::string& handle, int hostPort = -1, int containerPort = -1) {
    auto request = named<NetInRequest>(handle);
    if (hostPort >= 0) request.set_host_port(hostPort);
    if (containerPort >= 0) request.set_container_port(containerPort);
    return request;
  }

  std::pair<uint32_t, uint32_t> map(const NetInRequest& request) {
    auto response = client->call<NetInResponse>(Message::NetIn, request);
    return {response.host_port(), response.container_port()};
  }

  void destroy(const std::string& handle) {
    client->call<DestroyResponse>(Message::Destroy, named<DestroyRequest>(handle));
  }

  static CreateRequest at(const std::string& handle, const std::string& network) {
    auto request = named<CreateRequest>(handle);
    request.set_network(network);
    return request;
  }

  using Pair = std::pair<uint32_t, uint32_t>;
};

TEST_F(NetworkTest, mapsTheNextPortOfThePool) {
  client->create("h");
  EXPECT_EQ(map(netIn("h")), Pair(20000, 20000));
  EXPECT_EQ(map(netIn("h", -1, 80)), Pair(20001, 80));
  EXPECT_EQ(helper->portsOf(id("h")), (Ports{{20000, 20000}, {20001, 80}}));
}

TEST_F(NetworkTest, mapsThePortThatAClientAsksFor) {
  client->create("h");
  EXPECT_EQ(map(netIn("h", 30000)), Pair(30000, 30000));
  EXPECT_EQ(map(netIn("h", 30001, 80)), Pair(30001, 80));
  EXPECT_EQ(helper->portsOf(id("h")), (Ports{{30000, 30000}, {30001, 80}}));
}

TEST_F(NetworkTest, neverTakesFromThePoolWhatAClientHasMapped) {
  client->create("h");
  map(netIn("h", 20000));
  EXPECT_EQ(map(netIn("h")).first, 20001u);
  EXPECT_EQ(map(netIn("h")).first, 20002u);
  EXPECT_EQ(client->error(Message::NetIn, netIn("h")),
            "all ports of the pool, 20000 to 20002, are in use; destroy a container, or configure "
            "a larger port.pool_size");
}

TEST_F(NetworkTest, triesTheNextPortWhereOneIsInUse) {
  client->create("h");
  helper->occupyPort(20000);
  helper->occupyPort(20001);
  EXPECT_EQ(map(netIn("h")), Pair(20002, 20002));
  EXPECT_NE(client->error(Message::NetIn, netIn("h")).find("all ports of the pool"),
            std::string::npos);
}

TEST_F(NetworkTest, refusesAPortThatIsMapped) {
  client->create("h");
  client->create("other");
  map(netIn("h", 30000));
  const std::string expected =
      "host_port 30000 is mapped already; a port that no container has is accepted";
  EXPECT_EQ(client->error(Message::NetIn, netIn("h", 30000)), expected);
  EXPECT_EQ(client->error(Message::NetIn, netIn("other", 30000, 80)), expected);
  helper->occupyPort(30001);
  EXPECT_EQ(client->error(Message::NetIn, netIn("h", 30001)),
            "host_port 30001 is mapped already; a port that no container has is accepted");
  map(netIn("h"));
  EXPECT_EQ(client->error(Message::NetIn, netIn("other", 20000)).find("host_port 20000 is mapped"),
            0u);
}

TEST_F(NetworkTest, freesPortsAtDestroy) {
  client->create("h");
  for (int i = 0; i < 3; ++i)
    map(netIn("h"));
  map(netIn("h", 30000));
  destroy("h");
  client->create("h");
  std::set<uint32_t> ports;
  for (int i = 0; i < 3; ++i)
    ports.insert(map(netIn("h")).first);
  EXPECT_EQ(ports, (std::set<uint32_t>{20000, 20001, 20002}));
  EXPECT_EQ(map(netIn("h", 30000)).first, 30000u);
}

TEST_F(NetworkTest, keepsPortsAndNetworkUntilNothingIsLeft) {
  config.network.poolSize = 1;
  restart();
  client->create("h");
  for (int i = 0; i < 3; ++i)
    map(netIn("h"));
  helper->failDestroy = true;
  client->error(Message::Destroy, named<DestroyRequest>("h"));
  EXPECT_NE(client->error(Message::Create, named<CreateRequest>("other")).find("networks"),
            std::string::npos);
  helper->failDestroy = false;
  destroy("h");
  client->create("other");
  for (int i = 0; i < 3; ++i)
    map(netIn("other"));
}

TEST_F(NetworkTest, leaksNoPortWhenAMappingFails) {
  client->create("h");
  helper->failLimits = EIO;
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(client->error(Message::NetIn, netIn("h")).find("could not map the port: the step: "),
              0u);
    EXPECT_EQ(client->error(Message::NetIn, netIn("h", 30000)).find("could not map the port"), 0u);
  }
  helper->failLimits = 0;
  for (int i = 0; i < 3; ++i)
    map(netIn("h"));
  map(netIn("h", 30000));
}

TEST_F(NetworkTest, leaksNoPortOnBadInput) {
  client->create("h");
  int before = helper->requests();
  for (int i = 0; i < 10; ++i) {
    client->error(Message::NetIn, netIn("h", -1, 0));
    client->error(Message::NetIn, netIn("h", -1, 65536));
    client->error(Message::NetIn, netIn("h", 0));
    client->error(Message::NetIn, netIn("h", 65536));
    EXPECT_EQ(client->error(Message::NetIn, netIn("h", 1023)),
              "host_port is 1023; a port from 1024 to 65535 is accepted");
  }
  EXPECT_EQ(helper->requests(), before);
  EXPECT_EQ(map(netIn("h")).first, 20000u);
}

TEST_F(NetworkTest, keepsAPortWhoseClientHasGone) {
  client->create("h");
  helper->limitDelayMs = 30;
  auto gone = connect();
  { auto dropped = gone->begin(Message::NetIn, netIn("h")); }
  gone.reset();
  EXPECT_EQ(map(netIn("h")).first, 20001u);
  helper->limitDelayMs = 0;
  EXPECT_EQ(helper->portsOf(id("h")).size(), 2u);
  destroy("h");
  client->create("h");
  for (int i = 0; i < 3; ++i)
    map(netIn("h"));
}

TEST_F(NetworkTest, saysWhenThereIsNoPoolOfPorts) {
  config.port.poolStart = std::nullopt;
  config.port.poolSize = std::nullopt;
  host.localPortRange = "1024 65535\n";
  restart();
  client->create("h");
  EXPECT_EQ(client->error(Message::NetIn, netIn("h")),
            "there is no pool of ports: the host's ephemeral ports leave none; ask for a "
            "host_port, or configure port.pool_start_port");
  EXPECT_EQ(map(netIn("h", 30000)).first, 30000u);
}

TEST_F(NetworkTest, allowsConnectionsOut) {
  client->create("h");
  auto request = named<NetOutRequest>("h");
  request.set_network("10.1.0.0/16");
  request.set_port_range("80:443");
  request.set_protocol(NetOutRequest::UDP);
  request.set_log(true);
  client->call<NetOutResponse>(Message::NetOut, request);
  auto any = named<NetOutRequest>("h");
  any.set_port(53);
  client->call<NetOutResponse>(Message::NetOut, any);
  auto ping = named<NetOutRequest>("h");
  ping.set_network("192.0.2.1");
  ping.set_protocol(NetOutRequest::ICMP);
  ping.set_icmp_type(8);
  ping.set_icmp_code(-1);
  client->call<NetOutResponse>(Message::NetOut, ping);
  auto rules = helper->rulesOf(id("h"));
  ASSERT_EQ(rules.size(), 3u);
  EXPECT_EQ(rules[0].firstAddress, 0x0a010000u);
  EXPECT_EQ(rules[0].lastAddress, 0x0a01ffffu);
  EXPECT_EQ(rules[0].protocol, static_cast<int>(schema::Protocol::UDP));
  EXPECT_EQ(rules[0].firstPort, 80);
  EXPECT_EQ(rules[0].lastPort, 443);
  EXPECT_TRUE(rules[0].log);
  EXPECT_EQ(rules[0].icmpType, -1);
  EXPECT_EQ(rules[1].firstAddress, 0u);
  EXPECT_EQ(rules[1].lastAddress, UINT32_MAX);
  EXPECT_EQ(rules[1].protocol, static_cast<int>(schema::Protocol::TCP));
  EXPECT_EQ(rules[1].firstPort, 53);
  EXPECT_FALSE(rules[1].log);
  EXPECT_EQ(rules[2].protocol, static_cast<int>(schema::Protocol::ICMP));
  EXPECT_EQ(rules[2].icmpType, 8);
  EXPECT_EQ(rules[2].icmpCode, -1);
  EXPECT_EQ(rules[2].firstPort, 0);
  EXPECT_EQ(rules[2].lastPort, 65535);
}

TEST_F(NetworkTest, refusesABadRuleAndAsksForNothing) {
  client->create("h");
  int before = helper->requests();
  EXPECT_EQ(client->error(Message::NetOut, named<NetOutRequest>("h")),
            "Please specify network, port, and/or port_range.");
  auto request = named<NetOutRequest>("h");
  request.set_network("0.0.0.0/0 -j ACCEPT");
  EXPECT_EQ(client->error(Message::NetOut, request),
            "network is '0.0.0.0/0 -j ACCEPT'; an IPv4 address, a network as in 10.0.0.0/8, or a "
            "range as in 10.0.0.1-10.0.0.9 is accepted");
  EXPECT_EQ(helper->requests(), before);
}

TEST_F(NetworkTest, saysWhyARuleCouldNotBeSet) {
  client->create("h");
  helper->failLimits = ENOSPC;
  auto request = named<NetOutRequest>("h");
  request.set_port(1);
  EXPECT_EQ(client->error(Message::NetOut, request),
            "could not allow the connections: the step: No space left on device; the container "
            "has as many as it can have: destroy it and create another");
}

TEST_F(NetworkTest, needsAnActiveContainer) {
  client->create("h");
  client->call<StopResponse>(Message::Stop, named<StopRequest>("h"));
  const std::string expected =
      "Container state must be one of 'active', current state is 'stopped'";
  EXPECT_EQ(client->error(Message::NetIn, netIn("h")), expected);
  EXPECT_EQ(client->error(Message::NetIn, netIn("h", 0)), expected);
  EXPECT_EQ(client->error(Message::NetOut, named<NetOutRequest>("h")), expected);
  EXPECT_EQ(client->error(Message::NetIn, netIn("unknown")), "unknown handle");
}

TEST_F(NetworkTest, givesEachContainerANetwork) {
  client->create("a");
  client->create("b");
  EXPECT_EQ(client->info("a").host_ip(), "10.0.0.1");
  EXPECT_EQ(client->info("a").container_ip(), "10.0.0.2");
  EXPECT_EQ(client->info("b").host_ip(), "10.0.0.5");
  EXPECT_EQ(client->info("b").container_ip(), "10.0.0.6");
  EXPECT_EQ(helper->networks(), (std::vector<uint32_t>{0, 1}));
}

TEST_F(NetworkTest, writesTheContainersAddressIntoItsHosts) {
  host.resolvConf = "nameserver 127.0.0.53\nsearch example.com\n";
  restart();
  client->create("h");
  EXPECT_EQ(helper->etcFile(id("h"), "hosts"), "127.0.0.1 localhost\n10.0.0.2 " + id("h") + "\n");
  EXPECT_EQ(helper->etcFile(id("h"), "resolv.conf"), "nameserver 10.0.0.1\nsearch example.com\n");
}

TEST_F(NetworkTest, givesTheNetworkThatIsAskedFor) {
  client->call<CreateResponse>(Message::Create, at("h", "10.0.0.23"));
  EXPECT_EQ(client->info("h").host_ip(), "10.0.0.21");
  EXPECT_EQ(helper->networks(), (std::vector<uint32_t>{5}));
}

TEST_F(NetworkTest, refusesANetworkThatIsTakenOrNotOfThePool) {
  client->call<CreateResponse>(Message::Create, at("h", "10.0.0.4"));
  EXPECT_EQ(client->error(Message::Create, at("i", "10.0.0.7")),
            "Could not acquire network: 10.0.0.7");
  EXPECT_EQ(client->error(Message::Create, at("i", "10.0.4.0")),
            "Could not acquire network: 10.0.4.0");
  EXPECT_EQ(client->error(Message::Create, at("i", "9.255.255.255")),
            "Could not acquire network: 9.255.255.255");
  EXPECT_EQ(client->error(Message::Create, at("i", "10.0.0.0/8")),
            "Could not acquire network: 10.0.0.0/8: network is no IPv4 address; an address of "
            "network.pool_network is accepted");
  // Nothing of these is left: neither handles nor slots.
  for (auto handle : {"i", "j", "k"})
    client->create(handle);
  EXPECT_EQ(helper->networks(), (std::vector<uint32_t>{1, 0, 2, 3}));
}

TEST_F(NetworkTest, refusesMoreContainersThanThereAreNetworks) {
  config.network.poolSize = 2;
  restart();
  client->create("a");
  client->create("b");
  EXPECT_EQ(client->error(Message::Create, named<CreateRequest>("c")),
            "all 2 networks that network.pool_size allows are in use, or rest for 0 seconds "
            "(network.release_delay) after use; destroy a container, wait, or configure a larger "
            "pool");
  destroy("a");
  client->create("c");
  EXPECT_EQ(client->info("c").host_ip(), "10.0.0.1");
}

TEST_F(NetworkTest, letsANetworkRest) {
  config.network.poolSize = 1;
  config.network.releaseDelay = 1;
  restart();
  client->create("a");
  destroy("a");
  EXPECT_NE(client->error(Message::Create, named<CreateRequest>("b")).find("release_delay"),
            std::string::npos);
  sleep(1100);
  client->create("b");
}

TEST_F(NetworkTest, givesTheNetworkOfAFailedCreateBack) {
  config.network.poolSize = 1;
  restart();
  helper->failCreate = true;
  client->error(Message::Create, named<CreateRequest>("a"));
  helper->failCreate = false;
  client->create("a");
}

}  // namespace
}  // namespace warden::frontend
