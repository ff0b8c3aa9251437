// OomWatch with the kernel's own files: a cgroup of the test's, and a process that takes more than
// it may.

#include "frontend/oom-watch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

namespace warden::frontend {
namespace {

using Kind = schema::Created::Statistics;

constexpr char V1_ROOT[] = "/sys/fs/cgroup/memory";
constexpr char V2_ROOT[] = "/sys/fs/cgroup";
constexpr size_t LIMIT = 16 << 20;

bool exists(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}

class MemoryCgroup {
  // A cgroup with a limit of LIMIT bytes; removed by the destructor.

 public:
  MemoryCgroup(const std::string& root, bool isV1)
      : path(root + "/warden-oom-watch-test-" + std::to_string(getpid())), isV1(isV1) {
    KJ_SYSCALL(mkdir(path.c_str(), 0755), path.c_str());
    write(isV1 ? "memory.limit_in_bytes" : "memory.max", std::to_string(LIMIT));
    // Without swap, so that the limit means what it says.
    const char* swap = isV1 ? "memory.memsw.limit_in_bytes" : "memory.swap.max";
    if (exists(path + "/" + swap)) write(swap, isV1 ? std::to_string(LIMIT) : "0");
  }

  ~MemoryCgroup() { remove(); }

  void remove() {
    // The kernel takes a moment to let go of a process that has ended.
    for (int i = 0; i < 100 && rmdir(path.c_str()) != 0 && errno == EBUSY; ++i)
      usleep(10000);
  }

  Fd open(const char* file, int flags = O_RDONLY) const {
    int fd;
    KJ_SYSCALL(fd = ::open((path + "/" + file).c_str(), flags | O_CLOEXEC), file);
    return Fd(fd);
  }

  void write(const char* file, const std::string& text) const {
    writeAll(open(file, O_WRONLY), kj::arrayPtr(text.data(), text.size()).asBytes());
  }

  kj::Array<StatisticsFile> watchedFiles() const {
    if (!isV1) return kj::arr(StatisticsFile{Kind::MEMORY_EVENTS_V2, open("memory.events")});
    Fd event(eventfd(0, EFD_CLOEXEC));
    Fd control = open("memory.oom_control");
    write("cgroup.event_control",
          std::to_string(event.get()) + " " + std::to_string(control.get()));
    return kj::arr(StatisticsFile{Kind::MEMORY_EVENT_V1, kj::mv(event)},
                   StatisticsFile{Kind::MEMORY_OOM_CONTROL_V1, kj::mv(control)});
  }

  int waitStatusOfProcessThatUses(size_t bytes) const {
    pid_t child = fork();
    if (child == 0) {
      Fd tasks = open(isV1 ? "tasks" : "cgroup.procs", O_WRONLY);
      if (::write(tasks, "0", 1) != 1) _exit(99);
      auto memory = static_cast<char*>(malloc(bytes));
      for (size_t i = 0; i < bytes; i += 4096)
        const_cast<volatile char*>(memory)[i] = 1;
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status;
  }

 private:
  std::string path;
  bool isV1;
};

class OomWatchTest : public ::testing::TestWithParam<int> {
 protected:
  ~OomWatchTest() noexcept override = default;

  kj::UnixEventPort port;
  kj::EventLoop loop{port};
  kj::WaitScope scope{loop};
  std::unique_ptr<MemoryCgroup> cgroup;

  void SetUp() override {
    bool isV1 = GetParam() == 1;
    if (getuid() != 0) GTEST_SKIP() << "needs root, to make a cgroup";
    if (isV1) {
      if (!exists(std::string(V1_ROOT) + "/cgroup.event_control")) {
        GTEST_SKIP() << "needs the memory controller of cgroup v1";
      }
      cgroup = std::make_unique<MemoryCgroup>(V1_ROOT, true);
    } else {
      Fd control(
          open((std::string(V2_ROOT) + "/cgroup.subtree_control").c_str(), O_WRONLY | O_CLOEXEC));
      if (control.get() < 0 || write(control, "+memory", 7) != 7) {
        GTEST_SKIP() << "needs the memory controller of cgroup v2";
      }
      cgroup = std::make_unique<MemoryCgroup>(V2_ROOT, false);
    }
  }

  bool resolvesWithin(kj::Promise<void>& promise, kj::Duration time) {
    auto deadline = port.getTimer().now() + time;
    while (!promise.poll(scope) && port.getTimer().now() < deadline) {
      port.getTimer().afterDelay(1 * kj::MILLISECONDS).wait(scope);
    }
    return promise.poll(scope);
  }
};

TEST_P(OomWatchTest, seesAKillAtTheLatestWhenTheProcessHasEnded) {
  Statistics statistics(cgroup->watchedFiles());
  OomWatch watch(port, port.getTimer(), statistics);
  EXPECT_FALSE(watch.killed());
  int status = cgroup->waitStatusOfProcessThatUses(4 * LIMIT);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  EXPECT_TRUE(watch.killed());
}

TEST_P(OomWatchTest, isToldOfAKill) {
  Statistics statistics(cgroup->watchedFiles());
  OomWatch watch(port, port.getTimer(), statistics);
  auto killed = watch.whenKilled().eagerlyEvaluate(nullptr);
  EXPECT_FALSE(resolvesWithin(killed, 20 * kj::MILLISECONDS));
  cgroup->waitStatusOfProcessThatUses(4 * LIMIT);
  EXPECT_TRUE(resolvesWithin(killed, 3 * kj::SECONDS));
}

TEST_P(OomWatchTest, keepsStillWhileTheMemorySuffices) {
  Statistics statistics(cgroup->watchedFiles());
  OomWatch watch(port, port.getTimer(), statistics);
  auto killed = watch.whenKilled().eagerlyEvaluate(nullptr);
  EXPECT_EQ(cgroup->waitStatusOfProcessThatUses(LIMIT / 4), 0);
  EXPECT_FALSE(resolvesWithin(killed, 50 * kj::MILLISECONDS));
}

TEST_P(OomWatchTest, takesARemovedCgroupForNoKill) {
  Statistics statistics(cgroup->watchedFiles());
  OomWatch watch(port, port.getTimer(), statistics);
  auto killed = watch.whenKilled().eagerlyEvaluate(nullptr);
  killed.poll(scope);
  cgroup->remove();
  EXPECT_FALSE(resolvesWithin(killed, 100 * kj::MILLISECONDS));
  EXPECT_FALSE(watch.killed());
  InfoResponse info;
  statistics.describe(info);
  EXPECT_FALSE(info.has_memory_stat());
}

TEST_P(OomWatchTest, doesNotCountWhatWasKilledBefore) {
  cgroup->waitStatusOfProcessThatUses(4 * LIMIT);
  Statistics statistics(cgroup->watchedFiles());
  OomWatch watch(port, port.getTimer(), statistics);
  EXPECT_FALSE(watch.killed());
}

INSTANTIATE_TEST_SUITE_P(Cgroup, OomWatchTest, ::testing::Values(1, 2),
                         [](const auto& info) { return "V" + std::to_string(info.param); });

}  // namespace
}  // namespace warden::frontend
