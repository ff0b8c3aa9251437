// Counters, from texts that kernels gave: 6.18 (v1), 6.1 (v2), with other numbers in place of some
// that were 0.

#include "frontend/statistics.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <unistd.h>

#include "frontend/cgroup-files.h"
#include "tests/unit/frontend-test-peer.h"

namespace warden::frontend {
namespace {

using Kind = schema::Created::Statistics;

constexpr char MEMORY_STAT_V1[] = R"(cache 9510912
rss 14102528
rss_huge 0
shmem 9068544
mapped_file 7421952
dirty 36864
writeback 0
workingset_refault_anon 0
workingset_refault_file 3872
swap 1
swapcached 0
pgpgin 77149
pgpgout 71384
pgfault 103940
pgmajfault 2
inactive_anon 3
active_anon 1531904
inactive_file 8192
active_file 434176
unevictable 21639168
hierarchical_memory_limit 9223372036854771712
hierarchical_memsw_limit 104857600
total_cache 854020096
total_rss 29122560
total_rss_huge 0
total_shmem 10276864
total_mapped_file 19156992
total_dirty 38785024
total_writeback 0
total_workingset_refault_anon 0
total_workingset_refault_file 3358695
total_swap 4
total_swapcached 0
total_pgpgin 273984638
total_pgpgout 273842875
total_pgfault 290107495
total_pgmajfault 21104
total_inactive_anon 14811136
total_active_anon 2826240
total_inactive_file 372424704
total_active_file 471183360
total_unevictable 21639169
)";

constexpr char MEMORY_STAT_V2[] = R"(anon 3473408
file 15929344
kernel 1826816
kernel_stack 49152
pagetables 331776
sec_pagetables 0
percpu 82848
sock 0
vmalloc 163840
shmem 2568192
file_mapped 4067328
file_dirty 6299648
file_writeback 0
swapcached 0
anon_thp 0
file_thp 0
shmem_thp 0
inactive_anon 5935104
active_anon 32768
inactive_file 11345920
active_file 2015232
unevictable 7
slab_reclaimable 632688
slab_unreclaimable 367016
slab 999704
workingset_refault_anon 0
workingset_refault_file 0
workingset_activate_anon 0
workingset_activate_file 0
workingset_restore_anon 0
workingset_restore_file 0
workingset_nodereclaim 0
pgscan 0
pgsteal 0
pgscan_kswapd 0
pgscan_direct 0
pgsteal_kswapd 0
pgsteal_direct 0
pgfault 11243
pgmajfault 52
pgrefill 0
pgactivate 355
pgdeactivate 0
pglazyfree 0
pglazyfreed 0
thp_fault_alloc 0
thp_collapse_alloc 0
)";

constexpr char CPU_STAT_V2[] = R"(usage_usec 3691308
user_usec 2132194
system_usec 1559114
nr_periods 0
nr_throttled 0
throttled_usec 0
nr_bursts 0
burst_usec 0
)";

CgroupText text(const std::string& content) {
  return kj::arrayPtr(content.data(), content.size());
}

TEST(CgroupFilesTest, takeMemoryOfV1NameByName) {
  InfoResponse::MemoryStat stat;
  readMemoryStatV1(text(MEMORY_STAT_V1), stat);
  EXPECT_EQ(stat.cache(), 9510912u);
  EXPECT_EQ(stat.rss(), 14102528u);
  EXPECT_EQ(stat.mapped_file(), 7421952u);
  EXPECT_EQ(stat.pgpgin(), 77149u);
  EXPECT_EQ(stat.pgpgout(), 71384u);
  EXPECT_EQ(stat.swap(), 1u);
  EXPECT_EQ(stat.pgfault(), 103940u);
  EXPECT_EQ(stat.pgmajfault(), 2u);
  EXPECT_EQ(stat.inactive_anon(), 3u);
  EXPECT_EQ(stat.active_anon(), 1531904u);
  EXPECT_EQ(stat.inactive_file(), 8192u);
  EXPECT_EQ(stat.active_file(), 434176u);
  EXPECT_EQ(stat.unevictable(), 21639168u);
  EXPECT_EQ(stat.hierarchical_memory_limit(), 9223372036854771712u);
  EXPECT_EQ(stat.hierarchical_memsw_limit(), 104857600u);
  EXPECT_EQ(stat.total_cache(), 854020096u);
  EXPECT_EQ(stat.total_rss(), 29122560u);
  EXPECT_EQ(stat.total_mapped_file(), 19156992u);
  EXPECT_EQ(stat.total_pgpgin(), 273984638u);
  EXPECT_EQ(stat.total_pgpgout(), 273842875u);
  EXPECT_EQ(stat.total_swap(), 4u);
  EXPECT_EQ(stat.total_pgfault(), 290107495u);
  EXPECT_EQ(stat.total_pgmajfault(), 21104u);
  EXPECT_EQ(stat.total_inactive_anon(), 14811136u);
  EXPECT_EQ(stat.total_active_anon(), 2826240u);
  EXPECT_EQ(stat.total_inactive_file(), 372424704u);
  EXPECT_EQ(stat.total_active_file(), 471183360u);
  EXPECT_EQ(stat.total_unevictable(), 21639169u);
}

