// Limits and statistics, with the real kernel.

#include <poll.h>
#include <time.h>

#include <fstream>
#include <sstream>

#include "tests/unit/privhelper-cgroups-testing.h"

namespace warden::privhelper {
namespace {

using Kind = schema::Created::Statistics;

// --- memory and cpu

TEST_F(CgroupsTest, newContainersAreUnlimited) {
  auto container = make();
  EXPECT_EQ(container->limitMemory(nullptr), 9223372036854771712u);
  EXPECT_EQ(container->limitCpu(nullptr), 1024u);
}

TEST_F(CgroupsTest, memoryLimitsMoveInAnyOrder) {
  auto container = make();
  for (uint64_t limit : {100 * MIB, 50 * MIB, 200 * MIB, 200 * MIB, UNLIMITED_MEMORY, 10 * MIB,
                         UNLIMITED_MEMORY, UNLIMITED_MEMORY, 1024 * MIB, 4096 * uint64_t(1)}) {
    EXPECT_EQ(container->limitMemory(limit), limit);
    EXPECT_EQ(container->limitMemory(nullptr), limit);
    bool unlimited = limit == UNLIMITED_MEMORY;
    if (isVersion2(Controller::MEMORY)) {
      EXPECT_EQ(contentOf(Controller::MEMORY, "memory.max"),
                unlimited ? "max" : std::to_string(limit));
      EXPECT_EQ(contentOf(Controller::MEMORY, "memory.swap.max"), unlimited ? "max" : "0");
      EXPECT_EQ(contentOf(Controller::MEMORY, "memory.high"), "max");
    } else {
      EXPECT_EQ(contentOf(Controller::MEMORY, "memory.memsw.limit_in_bytes"),
                std::to_string(limit));
    }
  }
}

TEST_F(CgroupsTest, memoryLimitsAtTheEdges) {
  auto container = make();
  EXPECT_EQ(container->limitMemory(uint64_t(8191)), 4096u);
  EXPECT_EQ(container->limitMemory(uint64_t(4095)), 0u);
  EXPECT_EQ(container->limitMemory(uint64_t(1)), 0u);
  EXPECT_EQ(container->limitMemory(uint64_t(0)), 0u);
  EXPECT_EQ(container->limitMemory(UNLIMITED_MEMORY - 4096), UNLIMITED_MEMORY - 4096);
  EXPECT_EQ(container->limitMemory(UNLIMITED_MEMORY - 1), UNLIMITED_MEMORY - 4096);
  for (uint64_t huge : {UNLIMITED_MEMORY, UNLIMITED_MEMORY + 1, uint64_t(1) << 63, ~uint64_t(0)}) {
    EXPECT_EQ(container->limitMemory(MIB), MIB);
    EXPECT_EQ(container->limitMemory(huge), UNLIMITED_MEMORY) << huge;
  }
}

TEST_F(CgroupsTest, memoryLimitBelowTheUsageFailsAndChangesNothing) {
  auto container = make();
  Pipe ready = makePipe();
  pid_t pid = start(*container, [&] {
    if (touchMemory(32 * MIB) != 0) return 1;
    char c = 0;
    if (write(ready.writeEnd, &c, 1) != 1) return 2;
    return pause();
  });
  char c;
  ASSERT_EQ(read(ready.readEnd, &c, 1), 1);
  EXPECT_EQ(container->limitMemory(64 * MIB), 64 * MIB);
  for (uint64_t limit : {uint64_t(0), MIB, 16 * MIB}) {
    EXPECT_EQ(errorOf([&] { container->limitMemory(limit); }), EBUSY) << limit;
    EXPECT_EQ(container->limitMemory(nullptr), 64 * MIB);
  }
  if (isVersion2(Controller::MEMORY)) {
    EXPECT_EQ(contentOf(Controller::MEMORY, "memory.swap.max"), "0");
    EXPECT_EQ(contentOf(Controller::MEMORY, "memory.high"), "max");
  } else {
    EXPECT_EQ(contentOf(Controller::MEMORY, "memory.memsw.limit_in_bytes"),
              std::to_string(64 * MIB));
  }
  container->limitMemory(UNLIMITED_MEMORY);
  EXPECT_EQ(errorOf([&] { container->limitMemory(MIB); }), EBUSY);
  EXPECT_EQ(container->limitMemory(nullptr), UNLIMITED_MEMORY);
  if (isVersion2(Controller::MEMORY)) {
    EXPECT_EQ(contentOf(Controller::MEMORY, "memory.swap.max"), "max");
  }
  EXPECT_EQ(container->limitMemory(40 * MIB), 40 * MIB);
  end(pid);
}

TEST_F(CgroupsTest, memoryLimitsThatDifferAreBroughtTogether) {
  auto container = make();
  if (isVersion2(Controller::MEMORY)) GTEST_SKIP() << "one file holds the limit";
  auto& hierarchy = KJ_ASSERT_NONNULL(cgroups->find(Controller::MEMORY));
  auto name = kj::str(CONTAINER_PREFIX, idNumber(1).text());
  CgroupDirectory directory(hierarchy, name, "test");
  directory.write("memory.limit_in_bytes", kj::str(8 * MIB));
  // Memory limited, both not: as an administrator may have set it.
  EXPECT_EQ(container->limitMemory(4 * MIB), 4 * MIB);
  EXPECT_EQ(container->limitMemory(16 * MIB), 16 * MIB);
  EXPECT_EQ(contentOf(Controller::MEMORY, "memory.memsw.limit_in_bytes"), std::to_string(16 * MIB));
}

TEST_F(CgroupsTest, cpuSharesAreClampedAndRemembered) {
  auto container = make();
  struct {
    uint64_t asked, inForce;
    const char* weight;
  } cases[] = {{0, 2, "1"},
               {1, 2, "1"},
               {2, 2, "1"},
               {10, 10, "1"},
               {512, 512, "50"},
               {1024, 1024, "100"},
               {2048, 2048, "200"},
               {102400, 102400, "10000"},
               {262144, 262144, "10000"},
               {262145, 262144, "10000"},
               {uint64_t(1) << 63, 262144, "10000"},
               {~uint64_t(0), 262144, "10000"}};
  for (auto& c : cases) {
    EXPECT_EQ(container->limitCpu(c.asked), c.inForce);
    EXPECT_EQ(container->limitCpu(nullptr), c.inForce);
    if (isVersion2(Controller::CPU)) {
      EXPECT_EQ(contentOf(Controller::CPU, "cpu.weight"), c.weight) << c.asked;
    } else {
      EXPECT_EQ(contentOf(Controller::CPU, "cpu.shares"), std::to_string(c.inForce));
    }
  }
}

// --- statistics

std::string readAt0(int fd) {
  char buffer[8192];
  ssize_t n = pread(fd, buffer, sizeof(buffer), 0);
  return n < 0 ? std::string("error ") + strerrorname_np(errno) : std::string(buffer, n);
}

uint64_t fieldOf(const std::string& text, const std::string& key) {
  std::istringstream lines(text);
  std::string name;
  uint64_t value;
  while (lines >> name >> value) {
    if (name == key) return value;
  }
  ADD_FAILURE() << "no " << key << " in " << text;
  return 0;
}

TEST_F(CgroupsTest, statisticsAreInTheContractsOrder) {
  auto container = make();
  auto statistics = container->openStatistics();
  std::vector<Kind> kinds;
  for (auto& statistic : statistics)
    kinds.push_back(statistic.kind);
  std::vector<Kind> v1{Kind::MEMORY_EVENT_V1, Kind::MEMORY_OOM_CONTROL_V1, Kind::MEMORY_STAT_V1,
                       Kind::CPU_USAGE_V1, Kind::CPU_STAT_V1};
  std::vector<Kind> v2{Kind::MEMORY_EVENTS_V2, Kind::MEMORY_STAT_V2, Kind::MEMORY_MAX_V2,
                       Kind::MEMORY_SWAP_V2, Kind::CPU_STAT_V2};
  EXPECT_EQ(kinds, isVersion2(Controller::MEMORY) ? v2 : v1);
  for (auto& statistic : statistics)
    EXPECT_EQ(fcntl(statistic.file, F_GETFD), FD_CLOEXEC);
}

Fd take(kj::Vector<Statistic>& statistics, Kind kind) {
  for (auto& statistic : statistics) {
    if (statistic.kind == kind) return kj::mv(statistic.file);
  }
  KJ_FAIL_REQUIRE("no such statistic", int(kind));
}

TEST_F(CgroupsTest, runningOutOfMemoryKillsTheJobAndIsTold) {
  auto container = make();
  container->limitMemory(20 * MIB);
  auto statistics = container->openStatistics();
  bool v2 = isVersion2(Controller::MEMORY);
  Fd counter = take(statistics, v2 ? Kind::MEMORY_EVENTS_V2 : Kind::MEMORY_OOM_CONTROL_V1);
  Fd event;
  pollfd p{counter, POLLPRI, 0};
  if (!v2) {
    event = take(statistics, Kind::MEMORY_EVENT_V1);
    p = {event, POLLIN, 0};
  }
  EXPECT_EQ(fieldOf(readAt0(counter), "oom_kill"), 0u);
  EXPECT_EQ(poll(&p, 1, 0), 0);
  EXPECT_EQ(run(*container, [] { return touchMemory(8 * MIB); }), 0);
  EXPECT_EQ(poll(&p, 1, 0), 0);
  EXPECT_EQ(run(*container, [] { return touchMemory(60 * MIB); }), 128 + SIGKILL);
  EXPECT_EQ(poll(&p, 1, 2000), 1);
  EXPECT_EQ(fieldOf(readAt0(counter), "oom_kill"), 1u);
}

TEST_F(CgroupsTest, raisedScoresAreKilledFirst) {
  // What wshd relies on (wshd/spawn.c++): of two processes the larger one survives.
  auto container = make();
  Pipe ready = makePipe();
  pid_t keeper = start(*container, [&] {
    if (touchMemory(12 * MIB) != 0 || write(ready.writeEnd, "", 1) != 1) return 1;
    return pause();
  });
  char c;
  ASSERT_EQ(read(ready.readEnd, &c, 1), 1);
  container->limitMemory(24 * MIB);
  EXPECT_EQ(run(*container,
                [] {
                  std::ofstream("/proc/self/oom_score_adj") << 500;
                  for (int i = 0;; ++i) {
                    if (touchMemory(MIB) != 0) return i;
                  }
                }),
            128 + SIGKILL);
  end(keeper);
}

TEST_F(CgroupsTest, statisticsCountWhatTheContainerUses) {
  auto container = make();
  auto statistics = container->openStatistics();
  bool v2 = isVersion2(Controller::CPU_USAGE);
  Fd usage = take(statistics, v2 ? Kind::CPU_STAT_V2 : Kind::CPU_USAGE_V1);
  auto used = [&] {
    auto text = readAt0(usage);
    return v2 ? fieldOf(text, "usage_usec") : std::stoull(text) / 1000;
  };
  uint64_t before = used();
  EXPECT_EQ(run(*container,
                [] {
                  clock_t end = clock() + CLOCKS_PER_SEC / 10;
                  while (clock() < end) {
                  }
                  return 0;
                }),
            0);
  EXPECT_GE(used() - before, 90'000u);
}

// Runs in a child, as the frontend's user would: no id, group or capability of root's.
int attackStatistics(kj::Vector<Statistic>& statistics) {
  if (setgid(65534) < 0 || setuid(65534) < 0) return 1;
  for (auto& statistic : statistics) {
    bool isEvent = statistic.kind == Kind::MEMORY_EVENT_V1;
    int fd = statistic.file;
    for (int i = 0; i < 3 && !isEvent; ++i) {
      char buffer[4096];
      if (pread(fd, buffer, sizeof(buffer), 0) <= 0) return 2;
    }
    if (isEvent) continue;  // a counter without a file: what is written there, only the holder sees
    if (write(fd, "0", 1) != -1 || errno != EBADF) return 3;
    auto path = "/proc/self/fd/" + std::to_string(fd);
    for (int flags : {O_WRONLY, O_RDWR, O_WRONLY | O_TRUNC}) {
      if (open(path.c_str(), flags) != -1 || errno != EACCES) return 4;
    }
    if (fcntl(fd, F_SETFL, O_RDWR) == 0 && write(fd, "0", 1) != -1) return 5;
    if (ftruncate(fd, 0) != -1 || fchmod(fd, 0666) != -1 || fchown(fd, 65534, 65534) != -1) {
      return 6;
    }
    if (mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED) return 7;
    // Nor a way to what lies beside it.
    if (openat(fd, "..", O_RDONLY) != -1) return 8;
  }
  return 0;
}

TEST_F(CgroupsTest, statisticsGiveAnUnprivilegedHolderNothingButReading) {
  auto container = make();
  auto statistics = container->openStatistics();
  pid_t pid = fork();
  if (pid == 0) _exit(attackStatistics(statistics));
  EXPECT_EQ(finish(pid), 0);
}

TEST_F(CgroupsTest, openStatisticsDoNotKeepACgroup) {
  auto container = make();
  auto statistics = container->openStatistics();
  EXPECT_TRUE(container->tryRemove());
  for (auto& statistic : statistics) {
    if (statistic.kind == Kind::MEMORY_EVENT_V1) continue;
    EXPECT_EQ(readAt0(statistic.file), "error ENODEV");
  }
}

}  // namespace
}  // namespace warden::privhelper
