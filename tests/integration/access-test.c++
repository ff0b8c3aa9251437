// Who may do what on warden.sock, by users that the kernel attests.

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <unistd.h>

#include <algorithm>

#include "tests/support/host-files.h"
#include "tests/support/server-test.h"

namespace warden::test {
namespace {

constexpr uid_t ALICE = 60001;
constexpr uid_t BOB = 60002;
constexpr gid_t OPERATORS = 60003;
constexpr char UNKNOWN[] = "unknown handle";

class AccessTest : public ServerTest {
 protected:
  void startWithRules(std::map<std::string, std::string> config) {
    config["server.unix_domain_permissions"] = "0777";
    startWith(config);
  }

  TestClient connectAs(uid_t user, std::vector<gid_t> groups = {}) {
    return server().connectAs(user, groups);
  }

  static WhoamiResponse whoami(TestClient& client) { return client.call(WhoamiRequest()); }
};

// One of each request about a container.
template <typename Expect>
void eachRequest(const std::string& handle, uint32_t job, Expect&& expect) {
  expect(infoRequest(handle));
  expect(stopRequest(handle));
  expect(runRequest(handle, "true"));
  expect(spawnRequest(handle, "true"));
  expect(linkRequest(handle, job));
  StreamRequest stream;
  stream.set_handle(handle);
  stream.set_job_id(job);
  expect(stream);
  NetInRequest netIn;
  netIn.set_handle(handle);
  expect(netIn);
  NetOutRequest netOut;
  netOut.set_handle(handle);
  netOut.set_port(80);
  expect(netOut);
  CopyInRequest copyIn;
  copyIn.set_handle(handle);
  copyIn.set_src_path("/etc/hostname");
  copyIn.set_dst_path("/tmp/copied");
  expect(copyIn);
  CopyOutRequest copyOut;
  copyOut.set_handle(handle);
  copyOut.set_src_path("/etc/hostname");
  copyOut.set_dst_path("/var/tmp/warden-test-copied");
  expect(copyOut);
  LimitMemoryRequest memory;
  memory.set_handle(handle);
  expect(memory);
  memory.set_limit_in_bytes(64 << 20);
  expect(memory);
  LimitCpuRequest cpu;
  cpu.set_handle(handle);
  cpu.set_limit_in_shares(10);
  expect(cpu);
  LimitDiskRequest disk;
  disk.set_handle(handle);
  disk.set_byte_limit(1 << 20);
  expect(disk);
  LimitBandwidthRequest bandwidth;
  bandwidth.set_handle(handle);
  bandwidth.set_rate(1000);
  bandwidth.set_burst(1000);
  expect(bandwidth);
  expect(destroyRequest(handle));
}

TEST_F(AccessTest, aContainerIsUnknownToOtherUsersInEveryRequest) {
  startWithRules({});
  auto alice = connectAs(ALICE);
  alice.create("hers");
  uint32_t job = alice.spawn("hers", "sleep 1000");
  auto bob = connectAs(BOB);
  eachRequest("hers", job,
              [&](const auto& request) { EXPECT_EQ(bob.expectError(request), UNKNOWN); });
  EXPECT_EQ(bob.list(), std::vector<std::string>());
  EXPECT_EQ(bob.listAll().containers_size(), 0);
  EXPECT_EQ(alice.list(), std::vector<std::string>{"hers"});
  EXPECT_EQ(alice.listAll().containers_size(), 1);
  EXPECT_EQ(alice.info("hers").state(), "active");
  EXPECT_EQ(alice.info("hers").job_ids_size(), 1);
  alice.destroy("hers");
}

// Bytes that would be something else to a path, a log, a terminal or a format.
const std::string HOSTILE_HANDLES[] = {std::string("hers\0", 5),
                                       std::string("\0hers", 5),
                                       "hers\n",
                                       "hers\r\n{\"from\":\"privhelper\"}\n",
                                       " hers",
                                       "hers/",
                                       "./hers",
                                       "../hers",
                                       "../../../etc/passwd",
                                       "/",
                                       "\x1b[2J\x1b]0;owned\x07\x9b"
                                       "2J",
                                       "%s%n%x",
                                       "\xff\xfe\xc0\xaf",
                                       std::string(70000, 'h')};

TEST_F(AccessTest, handlesOfHostileBytesNameNoContainerOfAnother) {
  startWithRules({});
  auto alice = connectAs(ALICE), bob = connectAs(BOB);
  alice.create("hers");
  uint32_t job = alice.spawn("hers", "sleep 1000");
  auto before = server().depotEntries();
  for (const auto& handle : HOSTILE_HANDLES) {
    for (auto* client : {&alice, &bob}) {
      eachRequest(handle, job,
                  [&](const auto& request) { EXPECT_EQ(client->expectError(request), UNKNOWN); });
    }
  }
  EXPECT_EQ(server().depotEntries(), before);
  EXPECT_EQ(alice.info("hers").job_ids_size(), 1);
  alice.destroy("hers");
}

TEST_F(AccessTest, handlesOfHostileBytesAreOneLineInEachLog) {
  startWithRules({});
  std::string secret = server().directory() + "/secret";
  writeFile(secret, "as it was");
  auto alice = connectAs(ALICE);
  for (const auto& handle : HOSTILE_HANDLES) {
    alice.create(handle);
    EXPECT_EQ(alice.output(handle, "echo in it"), "in it\n");
    for (const auto& entry : server().depotEntries()) {
      // Of the server itself: what is being removed.
      if (entry[0] == '.') continue;
      EXPECT_EQ(entry.find_first_not_of("0123456789abcdefghijklmnopqrstuv"), std::string::npos)
          << entry;
    }
    alice.destroy(handle);
  }
  EXPECT_EQ(readFile(secret), "as it was");
  unlink(secret.c_str());
  for (const char* log : {"", ".audit", ".requests"}) {
    for (const auto& line : splitLines(readFile(server().logPath() + log))) {
      EXPECT_LT(line.size(), 64u << 10) << log;
      EXPECT_TRUE(std::all_of(line.begin(), line.end(),
                              [](unsigned char c) { return c >= 0x20 && c < 0x7f; }))
          << log << ": " << line.substr(0, 200);
      EXPECT_NE(line.rfind("{\"from\"", 0), 0u) << log;
    }
  }
}

TEST_F(AccessTest, aContainerStaysItsUsersOverConnections) {
  startWithRules({});
  connectAs(ALICE).create("hers");
  auto later = connectAs(ALICE);
  EXPECT_EQ(later.output("hers", "echo hello"), "hello\n");
  later.destroy("hers");
}

TEST_F(AccessTest, rootTouchesTheContainersOfAll) {
  startWithRules({});
  connectAs(ALICE).create("hers");
  auto root = connect();
  EXPECT_EQ(root.list(), std::vector<std::string>{"hers"});
  EXPECT_EQ(root.output("hers", "echo hello"), "hello\n");
  root.destroy("hers");
}

TEST_F(AccessTest, administratorsTouchTheContainersOfAll) {
  startWithRules({{"access.administrators", std::to_string(OPERATORS)}});
  connectAs(ALICE).create("hers");
  auto bob = connectAs(BOB, {OPERATORS});
  EXPECT_TRUE(whoami(bob).administrator());
  EXPECT_EQ(bob.list(), std::vector<std::string>{"hers"});
  LimitMemoryRequest memory;
  memory.set_handle("hers");
  memory.set_limit_in_bytes(64 << 20);
  EXPECT_EQ(bob.call(memory).limit_in_bytes(), 64u << 20);
  bob.destroy("hers");
}

TEST_F(AccessTest, aRuleGrantsNoOtherRequests) {
  startWithRules({{"access.rules", "[{user: 60001, requests: [create, run, info, destroy]}]"}});
  auto alice = connectAs(ALICE);
  alice.create("hers");
  EXPECT_EQ(alice.output("hers", "echo hello"), "hello\n");
  NetInRequest netIn;
  netIn.set_handle("hers");
  EXPECT_EQ(alice.expectError(netIn),
            "permission denied: net_in is not permitted to uid 60001: access.rules[0] of the "
            "server's configuration "
            "does not grant it; ask whoever runs the server");
  auto who = whoami(alice);
  EXPECT_EQ(who.rule(), "access.rules[0]");
  EXPECT_EQ(who.requests_size(), 4);
  alice.destroy("hers");
}

TEST_F(AccessTest, whoIsNotNamedIsDeniedWhereTheConfigurationSaysSo) {
  startWithRules({{"access.otherwise", "deny"}, {"access.rules", "[{group: 60003}]"}});
  auto bob = connectAs(BOB);
  EXPECT_NE(bob.expectError(createRequest("his")).find("access.otherwise"), std::string::npos);
  bob.ping();
  EXPECT_EQ(whoami(bob).requests_size(), 0);
  auto alice = connectAs(ALICE, {OPERATORS});
  alice.create("hers");
  alice.destroy("hers");
}

TEST_F(AccessTest, privilegedJobsAreDeniedWhereTheConfigurationSaysSo) {
  startWithRules({{"access.rules", "[{user: 60001, privileged: false}]"}});
  auto alice = connectAs(ALICE);
  alice.create("hers");
  EXPECT_NE(alice.expectError(runRequest("hers", "id", true)).find("access.rules[0].privileged"),
            std::string::npos);
  EXPECT_NE(alice.expectError(spawnRequest("hers", "id", true)).find("access.rules[0].privileged"),
            std::string::npos);
  EXPECT_NE(alice.output("hers", "id -u"), "0\n");
  alice.destroy("hers");
}

TEST_F(AccessTest, quotasCountWhatAUserHas) {
  startWithRules({{"access.rules", "[{user: 60001, quotas: {containers: 2, ports: 2}}]"}});
  auto alice = connectAs(ALICE);
  alice.create("a");
  alice.create("b");
  EXPECT_NE(alice.expectError(createRequest("c")).find("quotas.containers"), std::string::npos);
  connectAs(BOB).create("his");
  NetInRequest netIn;
  for (auto handle : {"a", "b"}) {
    netIn.set_handle(handle);
    alice.call(netIn);
  }
  EXPECT_NE(alice.expectError(netIn).find("quotas.ports"), std::string::npos);
  alice.destroy("a");
  alice.create("c");
  alice.call(netIn);
}

TEST_F(AccessTest, aContainerWithoutPrivilegedJobsHasNotTheirCapabilities) {
  startWithRules({{"access.rules", "[{user: 60001, privileged: false}]"}});
  auto alice = connectAs(ALICE);
  alice.create("hers");
  // The server's own root, whom no rule limits.
  auto root = connect();
  EXPECT_NE(root.expectError(runRequest("hers", "id", true)).find("made without them"),
            std::string::npos);
  root.create("roots");
  EXPECT_EQ(root.output("roots", "id -u", true), "0\n");
  auto bounding = [&](const char* handle) {
    return std::stoull(statusField(server().wshdPid(idOf(handle)), "CapBnd"), nullptr, 16);
  };
  uint64_t without = bounding("hers"), with = bounding("roots");
  EXPECT_EQ(without & ~with, 0u);
  EXPECT_EQ(without, uint64_t(1) << CAP_CHOWN | uint64_t(1) << CAP_KILL |
                         uint64_t(1) << CAP_SETGID | uint64_t(1) << CAP_SETUID |
                         uint64_t(1) << CAP_SETPCAP);
  EXPECT_NE(with & uint64_t(1) << CAP_DAC_OVERRIDE, 0u);
  alice.destroy("hers");
  root.destroy("roots");
}

TEST_F(AccessTest, aContainerBeginsWithItsUsersMemoryQuotaWhichMayBeLowered) {
  startWithRules({{"access.rules", "[{user: 60001, quotas: {memory: 67108864}}]"}});
  auto alice = connectAs(ALICE);
  alice.create("hers");
  LimitMemoryRequest memory;
  memory.set_handle("hers");
  EXPECT_EQ(alice.call(memory).limit_in_bytes(), 64u << 20);
  memory.set_limit_in_bytes((64 << 20) + 1);
  EXPECT_NE(alice.expectError(memory).find("access.rules[0].quotas.memory"), std::string::npos);
  memory.set_limit_in_bytes(32 << 20);
  EXPECT_EQ(alice.call(memory).limit_in_bytes(), 32u << 20);
  memory.set_limit_in_bytes(64 << 20);
  EXPECT_EQ(alice.call(memory).limit_in_bytes(), 64u << 20);
  EXPECT_EQ(whoami(alice).max_memory(), 64u << 20);
  memory.set_limit_in_bytes(128 << 20);
  EXPECT_EQ(connect().call(memory).limit_in_bytes(), 128u << 20);
  alice.destroy("hers");
}

TEST_F(AccessTest, aContainerBeginsWithItsUsersDiskQuotaWhichMayBeLowered) {
  startWithRules({{"access.rules", "[{user: 60001, quotas: {disk: 8388608}}]"},
                  {"server.quota", "{disk_quota_enabled: true}"}});
  auto alice = connectAs(ALICE);
  alice.create("hers");
  LimitDiskRequest disk;
  disk.set_handle("hers");
  EXPECT_EQ(alice.call(disk).byte_limit(), 8u << 20);
  EXPECT_NE(alice.output("hers", "head -c 9000000 /dev/zero > ~/big 2>/dev/null || echo full")
                .find("full"),
            std::string::npos);
  disk.set_byte_limit(9 << 20);
  EXPECT_NE(alice.expectError(disk).find("access.rules[0].quotas.disk"), std::string::npos);
  disk.set_byte_limit(0);
  EXPECT_NE(alice.expectError(disk).find("access.rules[0].quotas.disk"), std::string::npos);
  disk.set_byte_limit(8 << 20);
  EXPECT_EQ(alice.call(disk).byte_limit(), 8u << 20);
  EXPECT_EQ(whoami(alice).max_disk(), 8u << 20);
  alice.destroy("hers");
}

}  // namespace
}  // namespace warden::test