TEST(CgroupFilesTest, takeMemoryOfV2WithItsDescendantsAsBothForms) {
  InfoResponse::MemoryStat stat;
  readMemoryStatV2(text(MEMORY_STAT_V2), stat);
  EXPECT_EQ(stat.rss(), 3473408u);
  EXPECT_EQ(stat.total_rss(), 3473408u);
  EXPECT_EQ(stat.cache(), 15929344u);
  EXPECT_EQ(stat.total_cache(), 15929344u);
  EXPECT_EQ(stat.mapped_file(), 4067328u);
  EXPECT_EQ(stat.total_mapped_file(), 4067328u);
  EXPECT_EQ(stat.inactive_anon(), 5935104u);
  EXPECT_EQ(stat.total_inactive_anon(), 5935104u);
  EXPECT_EQ(stat.active_anon(), 32768u);
  EXPECT_EQ(stat.total_active_anon(), 32768u);
  EXPECT_EQ(stat.inactive_file(), 11345920u);
  EXPECT_EQ(stat.total_inactive_file(), 11345920u);
  EXPECT_EQ(stat.active_file(), 2015232u);
  EXPECT_EQ(stat.total_active_file(), 2015232u);
  EXPECT_EQ(stat.unevictable(), 7u);
  EXPECT_EQ(stat.total_unevictable(), 7u);
  EXPECT_EQ(stat.pgfault(), 11243u);
  EXPECT_EQ(stat.total_pgfault(), 11243u);
  EXPECT_EQ(stat.pgmajfault(), 52u);
  EXPECT_EQ(stat.total_pgmajfault(), 52u);
  EXPECT_FALSE(stat.has_pgpgin());
  EXPECT_FALSE(stat.has_pgpgout());
  EXPECT_FALSE(stat.has_swap());
}

TEST(CgroupFilesTest, takeTheLimitsOfV2) {
  InfoResponse::MemoryStat stat;
  readMemoryMaxV2(text("max\n"), stat);
  EXPECT_EQ(stat.hierarchical_memory_limit(), 9223372036854771712u);
  EXPECT_EQ(stat.hierarchical_memsw_limit(), 9223372036854771712u);
  readMemoryMaxV2(text("104857600\n"), stat);
  EXPECT_EQ(stat.hierarchical_memory_limit(), 104857600u);
  EXPECT_EQ(stat.hierarchical_memsw_limit(), 104857600u);
  readMemorySwapV2(text("8192\n"), stat);
  EXPECT_EQ(stat.swap(), 8192u);
  EXPECT_EQ(stat.total_swap(), 8192u);
}

TEST(CgroupFilesTest, takeCpuTimeInTheProtocolsUnits) {
  InfoResponse::CpuStat v1;
  readCpuUsageV1(text("11381772832000\n"), v1);
  readCpuStatV1(text("user 902315\nsystem 235861\n"), v1);
  EXPECT_EQ(v1.usage(), 11381772832000u);
  EXPECT_EQ(v1.user(), 902315u);
  EXPECT_EQ(v1.system(), 235861u);
  InfoResponse::CpuStat v2;
  readCpuStatV2(text(CPU_STAT_V2), v2, 100);
  EXPECT_EQ(v2.usage(), 3691308000u);
  EXPECT_EQ(v2.user(), 213u);
  EXPECT_EQ(v2.system(), 155u);
}

TEST(CgroupFilesTest, countKillsOfBothVersions) {
  EXPECT_EQ(KJ_ASSERT_NONNULL(readOomKills(text("oom_kill_disable 0\nunder_oom 1\noom_kill 3\n"))),
            3u);
  EXPECT_EQ(KJ_ASSERT_NONNULL(
                readOomKills(text("low 0\nhigh 0\nmax 9\noom 2\noom_kill 4\noom_group_kill 1\n"))),
            4u);
  EXPECT_TRUE(readOomKills(text("oom_kill_disable 0\nunder_oom 0\n")) == nullptr);
  EXPECT_TRUE(readOomKills(text("")) == nullptr);
}

TEST(CgroupFilesTest, passOverWhatTheyDoNotUnderstand) {
  InfoResponse::MemoryStat stat;
  readMemoryStatV1(text("rss\ncache \nswap -1\npgfault 1x\npgpgin 18446744073709551616\n"
                        " 5\n\nrss  6\nactive_anon 7\nactive_file 8"),
                   stat);
  EXPECT_TRUE(stat.has_active_anon());
  stat.clear_active_anon();
  EXPECT_EQ(stat.ByteSizeLong(), 0u);
  InfoResponse::MemoryStat max;
  readMemoryMaxV2(text("maximum\n"), max);
  readMemoryMaxV2(text(""), max);
  readMemorySwapV2(text("x\n"), max);
  EXPECT_EQ(max.ByteSizeLong(), 0u);
}

