// The configuration file: what is read. Refusals: base-config-refusal-test.c++.

#include "base/config.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

namespace warden {
namespace {

const char* const MINIMAL =
    "server:\n"
    "  container_rootfs_path: /image\n"
    "  container_depot_path: /depot\n";

std::string refusal(const std::string& text) {
  try {
    parseConfig(text, "w.yml");
    return "accepted";
  } catch (const ConfigError& e) {
    return e.what();
  }
}

TEST(ConfigTest, hasTheDocumentedDefaults) {
  Config config = parseConfig(MINIMAL, "w.yml");
  EXPECT_EQ(config.server.containerRootfsPath, "/image");
  EXPECT_EQ(config.server.containerDepotPath, "/depot");
  EXPECT_EQ(config.server.unixDomainPath, "/tmp/warden.sock");
  EXPECT_EQ(config.server.unixDomainPermissions, 0755u);
  EXPECT_FALSE(config.server.containerGraceTime.has_value());
  const auto& limits = config.server.containerRlimits;
  EXPECT_EQ(limits.size(), 15u);
  EXPECT_EQ(limits.at(RLIMIT_CORE), 0u);
  EXPECT_EQ(limits.at(RLIMIT_MEMLOCK), 65536u);
  EXPECT_EQ(limits.at(RLIMIT_MSGQUEUE), 819200u);
  EXPECT_EQ(limits.at(RLIMIT_NOFILE), 1024u);
  EXPECT_EQ(limits.at(RLIMIT_STACK), 8u << 20);
  EXPECT_EQ(limits.at(RLIMIT_AS), 0xffffffffffffffffu);
  EXPECT_EQ(config.privhelper.user, "warden");
}

TEST(ConfigTest, readsAnOldServersFile) {
  Config config = parseConfig(
      "---\n"
      "server:\n"
      "  unix_domain_path: /var/run/warden.sock\n"
      "  unix_domain_permissions: 0777\n"
      "  container_klass: Warden::Container::Linux\n"
      "  container_rootfs_path: /var/warden/rootfs\n"
      "  container_depot_path: /var/warden/containers\n"
      "  container_grace_time: ~\n"
      "  container_rlimits:\n"
      "    core: 0\n"
      "    nofile: 30_000\n"
      "    as: -1\n"
      "    cpu: 18446744073709551615\n"
      "  job_output_limit: 0x100000\n"
      "  quota:\n"
      "    disk_quota_enabled: no\n"
      "  allow_nested_warden: false\n"
      "  pidfile:\n"
      "health_check_server:\n"
      "  port: 2345\n"
      "logging:\n"
      "  file: /var/log/warden.log\n"
      "  level: debug2\n"
      "  syslog: warden\n"
      "network:\n"
      "  pool_start_address: 10.0.0.4\n"
      "  pool_size: 64\n"
      "  mtu: 1400\n"
      "  allow_networks: [10.1.0.0/16, 1.2.3.4, 1.2.3.4-1.2.3.9]\n"
      "  deny_networks: [0.0.0.0/0]\n"
      "  dns_servers:\n"
      "    - 8.8.8.8\n"
      "    - ::1\n"
      "port:\n"
      "user:\n"
      "  pool_start_uid: 20000\n"
      "  pool_size: 25\n",
      "w.yml");
  EXPECT_EQ(config.server.unixDomainPermissions, 0777u);
  EXPECT_FALSE(config.server.containerGraceTime.has_value());
  EXPECT_FALSE(config.server.pidfile.has_value());
  EXPECT_FALSE(config.server.diskQuotaEnabled);
  EXPECT_EQ(config.server.jobOutputLimit, 1048576u);
  EXPECT_EQ(config.server.containerRlimits.at(RLIMIT_NOFILE), 30000u);
  EXPECT_EQ(config.server.containerRlimits.at(RLIMIT_AS), RLIM_INFINITY);
  EXPECT_EQ(config.server.containerRlimits.at(RLIMIT_CPU), RLIM_INFINITY);
  EXPECT_EQ(config.healthCheckPort.value(), 2345);
  EXPECT_EQ(config.logging.level, "debug");
  EXPECT_EQ(config.logging.syslog.value(), "warden");
  EXPECT_EQ(config.network.poolStart, 0x0a000004u);
  EXPECT_EQ(config.network.poolSize, 64u);
  ASSERT_EQ(config.network.allowNetworks.size(), 3u);
  EXPECT_EQ(config.network.allowNetworks[0].first, 0x0a010000u);
  EXPECT_EQ(config.network.allowNetworks[0].last, 0x0a01ffffu);
  EXPECT_EQ(config.network.allowNetworks[2].last, 0x01020309u);
  EXPECT_FALSE(config.network.allowIpv6);
  EXPECT_EQ(config.privhelper.lowestHostPort, 1024);
  EXPECT_EQ(config.network.dnsServers[1], "::1");
  EXPECT_EQ(config.user.poolStartUid, 20000u);
}

TEST(ConfigTest, readsANetworkAsItsPool) {
  Config config =
      parseConfig(std::string(MINIMAL) + "network:\n  pool_network: 10.1.0.0/22\n", "w.yml");
  EXPECT_EQ(config.network.poolStart, 0x0a010000u);
  EXPECT_EQ(config.network.poolSize, 256u);
}

TEST(ConfigTest, readsTheSectionsOfThisServer) {
  Config config = parseConfig(std::string(MINIMAL) +
                                  "privhelper:\n"
                                  "  user: w\n"
                                  "  id_range_start: 1000000\n"
                                  "  pids_limit: 10\n"
                                  "  cgroup_parent: test-1\n"
                                  "  lowest_host_port: 80\n"
                                  "  wshd_path: /x/wshd\n"
                                  "  frontend_path: /x/frontend\n"
                                  "frontend: {max_connections: 7, max_request_bytes: 2048,\n"
                                  "  max_containers: 255, max_requests: 8, max_waiting: 9}\n"
                                  "network: {allow_ipv6: true}\n",
                              "w.yml");
  EXPECT_EQ(config.privhelper.user, "w");
  EXPECT_EQ(config.privhelper.idRangeStart, 1000000u);
  EXPECT_EQ(config.privhelper.pidsLimit, 10u);
  EXPECT_EQ(config.privhelper.lowestHostPort, 80u);
  EXPECT_TRUE(config.network.allowIpv6);
  EXPECT_EQ(config.privhelper.cgroupParent, "test-1");
  EXPECT_EQ(config.privhelper.wshdPath.value(), "/x/wshd");
  EXPECT_EQ(config.privhelper.frontendPath.value(), "/x/frontend");
  EXPECT_EQ(config.frontend.maxConnections, 7u);
  EXPECT_EQ(config.frontend.maxRequestBytes, 2048u);
  EXPECT_EQ(config.frontend.maxContainers, 255u);
  EXPECT_EQ(config.frontend.maxRequests, 8u);
  EXPECT_EQ(config.frontend.maxWaiting, 9u);
}

TEST(ConfigTest, thereMayBeAsManyContainersAsUserIdsWhereNothingElseIsSaid) {
  auto config = parseConfig(std::string(MINIMAL) + "user: {pool_size: 1000}\n", "w.yml");
  EXPECT_EQ(config.frontend.maxContainers, 1000u);
}

TEST(ConfigTest, readsWhereAuditTrailsGo) {
  Config config = parseConfig(std::string(MINIMAL) +
                                  "audit:\n"
                                  "  helper: /var/log/a\n"
                                  "  frontend: /var/log/b\n"
                                  "  journald: true\n"
                                  "  rotate_bytes: 2097152\n"
                                  "  keep: 3\n"
                                  "  when_unwritable: continue\n"
                                  "  record_reads: true\n",
                              "w.yml");
  EXPECT_EQ(config.audit.helper, "/var/log/a");
  EXPECT_EQ(config.audit.frontend, "/var/log/b");
  EXPECT_TRUE(config.audit.journald);
  EXPECT_EQ(config.audit.rotateBytes, 2u << 20);
  EXPECT_EQ(config.audit.keep, 3u);
  EXPECT_FALSE(config.audit.refuseWhenUnwritable);
  EXPECT_TRUE(config.audit.recordReads);
  EXPECT_TRUE(parseConfig(MINIMAL, "w.yml").audit.refuseWhenUnwritable);
}

TEST(ConfigTest, refusesAuditTrailsThatShareAFile) {
  std::string minimal = MINIMAL;
  EXPECT_EQ(refusal(minimal + "audit:\n  helper: /a\n  frontend: /a\n"),
            "w.yml:6: audit.frontend: is the file of audit.helper; a trail has a file of its own");
  EXPECT_EQ(refusal(minimal + "logging: {file: /a}\naudit:\n  frontend: /a\n"),
            "w.yml:6: audit.frontend: is the file of logging.file; a trail has a file of its own");
  EXPECT_EQ(refusal(minimal + "audit: {when_unwritable: maybe}\n"),
            "w.yml:4: audit.when_unwritable: 'maybe' is neither; refuse or continue is accepted");
  EXPECT_NE(refusal(minimal + "audit: {keep: 0}\n"), "accepted");
  EXPECT_NE(refusal(minimal + "audit: {rotate_bytes: 1000}\n"), "accepted");
}

TEST(ConfigTest, readsQuotasOfEachContainer) {
  Config config = parseConfig(std::string(MINIMAL) +
                                  "access: {rules: [{user: 1, quotas: {memory: 4194304, disk: "
                                  "1048576}}]}\n",
                              "w.yml");
  EXPECT_EQ(config.access.rules[0].memory, 4u << 20);
  EXPECT_EQ(config.access.rules[0].disk, 1u << 20);
}

TEST(ConfigTest, refusesQuotasThatCannotBeKept) {
  EXPECT_NE(
      refusal(std::string(MINIMAL) + "access: {rules: [{user: 1, quotas: {memory: 4096}}]}\n"),
      "accepted");
  EXPECT_EQ(refusal(std::string(MINIMAL) + "  quota: {disk_quota_enabled: false}\n"
                                           "access:\n"
                                           "  rules:\n"
                                           "    - user: 1\n"
                                           "      quotas: {disk: 1048576}\n"),
            "w.yml:8: access.rules[0].quotas.disk: cannot be kept while "
            "server.quota.disk_quota_enabled is false; one of the two has to go");
}

TEST(ConfigTest, readsPrefixesOfHostPaths) {
  Config config = parseConfig(std::string(MINIMAL) +
                                  "access:\n"
                                  "  rules:\n"
                                  "    - {user: 1, images: [/srv/images], bind_mounts: [{path: /a, "
                                  "mode: ro}, {path: /b/c, mode: rw}],\n"
                                  "       copies: [{path: /in, mode: in}, {path: /out, mode: out}, "
                                  "{path: /, mode: both}]}\n"
                                  "    - {user: 2, images: [], bind_mounts: [], copies: []}\n"
                                  "    - {user: 3}\n",
                              "w.yml");
  auto& rules = config.access.rules;
  auto text = [](const std::vector<HostPrefix>& prefixes) {
    std::string all;
    for (auto& p : prefixes)
      all += p.path + (p.reads ? " r" : " -") + (p.writes ? "w;" : "-;");
    return all;
  };
  EXPECT_EQ(*rules[0].images, std::vector<std::string>{"/srv/images"});
  EXPECT_EQ(text(rules[0].bindMounts), "/a r-;/b/c rw;");
  EXPECT_EQ(text(rules[0].copies), "/in r-;/out -w;/ rw;");
  EXPECT_TRUE(rules[1].images->empty() && rules[1].bindMounts.empty() && rules[1].copies.empty());
  EXPECT_FALSE(rules[2].images.has_value());
  EXPECT_EQ(text(rules[2].bindMounts), "/ rw;");
  EXPECT_EQ(text(rules[2].copies), "/ rw;");
}

TEST(ConfigTest, refusesPrefixesThatAreNoPlainPathsOrHaveNoMode) {
  auto rule = [](const std::string& keys) {
    return refusal(std::string(MINIMAL) + "access: {rules: [{user: 1, " + keys + "}]}\n");
  };
  for (const char* path : {"relative", "/a/", "//a", "/a//b", "/a/./b", "/a/..", "/..", "''"}) {
    EXPECT_NE(rule(std::string("images: [") + path + "]"), "accepted") << path;
    EXPECT_NE(rule(std::string("copies: [{path: ") + path + ", mode: in}]"), "accepted") << path;
  }
  EXPECT_EQ(
      rule("copies: [{path: /a/, mode: in}]"),
      "w.yml:4: access.rules[0].copies[0].path: '/a/' is no plain path; absolute paths without "
      "'.', '..' and a slash at the end are accepted");
  EXPECT_EQ(rule("bind_mounts: [{path: /a, mode: in}]"),
            "w.yml:4: access.rules[0].bind_mounts[0].mode: 'in' is no mode; ro or rw is accepted");
  EXPECT_EQ(rule("copies: [{path: /a}]"),
            "w.yml:4: access.rules[0].copies[0].mode: is missing; in or out or both is accepted");
  EXPECT_EQ(rule("copies: [{mode: in}]"),
            "w.yml:4: access.rules[0].copies[0].path: is missing; an absolute path is accepted");
  EXPECT_NE(rule("images: [/]").find("would give every file of the host"), std::string::npos);
}

TEST(ConfigTest, tellsTheMistakesOfAllSections) {
  auto mistakes = findConfigMistakes(std::string(MINIMAL) +
                                         "network: {mtu: 1}\n"
                                         "audit: {keep: 0}\n"
                                         "colour: red\n",
                                     "w.yml");
  ASSERT_EQ(mistakes.size(), 3u);
  EXPECT_EQ(mistakes[0].rfind("w.yml:4: network.mtu: ", 0), 0u) << mistakes[0];
  EXPECT_EQ(mistakes[1].rfind("w.yml:5: audit.keep: ", 0), 0u) << mistakes[1];
  EXPECT_EQ(mistakes[2].rfind("w.yml:6: colour: ", 0), 0u) << mistakes[2];
  EXPECT_TRUE(findConfigMistakes(MINIMAL, "w.yml").empty());
  EXPECT_EQ(findConfigMistakes("[", "w.yml").size(), 1u);
}

TEST(ConfigTest, refusesMissingPaths) {
  EXPECT_TRUE(refusal("").starts_with("w.yml:1: server.container_rootfs_path: is missing"));
  EXPECT_TRUE(refusal("\nserver:\n  container_rootfs_path: /a\n")
                  .starts_with("w.yml:3: server.container_depot_path: is missing"));
  EXPECT_TRUE(refusal("server:\n  container_depot_path: /a\n  container_rootfs_path:\n")
                  .starts_with("w.yml:3: server.container_rootfs_path: is missing"));
}

TEST(ConfigTest, refusesWhatIsNoMapping) {
  EXPECT_TRUE(refusal("hello").starts_with("w.yml:1: the file: has another type"));
  EXPECT_TRUE(refusal("- a\n").starts_with("w.yml:1: the file: has another type"));
}

TEST(ConfigTest, refusesAStrayComma) {
  EXPECT_TRUE(refusal(", a: 1\n").starts_with("w.yml:1: the file: goes on after its document"));
}

TEST(ConfigTest, survivesDeepNesting) {
  EXPECT_NE(refusal(std::string(100000, '[')), "accepted");
  EXPECT_NE(refusal(std::string(100000, '{')), "accepted");
}

Fd temporaryFile(const std::string& content, mode_t mode) {
  char name[] = "/tmp/warden-config-test-XXXXXX";
  Fd fd(mkostemp(name, O_CLOEXEC));
  unlink(name);
  fchmod(fd, mode);
  writeAll(fd, kj::StringPtr(content.c_str(), content.size()).asBytes());
  return fd;
}

TEST(ConfigFileTest, readsFromTheStart) {
  if (getuid() != 0) GTEST_SKIP() << "needs root: the file must belong to root";
  Fd fd = temporaryFile("hello: 1\n", 0644);
  EXPECT_EQ(readConfigFile(fd, "w.yml"), "hello: 1\n");
  EXPECT_EQ(readConfigFile(fd, "w.yml"), "hello: 1\n");
}

TEST(ConfigFileTest, refusesAFileThatOthersMayWrite) {
  if (getuid() != 0) GTEST_SKIP() << "needs root: the file must belong to root";
  EXPECT_THROW(readConfigFile(temporaryFile("", 0664), "w.yml"), ConfigError);
  EXPECT_THROW(readConfigFile(temporaryFile("", 0646), "w.yml"), ConfigError);
  Fd foreign = temporaryFile("", 0644);
  ASSERT_EQ(fchown(foreign, 1, 0), 0);
  EXPECT_THROW(readConfigFile(foreign, "w.yml"), ConfigError);
}

TEST(ConfigFileTest, refusesWhatIsNoRegularFile) {
  Fd directory(open("/", O_RDONLY | O_CLOEXEC));
  EXPECT_THROW(readConfigFile(directory, "w.yml"), ConfigError);
  Fd device(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  EXPECT_THROW(readConfigFile(device, "w.yml"), ConfigError);
}

TEST(ConfigFileTest, refusesAFileThatIsTooLarge) {
  if (getuid() != 0) GTEST_SKIP() << "needs root: the file must belong to root";
  EXPECT_EQ(readConfigFile(temporaryFile(std::string(1 << 20, '#'), 0600), "w.yml").size(),
            1u << 20);
  EXPECT_THROW(readConfigFile(temporaryFile(std::string((1 << 20) + 1, '#'), 0600), "w.yml"),
               ConfigError);
}

}  // namespace
}  // namespace warden
