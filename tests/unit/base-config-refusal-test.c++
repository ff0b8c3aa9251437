// Each refusal of the configuration file, with its line and key.

#include <gtest/gtest.h>

#include "base/config.h"

namespace warden {
namespace {

const char* const MINIMAL =
    "server:\n"
    "  container_rootfs_path: /image\n"
    "  container_depot_path: /depot\n";

struct Refusal {
  const char* name;
  std::string text;      // appended to MINIMAL, so its first line is the fourth
  std::string expected;  // how the message begins
};

class ConfigRefusalTest : public testing::TestWithParam<Refusal> {};

TEST_P(ConfigRefusalTest, namesFileLineAndKey) {
  try {
    parseConfig(MINIMAL + GetParam().text, "w.yml");
    FAIL() << "accepted";
  } catch (const ConfigError& e) {
    std::string message = e.what();
    EXPECT_TRUE(message.starts_with(GetParam().expected)) << message;
    EXPECT_TRUE(message.find("accepted") != std::string::npos) << message;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, ConfigRefusalTest,
    testing::Values(
        Refusal{"unknownSection", "serverr:\n", "w.yml:4: serverr: is not known"},
        Refusal{"unknownKey", "  klass: x\n", "w.yml:4: server.klass: is not known"},
        Refusal{"unknownNestedKey", "  quota:\n    x: 1\n", "w.yml:5: server.quota.x: is not"},
        Refusal{"unknownLimit", "  container_rlimits:\n    core: 1\n    foo: 1\n",
                "w.yml:6: server.container_rlimits.foo: is not known"},
        Refusal{"mergeKey", "user:\n  <<: {pool_size: 1}\n", "w.yml:5: user.<<: is not known"},
        Refusal{"repeatedKey", "  container_depot_path: /other\n",
                "w.yml:4: server.container_depot_path: is repeated; it stands in line 3"},
        Refusal{"repeatedSection", "user:\nuser:\n", "w.yml:5: user: is repeated"},
        Refusal{"keyThatIsAList", "[a]: b\n", "w.yml:4: ?: a key is no plain text"},
        Refusal{"sectionThatIsAScalar", "user: 5\n", "w.yml:4: user: has another type"},
        Refusal{"sectionThatIsAList", "user: [5]\n", "w.yml:4: user: has another type"},
        Refusal{"textThatIsANumber", "logging:\n  syslog: 12\n",
                "w.yml:5: logging.syslog: '12' is"},
        Refusal{"textThatIsAFlag", "logging:\n  syslog: on\n", "w.yml:5: logging.syslog: 'on' is"},
        Refusal{"textThatIsAList", "logging:\n  syslog: [a]\n", "w.yml:5: logging.syslog: has"},
        Refusal{"emptyText", "logging:\n  syslog: ''\n", "w.yml:5: logging.syslog: '' is empty"},
        Refusal{"controlCharacter", "logging:\n  file: \"/a\\0b\"\n",
                "w.yml:5: logging.file: '/a?b'"},
        Refusal{"unknownLevel", "logging:\n  level: loud\n", "w.yml:5: logging.level: 'loud'"},
        Refusal{"relativePath", "logging:\n  file: a/b\n", "w.yml:5: logging.file: 'a/b' is rel"},
        Refusal{"moreContainersThanCanBeListed", "user:\n  pool_size: 10001\n",
                "w.yml:5: user.pool_size: '10001' is out"},
        Refusal{"numberInQuotes", "user:\n  pool_size: '5'\n",
                "w.yml:5: user.pool_size: '5' is no"},
        Refusal{"numberThatIsText", "user:\n  pool_size: many\n",
                "w.yml:5: user.pool_size: 'many'"},
        Refusal{"negativeNumber", "user:\n  pool_size: -5\n",
                "w.yml:5: user.pool_size: '-5' is no"},
        Refusal{"numberWithSign", "user:\n  pool_size: +5\n",
                "w.yml:5: user.pool_size: '+5' is no"},
        Refusal{"fraction", "user:\n  pool_size: 1.5\n", "w.yml:5: user.pool_size: '1.5' is no"},
        Refusal{"badOctal", "user:\n  pool_size: 08\n", "w.yml:5: user.pool_size: '08' is no"},
        Refusal{"numberThatIsAList", "user:\n  pool_size: [1]\n", "w.yml:5: user.pool_size: has"},
        Refusal{"hugeNumber", "user:\n  pool_size: 99999999999999999999\n",
                "w.yml:5: user.pool_size: '99999999999999999999' is no whole number"},
        Refusal{"emptyPool", "user:\n  pool_size: 0\n", "w.yml:5: user.pool_size: '0' is out"},
        Refusal{"poolWithRoot", "user:\n  pool_start_uid: 0\n",
                "w.yml:5: user.pool_start_uid: '0'"},
        Refusal{"poolWithNobody", "user:\n  pool_start_uid: 65000\n  pool_size: 535\n",
                "w.yml:6: user.pool_size: goes past uid 65533"},
        Refusal{"decimalMode", "  unix_domain_permissions: 777\n",
                "w.yml:4: server.unix_domain_permissions: '777' is out of range; an octal"},
        Refusal{"flagThatIsANumber", "  allow_nested_warden: 1\n",
                "w.yml:4: server.allow_nested_warden: '1' is no truth value"},
        Refusal{"flagInQuotes", "  allow_nested_warden: 'true'\n",
                "w.yml:4: server.allow_nested_warden: 'true' is no truth value"},
        Refusal{"longSocketPath", "  unix_domain_path: /" + std::string(107, 'a') + "\n",
                "w.yml:4: server.unix_domain_path: is too long"},
        Refusal{"longSyslogPath", "  syslog_socket: /" + std::string(107, 'a') + "\n",
                "w.yml:4: server.syslog_socket: is too long"},
        Refusal{"negativeLimit", "  container_rlimits:\n    core: -2\n",
                "w.yml:5: server.container_rlimits.core: '-2' is no"},
        Refusal{"graceTimeTooLong", "  container_grace_time: 4294967296\n",
                "w.yml:4: server.container_grace_time: '4294967296' is out"},
        Refusal{"healthPort", "health_check_server:\n  port: 65536\n",
                "w.yml:5: health_check_server.port: '65536' is out"},
        Refusal{"poolTwice", "network:\n  pool_network: 10.0.0.0/24\n  pool_size: 3\n",
                "w.yml:6: network.pool_size: says again"},
        Refusal{"poolNetworkWithHostBits", "network:\n  pool_network: 10.0.0.1/24\n",
                "w.yml:5: network.pool_network: is no usable"},
        Refusal{"poolNetworkTooSmall", "network:\n  pool_network: 10.0.0.0/31\n",
                "w.yml:5: network.pool_network: is no usable"},
        Refusal{"poolStartNotAligned", "network:\n  pool_start_address: 10.0.0.2\n",
                "w.yml:5: network.pool_start_address: is no start"},
        Refusal{"poolPastTheEnd",
                "network:\n  pool_start_address: 255.255.255.0\n  pool_size: 65\n",
                "w.yml:6: network.pool_size: goes past"},
        Refusal{"mtu", "network:\n  mtu: 67\n", "w.yml:5: network.mtu: '67' is out"},
        Refusal{"allowedHostName",
                "network:\n  allow_networks:\n    - 1.2.3.4\n    - example.org\n",
                "w.yml:6: network.allow_networks: 'example.org' is no network"},
        Refusal{"deniedHostName", "network:\n  deny_networks: [example.org]\n",
                "w.yml:5: network.deny_networks: 'example.org' is no network"},
        Refusal{"poolNetworkWithoutBits", "network:\n  pool_network: 10.0.0.0\n",
                "w.yml:5: network.pool_network: is no usable"},
        Refusal{"poolNetworkThatIsARange", "network:\n  pool_network: 10.0.0.0-10.0.0.255\n",
                "w.yml:5: network.pool_network: is no usable"},
        Refusal{"poolNetworkTooLarge", "network:\n  pool_network: 10.0.0.0/7\n",
                "w.yml:5: network.pool_network: is no usable"},
        Refusal{"poolOfLoopback", "network:\n  pool_network: 127.1.0.0/16\n",
                "w.yml:5: network.pool_network: includes addresses of 127.0.0.0/8"},
        Refusal{"poolThatReachesIntoMulticast",
                "network:\n  pool_start_address: 223.255.255.252\n  pool_size: 2\n",
                "w.yml:5: network.pool_start_address: includes addresses of 224.0.0.0"},
        Refusal{"poolOfLinkLocalAddresses", "network:\n  pool_network: 169.254.0.0/24\n",
                "w.yml:5: network.pool_network: includes addresses of 169.254.0.0/16"},
        Refusal{"allowedIpv6", "network:\n  allow_networks: ['2000::/3']\n",
                "w.yml:5: network.allow_networks: '2000::/3' is no network"},
        Refusal{"allowedMaskTooLong", "network:\n  allow_networks: [1.2.3.4/33]\n",
                "w.yml:5: network.allow_networks: '1.2.3.4/33' is no network"},
        Refusal{"lowestHostPort", "privhelper:\n  lowest_host_port: 0\n",
                "w.yml:5: privhelper.lowest_host_port: "},
        Refusal{"allowedRangeBackwards", "network:\n  allow_networks: [1.2.3.4-1.2.3.3]\n",
                "w.yml:5: network.allow_networks: '1.2.3.4-1.2.3.3' is no"},
        Refusal{"listThatIsText", "network:\n  allow_networks: 1.2.3.4\n",
                "w.yml:5: network.allow_networks: has another type"},
        Refusal{"listOfLists", "network:\n  dns_servers:\n    - [a]\n",
                "w.yml:6: network.dns_servers: an item is no text"},
        Refusal{"dnsServer", "network:\n  dns_servers: [8.8.8]\n",
                "w.yml:5: network.dns_servers: '8.8.8' is no address"},
        Refusal{"portsPastTheEnd", "port:\n  pool_start_port: 65000\n  pool_size: 537\n",
                "w.yml:6: port.pool_size: goes past"},
        Refusal{"frontendAsRoot", "privhelper:\n  user: root\n",
                "w.yml:5: privhelper.user: is root"},
        Refusal{"idsOverThePoolOfUsers", "privhelper:\n  id_range_start: 65535\n",
                "w.yml:5: privhelper.id_range_start: '65535' is out of range"},
        Refusal{"idsPastTheEnd", "privhelper:\n  id_range_start: 2130706433\n",
                "w.yml:5: privhelper.id_range_start: '2130706433' is out of range"},
        Refusal{"tooManyIds", "user: {pool_size: 5000}\nprivhelper:\n  pids_limit: 1\n",
                "w.yml:6: privhelper.id_range_start: its default leaves too few"},
        Refusal{"tooManyIdsWithoutSection", "user: {pool_size: 5000}\n",
                "w.yml:1: privhelper.id_range_start: its default leaves too few"},
        Refusal{"cgroupParentWithSlash", "privhelper:\n  cgroup_parent: a/b\n",
                "w.yml:5: privhelper.cgroup_parent: is no plain"},
        Refusal{"cgroupParentThatIsDots", "privhelper:\n  cgroup_parent: ..\n",
                "w.yml:5: privhelper.cgroup_parent: is no plain"},
        Refusal{"noConnections", "frontend:\n  max_connections: 0\n",
                "w.yml:5: frontend.max_connections: '0' is out"},
        Refusal{"smallRequests", "frontend:\n  max_request_bytes: 1023\n",
                "w.yml:5: frontend.max_request_bytes: '1023' is out"},
        Refusal{"moreContainersThanIds", "user: {pool_size: 10}\nfrontend:\n  max_containers: 11\n",
                "w.yml:6: frontend.max_containers: '11' is out of range; a number from 1 to "
                "user.pool_size, 10"},
        Refusal{"noRequests", "frontend:\n  max_requests: 0\n",
                "w.yml:5: frontend.max_requests: '0' is out"},
        Refusal{"noneMayWait", "frontend:\n  max_waiting: 0\n",
                "w.yml:5: frontend.max_waiting: '0' is out"},
        Refusal{"tabs", "\tuser: 1\n", "w.yml:"}, Refusal{"openQuote", "user: \"x\n", "w.yml:"},
        Refusal{"severalDocuments", "---\nuser:\n", "w.yml:"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace warden