class StatisticsTest : public ::testing::Test {
 protected:
  ~StatisticsTest() noexcept override = default;

  TemporaryDirectory directory;
  kj::Vector<StatisticsFile> files;

  void add(Kind kind, const char* name, const std::string& content) {
    directory.write(name, content);
    int fd;
    KJ_SYSCALL(fd = open((directory.path() + "/" + name).c_str(), O_RDONLY | O_CLOEXEC));
    files.add(StatisticsFile{kind, Fd(fd)});
  }
};

TEST_F(StatisticsTest, readThePresentValuesEachTime) {
  add(Kind::MEMORY_STAT_V1, "memory.stat", MEMORY_STAT_V1);
  add(Kind::CPU_USAGE_V1, "cpuacct.usage", "5\n");
  Statistics statistics(files.releaseAsArray());
  InfoResponse info;
  statistics.describe(info);
  EXPECT_EQ(info.memory_stat().rss(), 14102528u);
  EXPECT_EQ(info.cpu_stat().usage(), 5u);
  EXPECT_FALSE(info.cpu_stat().has_user());
  directory.write("memory.stat", "rss 7\n");
  directory.write("cpuacct.usage", "6\n");
  InfoResponse later;
  statistics.describe(later);
  EXPECT_EQ(later.memory_stat().rss(), 7u);
  EXPECT_FALSE(later.memory_stat().has_cache());
  EXPECT_EQ(later.cpu_stat().usage(), 6u);
}

TEST_F(StatisticsTest, joinTheFilesOfV2) {
  add(Kind::MEMORY_EVENTS_V2, "memory.events", "oom_kill 2\n");
  add(Kind::MEMORY_STAT_V2, "memory.stat", MEMORY_STAT_V2);
  add(Kind::MEMORY_MAX_V2, "memory.max", "max\n");
  add(Kind::MEMORY_SWAP_V2, "memory.swap.current", "0\n");
  add(Kind::CPU_STAT_V2, "cpu.stat", CPU_STAT_V2);
  Statistics statistics(files.releaseAsArray());
  InfoResponse info;
  statistics.describe(info);
  EXPECT_EQ(info.memory_stat().rss(), 3473408u);
  EXPECT_EQ(info.memory_stat().hierarchical_memory_limit(), UNLIMITED_MEMORY);
  EXPECT_TRUE(info.memory_stat().has_swap());
  EXPECT_EQ(info.cpu_stat().usage(), 3691308000u);
  EXPECT_EQ(KJ_ASSERT_NONNULL(statistics.oomKills()), 2u);
  EXPECT_GE(statistics.oomEventsV2(), 0);
  EXPECT_EQ(statistics.oomEventV1(), -1);
}

TEST_F(StatisticsTest, leaveOutWhatCannotBeRead) {
  add(Kind::MEMORY_STAT_V1, "memory.stat", "rss 1\n");
  auto pipe = makePipe();  // pread(2) fails on it, as on the files of a cgroup that is gone
  files.add(StatisticsFile{Kind::CPU_USAGE_V1, duplicate(pipe.readEnd)});
  files.add(StatisticsFile{Kind::MEMORY_OOM_CONTROL_V1, kj::mv(pipe.readEnd)});
  Statistics statistics(files.releaseAsArray());
  InfoResponse info;
  statistics.describe(info);
  EXPECT_TRUE(info.has_memory_stat());
  EXPECT_FALSE(info.has_cpu_stat());
  EXPECT_TRUE(statistics.oomKills() == nullptr);
}

TEST_F(StatisticsTest, areAbsentWhereTheHostHasNone) {
  Statistics statistics;
  InfoResponse info;
  statistics.describe(info);
  EXPECT_FALSE(info.has_memory_stat());
  EXPECT_FALSE(info.has_cpu_stat());
  EXPECT_TRUE(statistics.oomKills() == nullptr);
}

TEST_F(StatisticsTest, takeTheCompleteLinesOfATextThatIsTooLong) {
  std::string longText = "rss 1\n";
  for (int i = 0; i < 10000; ++i)
    longText += "unknown_counter_" + std::to_string(i) + " 5\n";
  longText += "cache 2\n";
  add(Kind::MEMORY_STAT_V1, "memory.stat", longText);
  Statistics statistics(files.releaseAsArray());
  InfoResponse info;
  statistics.describe(info);
  EXPECT_EQ(info.memory_stat().rss(), 1u);
  EXPECT_FALSE(info.memory_stat().has_cache());
}

}  // namespace
}  // namespace warden::frontend
