// What Info, and the answers of jobs, say about memory, cpu, disk and bandwidth.

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/limits.h"
#include "tests/support/server-test.h"

namespace warden::test {
namespace {

using MemoryStat = InfoResponse::MemoryStat;

constexpr char BUSY[] = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";

struct Field {
  const char* name;
  bool (MemoryStat::*has)() const;
  bool inVersion2;
};
#define FIELD(name, inVersion2) \
  { #name, &MemoryStat::has_##name, inVersion2 }
// cgroup version 2 counts no pages in and out.
constexpr Field MEMORY_FIELDS[] = {
    FIELD(cache, true),
    FIELD(rss, true),
    FIELD(mapped_file, true),
    FIELD(pgpgin, false),
    FIELD(pgpgout, false),
    FIELD(swap, true),
    FIELD(pgfault, true),
    FIELD(pgmajfault, true),
    FIELD(inactive_anon, true),
    FIELD(active_anon, true),
    FIELD(inactive_file, true),
    FIELD(active_file, true),
    FIELD(unevictable, true),
    FIELD(hierarchical_memory_limit, true),
    FIELD(hierarchical_memsw_limit, true),
    FIELD(total_cache, true),
    FIELD(total_rss, true),
    FIELD(total_mapped_file, true),
    FIELD(total_pgpgin, false),
    FIELD(total_pgpgout, false),
    FIELD(total_swap, true),
    FIELD(total_pgfault, true),
    FIELD(total_pgmajfault, true),
    FIELD(total_inactive_anon, true),
    FIELD(total_active_anon, true),
    FIELD(total_inactive_file, true),
    FIELD(total_active_file, true),
    FIELD(total_unevictable, true),
};
#undef FIELD

class StatisticsTest : public ServerTest {
 protected:
  void expectAllFields(const InfoResponse& info) {
    ASSERT_TRUE(info.has_memory_stat());
    for (const auto& field : MEMORY_FIELDS) {
      if (hasVersion2("memory") && !field.inVersion2) continue;
      EXPECT_TRUE((info.memory_stat().*field.has)()) << field.name;
    }
    ASSERT_TRUE(info.has_cpu_stat());
    EXPECT_TRUE(info.cpu_stat().has_usage());
    EXPECT_TRUE(info.cpu_stat().has_user());
    EXPECT_TRUE(info.cpu_stat().has_system());
    ASSERT_TRUE(info.has_disk_stat());
    EXPECT_TRUE(info.disk_stat().has_bytes_used());
    EXPECT_TRUE(info.disk_stat().has_inodes_used());
    ASSERT_TRUE(info.has_bandwidth_stat());
    EXPECT_EQ(info.bandwidth_stat().in_rate(), UNLIMITED_BANDWIDTH);
    EXPECT_EQ(info.bandwidth_stat().in_burst(), UNLIMITED_BANDWIDTH);
    EXPECT_EQ(info.bandwidth_stat().out_rate(), UNLIMITED_BANDWIDTH);
    EXPECT_EQ(info.bandwidth_stat().out_burst(), UNLIMITED_BANDWIDTH);
  }
};

TEST_F(StatisticsTest, areAllInInfo) {
  start();
  TestClient client = connect();
  client.create("c");
  expectAllFields(client.info("c"));
  client.stop("c");
  expectAllFields(client.info("c"));
}

TEST_F(StatisticsTest, areInTheAnswersOfRunLinkAndStream) {
  start();
  TestClient client = connect();
  client.create("c");
  auto run = client.run("c", "true");
  ASSERT_TRUE(run.has_info());
  expectAllFields(run.info());
  auto link = client.link("c", client.spawn("c", "true"));
  ASSERT_TRUE(link.has_info());
  expectAllFields(link.info());
  JobOutput stream = client.stream("c", client.spawn("c", "echo x"));
  ASSERT_TRUE(stream.info.has_value());
  expectAllFields(*stream.info);
  // Of the container, not of the job.
  EXPECT_GE(stream.info->cpu_stat().usage(), link.info().cpu_stat().usage());
  EXPECT_GE(link.info().cpu_stat().usage(), run.info().cpu_stat().usage());
  EXPECT_EQ(stream.info->container_path(), client.info("c").container_path());
}

TEST_F(StatisticsTest, areThoseFromBeforeInTheAnswerOfAJobThatADestroyEnds) {
  start();
  TestClient client = connect();
  client.create("c");
  client.output("c", BUSY);
  uint64_t usage = client.info("c").cpu_stat().usage();
  TestClient linker = connect();
  linker.send(linkRequest("c", client.spawn("c", "sleep 100000")));
  linker.hasInput(std::chrono::milliseconds(200));
  client.destroy("c");
  auto response = linker.receive<LinkResponse>();
  ASSERT_TRUE(response.info().has_cpu_stat());
  EXPECT_GE(response.info().cpu_stat().usage(), usage);
  EXPECT_TRUE(response.info().has_memory_stat());
}

TEST_F(StatisticsTest, countMemoryThatAJobTakes) {
  start();
  TestClient client = connect();
  client.create("c");
  MemoryStat before = client.info("c").memory_stat();
  EXPECT_LT(before.total_rss(), 20 * MIB);
  uint32_t job = client.spawn("c", holdMemory(40));
  ASSERT_TRUE(waitUntil([&]() {
    return client.info("c").memory_stat().total_rss() >= before.total_rss() + 40 * MIB;
  }));
  MemoryStat during = client.info("c").memory_stat();
  EXPECT_LT(during.total_rss(), before.total_rss() + 60 * MIB);
  EXPECT_GE(during.total_active_anon() + during.total_inactive_anon(), 40 * MIB);
  EXPECT_GT(during.total_pgfault(), before.total_pgfault());
  if (!hasVersion2("memory")) {
    EXPECT_GE(during.total_pgpgin(), before.total_pgpgin() + 40 * MIB / 4096);
  }

  client.stop("c", false, true);
  client.link("c", job);
  EXPECT_TRUE(waitUntil(
      [&]() { return client.info("c").memory_stat().total_rss() < before.total_rss() + 5 * MIB; }));
}

TEST_F(StatisticsTest, countCachedFiles) {
  start();
  TestClient client = connect();
  client.create("c");
  MemoryStat before = client.info("c").memory_stat();
  client.output("c", "dd if=/dev/zero of=/tmp/file bs=1M count=20 2>/dev/null");
  MemoryStat after = client.info("c").memory_stat();
  EXPECT_GE(after.total_cache(), before.total_cache() + 20 * MIB);
  EXPECT_GE(after.total_active_file() + after.total_inactive_file(), 20 * MIB);
  EXPECT_LT(after.total_rss(), 20 * MIB);
}

TEST_F(StatisticsTest, nameTheMemoryLimitInForce) {
  start();
  TestClient client = connect();
  client.create("c");
  EXPECT_EQ(client.info("c").memory_stat().hierarchical_memory_limit(), UNLIMITED_MEMORY);
  EXPECT_EQ(client.info("c").memory_stat().hierarchical_memsw_limit(), UNLIMITED_MEMORY);
  limitMemory(client, "c", 64 * MIB);
  EXPECT_EQ(client.info("c").memory_stat().hierarchical_memory_limit(), 64 * MIB);
  EXPECT_EQ(client.info("c").memory_stat().hierarchical_memsw_limit(), 64 * MIB);
}

TEST_F(StatisticsTest, countTheTimeThatJobsTake) {
  start();
  TestClient client = connect();
  client.create("c");
  client.create("idle");
  auto before = client.info("c").cpu_stat();
  uint64_t idleBefore = client.info("idle").cpu_stat().usage();
  for (int i = 0; i < 3; ++i)
    client.output("c", BUSY);
  auto after = client.info("c").cpu_stat();
  double usedMs = (after.usage() - before.usage()) / 1e6;
  EXPECT_GT(usedMs, 50);
  double tickMs = 1000.0 / sysconf(_SC_CLK_TCK);
  double ticksMs = (after.user() + after.system() - before.user() - before.system()) * tickMs;
  EXPECT_GT(after.user(), before.user());
  // Ticks are counted where the timer finds a task, usage by the clock.
  EXPECT_NEAR(ticksMs, usedMs, usedMs / 2 + 10 * tickMs);
  EXPECT_LT(client.info("idle").cpu_stat().usage() - idleBefore, (after.usage() - before.usage()));
}

TEST_F(StatisticsTest, haveNoDiskWhenQuotasAreOff) {
  startWith({{"server.quota", "{disk_quota_enabled: false}"}});
  TestClient client = connect();
  client.create("c");
  EXPECT_FALSE(client.info("c").has_disk_stat());
  EXPECT_FALSE(client.run("c", "true").info().has_disk_stat());
  EXPECT_TRUE(client.info("c").has_memory_stat());

  // Agents limit the disk of every container, whatever the operator has decided.
  LimitDiskRequest request = diskRequest("c");
  EXPECT_EQ(client.call(request).SerializeAsString(), "");
  request.set_byte_limit(MIB);
  EXPECT_EQ(client.call(request).SerializeAsString(), "");
  client.output("c", "dd if=/dev/zero of=/tmp/file bs=1M count=2 2>/dev/null");
}

TEST_F(StatisticsTest, areServedToManyAtOnce) {
  start();
  TestClient client = connect();
  client.create("c");
  std::vector<TestClient> clients;
  for (int i = 0; i < 20; ++i)
    clients.push_back(connect());
  for (auto& one : clients)
    one.send(infoRequest("c"));
  for (auto& one : clients)
    expectAllFields(one.receive<InfoResponse>());
}

}  // namespace
}  // namespace warden::test
