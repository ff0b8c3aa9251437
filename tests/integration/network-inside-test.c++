// The network as it looks from inside of a container, and that nothing of it can be changed there.

#include <nlohmann/json.hpp>

#include "tests/integration/network-test.h"

namespace warden::test {
namespace {

using Json = nlohmann::json;

constexpr char IP[] = "/usr/sbin/ip";

class NetworkInsideTest : public NetworkTest {
 protected:
  void SetUp() override {}

  Json link(const NetworkNamespace& where, const std::string& name) {
    return Json::parse(where.output({IP, "-j", "address", "show", "dev", name}))[0];
  }
  std::vector<std::string> addresses(const Json& link) {
    std::vector<std::string> result;
    for (const auto& address : link["addr_info"])
      result.push_back(address["local"].get<std::string>() + "/" +
                       std::to_string(address["prefixlen"].get<int>()));
    return result;
  }
  std::string state(const NetworkNamespace& where) {
    std::string result = where.output({IP, "address"}) +
                         where.output({IP, "route", "show", "table", "all"}) +
                         where.output({IP, "rule"}) + where.output({IP, "neighbour"});
    for (const char* name : {"net/ipv4/ip_forward", "net/ipv4/ping_group_range",
                             "net/ipv4/ip_unprivileged_port_start"})
      result += where.sysctl(name) + "\n";
    return result;
  }
};

TEST_F(NetworkInsideTest, hasTwoInterfacesThatAreUpWithTheConfiguredMtu) {
  startNetwork({{"network.mtu", "1380"}});
  auto container = create();
  EXPECT_EQ(interfaceNames(container.network()),
            (std::vector<std::string>{"lo", container.interface()}));
  auto inside = link(container.network(), container.interface());
  auto host = link(network(), container.hostInterface());
  for (const auto& each : {inside, host}) {
    EXPECT_EQ(each["mtu"], 1380) << each.dump();
    EXPECT_EQ(each["operstate"], "UP") << each.dump();
  }
  auto loopback = link(container.network(), "lo");
  EXPECT_NE(loopback["flags"].dump().find("\"UP\""), std::string::npos);
  EXPECT_EQ(addresses(inside), std::vector<std::string>{container.ip + "/30"});
  EXPECT_EQ(addresses(host), std::vector<std::string>{container.hostIp + "/30"});
}

TEST_F(NetworkInsideTest, hasTheAddressesOfInfoInANetworkOfFour) {
  startNetwork({{"network.pool_network", ""},
                {"network.pool_start_address", "10.77.0.0"},
                {"network.pool_size", "16"}});
  auto container = create();
  auto numberOf = [](const std::string& address) {
    return std::stoi(address.substr(address.rfind('.') + 1));
  };
  EXPECT_EQ(container.hostIp.compare(0, 8, "10.77.0."), 0) << container.hostIp;
  EXPECT_EQ(numberOf(container.hostIp) % 4, 1);
  EXPECT_EQ(numberOf(container.ip), numberOf(container.hostIp) + 1);
  auto routes = container.network().output({IP, "route"});
  EXPECT_NE(routes.find("default via " + container.hostIp), std::string::npos) << routes;
  EXPECT_NE(client().output(container.handle, "cat /etc/hosts").find(container.ip),
            std::string::npos);
}

TEST_F(NetworkInsideTest, hasInterfacesNamedByItsIdWhateverItsHandle) {
  startNetwork();
  CreateRequest request;
  request.set_handle("../a/b \n\xff%d");
  auto container = create(request);
  EXPECT_EQ(interfaceNames(container.network()),
            (std::vector<std::string>{"lo", "w-" + container.id + "-1"}));
  auto names = interfaceNames(network());
  EXPECT_EQ(std::count(names.begin(), names.end(), "w-" + container.id + "-0"), 1);
}

TEST_F(NetworkInsideTest, hasNoIpv6) {
  startNetwork();
  auto container = create();
  auto found =
      container.network().output({IP, "-6", "address", "show", "dev", container.interface()});
  EXPECT_EQ(found, "");
  EXPECT_EQ(network().output({IP, "-6", "address", "show", "dev", container.hostInterface()}), "");
}

TEST_F(NetworkInsideTest, cannotBeChangedByAnyoneInside) {
  startNetwork();
  auto container = create();
  auto objects = networkObjects(network());
  auto before = state(container.network());
  for (bool privileged : {false, true}) {
    std::string name = container.interface();
    for (const std::string& command :
         std::vector<std::string>{"ip address add 198.51.100.77/24 dev " + name,
                                  "ip address flush dev " + name,
                                  "ip link set " + name + " down",
                                  "ip link set " + name + " mtu 9000",
                                  "ip link set " + name + " address 02:00:00:00:00:01",
                                  "ip link set " + name + " name eth0",
                                  "ip link set lo down",
                                  "ip link delete " + name,
                                  "ip link add dummy0 type dummy",
                                  "ip route delete default",
                                  "ip route add 192.0.2.0/24 via " + container.hostIp,
                                  "ip route flush table main",
                                  "ip rule add from all table 100",
                                  "ip neigh add 10.254.0.99 lladdr 02:00:00:00:00:01 dev " + name,
                                  "ifconfig " + name + " 198.51.100.77",
                                  "ifconfig " + name + " down",
                                  "route add default gw 10.254.0.250",
                                  "arp -s 10.254.0.99 02:00:00:00:00:01",
                                  "brctl addbr b0",
                                  "tc qdisc add dev " + name + " root pfifo",
                                  "echo 1 > /proc/sys/net/ipv4/ip_forward",
                                  "echo 5000 > /proc/sys/net/ipv4/ip_unprivileged_port_start"}) {
      EXPECT_NE(client().run(container.handle, command, privileged).exit_status(), 0u) << command;
    }
  }
  EXPECT_EQ(state(container.network()), before);
  EXPECT_EQ(networkObjects(network()), objects);
}

TEST_F(NetworkInsideTest, letsVcapPingWhatItReachesAndItself) {
  startNetwork();
  auto container = create();
  EXPECT_EQ(tool(container, "ping 127.0.0.1"), "");
  EXPECT_EQ(tool(container, "ping " + container.ip), "");
  EXPECT_NE(tool(container, "ping " + container.hostIp), "");
  EXPECT_NE(tool(container, std::string("ping ") + OUTSIDE), "");
  auto request = rule(container, OUTSIDE);
  request.set_protocol(NetOutRequest::ICMP);
  allow(request);
  EXPECT_EQ(tool(container, std::string("ping ") + OUTSIDE), "");
  EXPECT_EQ(tool(container, std::string("ping ") + OUTSIDE, true), "");
}

TEST_F(NetworkInsideTest, letsVcapBindLowPorts) {
  startNetwork();
  auto container = create();
  for (const char* port : {"1", "80", "443", "1023"})
    EXPECT_EQ(tool(container, std::string("listen ") + port), "") << port;
}

TEST_F(NetworkInsideTest, refusesForeignAddressesAsSources) {
  startNetwork();
  auto container = create();
  allowAll(container);
  TcpListener listener(outside().network(), 80);
  std::string target = std::string("connect ") + OUTSIDE + " 80 ";
  EXPECT_EQ(tool(container, target + container.ip), "");
  for (bool privileged : {false, true}) {
    for (const std::string& source :
         std::vector<std::string>{container.hostIp, EXTERNAL, OUTSIDE_NEXT})
      EXPECT_NE(tool(container, target + source, privileged), "") << source;
  }
}

TEST_F(NetworkInsideTest, hasTheConfiguredNameServers) {
  startNetwork({{"network.dns_servers", "[192.0.2.1, 192.0.2.2]"}});
  auto container = create();
  EXPECT_EQ(client().output(container.handle, "cat /etc/resolv.conf"),
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\n");
}

TEST_F(NetworkInsideTest, hasTheHostsNameServersWithoutConfiguredOnes) {
  hostResolvConf = "search example.test\nnameserver 192.0.2.53\n";
  startNetwork();
  auto container = create();
  EXPECT_EQ(client().output(container.handle, "cat /etc/resolv.conf"), hostResolvConf);
}

TEST_F(NetworkInsideTest, hasTheHostAsNameServerWhenTheHostIsItsOwn) {
  hostResolvConf = "nameserver 127.0.0.1\n";
  startNetwork();
  auto container = create();
  EXPECT_EQ(client().output(container.handle, "cat /etc/resolv.conf"),
            "nameserver " + container.hostIp + "\n");
}

}  // namespace
}  // namespace warden::test
