// Making, removing and ending of containers' cgroups, and what devices they leave open.

#include <linux/bpf.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "privhelper/cgroups-devices.h"
#include "tests/unit/privhelper-cgroups-testing.h"

namespace warden::privhelper {
namespace {

TEST_F(CgroupsTest, makesAndRemovesACgroupInEachHierarchy) {
  auto container = make();
  EXPECT_EQ(contentOf(Controller::PIDS, "pids.max"), "100");
  EXPECT_EQ(cgroups->stale().size(), cgroups->hierarchies().size());
  EXPECT_TRUE(container->tryRemove());
  EXPECT_EQ(cgroups->stale().size(), 0u);
  EXPECT_TRUE(container->tryRemove());
}

TEST_F(CgroupsTest, leavesNothingBehindWhenMakingFails) {
  auto first = make();
  EXPECT_EQ(errorOf([&] { make(); }), EEXIST);
  EXPECT_EQ(cgroups->stale().size(), cgroups->hierarchies().size());
}

// --- processes

void waitUntil(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000 && !condition(); ++i)
    poll(nullptr, 0, 1);
  EXPECT_TRUE(condition());
}

TEST_F(CgroupsTest, aForkBombEndsAtThePidsLimit) {
  auto container = make(1, 10);
  int result = run(*container, [] {
    int forked = 0;
    for (; forked < 100; ++forked) {
      pid_t pid = fork();
      if (pid < 0) break;
      if (pid == 0) {
        pause();
        _exit(0);
      }
    }
    return errno == EAGAIN ? forked : 99;
  });
  EXPECT_EQ(result, 9);
  EXPECT_TRUE(killAll(*cgroups, idNumber(1)));
}

TEST_F(CgroupsTest, removalOfABusyCgroupDoesNotWait) {
  auto container = make();
  pid_t pid = start(*container, [] { return pause(); });
  waitUntil([&] { return !contentOf(Controller::PIDS, "cgroup.procs").empty(); });
  container->closeFiles();
  for (int i = 0; i < 3; ++i) {
    timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    EXPECT_FALSE(container->tryRemove());
    clock_gettime(CLOCK_MONOTONIC, &after);
    EXPECT_LT((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000,
              100);
  }
  kill(pid, SIGKILL);
  finish(pid);
  bool removed = false;
  for (int i = 0; i < 200 && !removed; ++i) {
    removed = container->tryRemove();
    if (!removed) poll(nullptr, 0, 5);
  }
  EXPECT_TRUE(removed);
}

// Keeps forking processes that fork, so that no list of them is true for long.
[[noreturn]] void explode() {
  for (;;) {
    pid_t pid = fork();
    if (pid > 0 && getpid() % 2 == 0) _exit(0);
    if (pid < 0) sched_yield();
  }
}

TEST_F(CgroupsTest, staleForkBombIsKilled) {
  auto container = make(1, 50);
  finish(start(*container, [] {
    if (fork() == 0) explode();
    return 0;
  }));
  waitUntil([&] { return contentOf(Controller::PIDS, "pids.current").size() > 1; });
  EXPECT_TRUE(killAll(*cgroups, idNumber(1)));
  EXPECT_TRUE(removeAll(*cgroups, idNumber(1)));
}

TEST_F(CgroupsTest, staleForkBombIsKilledWithoutCgroupKill) {
  if (isVersion2(Controller::FREEZER)) GTEST_SKIP() << "version 2 has cgroup.kill";
  auto container = make(1, 50);
  joinVersion2 = false;
  finish(start(*container, [] {
    if (fork() == 0) explode();
    return 0;
  }));
  waitUntil([&] { return contentOf(Controller::PIDS, "pids.current").size() > 1; });
  EXPECT_TRUE(killAll(*cgroups, idNumber(1)));
  EXPECT_TRUE(removeAll(*cgroups, idNumber(1)));
}

TEST_F(CgroupsTest, staleContainerThatWasLeftFrozenIsKilled) {
  auto container = make();
  pid_t pid = start(*container, [] { return pause(); });
  waitUntil([&] { return !contentOf(Controller::FREEZER, "cgroup.procs").empty(); });
  auto& hierarchy = KJ_ASSERT_NONNULL(cgroups->find(Controller::FREEZER));
  auto name = kj::str(CONTAINER_PREFIX, idNumber(1).text());
  hierarchy.version->freeze(CgroupDirectory(hierarchy, name, "test"), true);
  EXPECT_TRUE(killAll(*cgroups, idNumber(1)));
  EXPECT_EQ(finish(pid), 128 + SIGKILL);
}

TEST_F(CgroupsTest, aContainerIsNotTakenForEndedWithoutADescriptorToLook) {
  auto container = make();
  pid_t pid = start(*container, [] { return pause(); });
  waitUntil([&] { return !contentOf(Controller::PIDS, "cgroup.procs").empty(); });
  rlimit own;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &own), 0);
  rlimit none{0, own.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  bool ended = cgroups->killOnce(idNumber(1), true);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &own), 0);
  EXPECT_FALSE(ended);
  end(pid);
}

TEST_F(CgroupsTest, killingOneContainerSparesTheOthers) {
  auto one = make(1);
  auto other = make(2);
  pid_t victim = start(*one, [] { return pause(); });
  pid_t neighbour = start(*other, [] { return pause(); });
  waitUntil([&] { return !contentOf(Controller::PIDS, "cgroup.procs", 1).empty(); });
  waitUntil([&] { return !contentOf(Controller::PIDS, "cgroup.procs", 2).empty(); });
  EXPECT_TRUE(killAll(*cgroups, idNumber(1)));
  EXPECT_EQ(finish(victim), 128 + SIGKILL);
  end(neighbour);
  EXPECT_TRUE(killAll(*cgroups, idNumber(3))) << "there is no such container";
}

// --- devices

class Node {
  // A device node that a container's root cannot make.

 public:
  Node(mode_t type, unsigned major, unsigned minor)
      : path("/var/tmp/warden-unit-node-" + std::to_string(getpid())) {
    unlink(path.c_str());
    if (mknod(path.c_str(), type | 0666, makedev(major, minor)) < 0) ADD_FAILURE() << "mknod";
  }
  ~Node() { unlink(path.c_str()); }

  int errorOfOpening(int flags) const {
    return open(path.c_str(), flags | O_NONBLOCK | O_NOCTTY) < 0 ? errno : 0;
  }

 private:
  std::string path;
};

struct Device {
  const char* name;
  mode_t type;
  unsigned major, minor;
};

constexpr Device ALLOWED[] = {
    {"null", S_IFCHR, 1, 3},   {"zero", S_IFCHR, 1, 5},    {"full", S_IFCHR, 1, 7},
    {"random", S_IFCHR, 1, 8}, {"urandom", S_IFCHR, 1, 9}, {"tty", S_IFCHR, 5, 0},
    {"ptmx", S_IFCHR, 5, 2},   {"pts", S_IFCHR, 136, 77},  {"fuse", S_IFCHR, 10, 229}};
constexpr Device FORBIDDEN[] = {{"mem", S_IFCHR, 1, 1},
                                {"port", S_IFCHR, 1, 4},
                                {"kmsg", S_IFCHR, 1, 11},
                                {"console", S_IFCHR, 5, 1},
                                {"tun", S_IFCHR, 10, 200},
                                {"loop-control", S_IFCHR, 10, 237},
                                {"kvm", S_IFCHR, 10, 232},
                                {"loop0", S_IFBLK, 7, 0},
                                {"vda", S_IFBLK, 254, 0},
                                {"ram", S_IFBLK, 1, 3},
                                {"tty1", S_IFCHR, 4, 1},
                                {"a block device as pts", S_IFBLK, 136, 0},
                                {"fuse's minor elsewhere", S_IFCHR, 1, 229}};

void expectPolicy(const std::function<int(const std::function<int()>&)>& inside) {
  for (auto& device : ALLOWED) {
    Node node(device.type, device.major, device.minor);
    EXPECT_NE(inside([&] { return node.errorOfOpening(O_RDWR); }), EPERM) << device.name;
  }
  for (auto& device : FORBIDDEN) {
    Node node(device.type, device.major, device.minor);
    for (int flags : {O_RDONLY, O_WRONLY, O_RDWR}) {
      EXPECT_EQ(inside([&] { return node.errorOfOpening(flags); }), EPERM)
          << device.name << " " << flags;
    }
  }
  EXPECT_EQ(inside([] {
              // Also for who may make nodes.
              auto path = "/var/tmp/warden-unit-made-" + std::to_string(getpid());
              int error = mknod(path.c_str(), S_IFCHR, makedev(10, 200)) < 0 ? errno : 0;
              unlink(path.c_str());
              return error;
            }),
            EPERM);
}

TEST_F(CgroupsTest, containersOpenTheDevicesOfTheTableAndNoOthers) {
  Node tun(S_IFCHR, 10, 200);
  EXPECT_NE(tun.errorOfOpening(O_RDWR), EPERM) << "without the policy";
  auto container = make();
  expectPolicy([&](auto& body) { return run(*container, body); });
}

TEST_F(CgroupsTest, secondStartFindsTheDevicePolicyInForce) {
  auto container = make();
  Cgroups second(MOUNT_POINT, parentName().c_str());
  EXPECT_TRUE(second.containersInheritDevices());
  ContainerCgroups more(second, idNumber(2), 100);
  expectPolicy([&](auto& body) { return run(more, body); });
  expectPolicy([&](auto& body) { return run(*container, body); });
}

TEST_F(CgroupsTest, newContainersAreRestrictedBesideStaleOnesOfAnotherPolicy) {
  auto& devices = KJ_ASSERT_NONNULL(cgroups->find(Controller::DEVICES));
  if (devices.isVersion2()) GTEST_SKIP() << "a program is replaced at any time";
  CgroupDirectory(devices, ".", "test").write("devices.allow", "c 10:200 rwm");
  auto stale = make();
  Cgroups second(MOUNT_POINT, parentName().c_str());
  EXPECT_FALSE(second.containersInheritDevices());
  ContainerCgroups fresh(second, idNumber(2), 100);
  expectPolicy([&](auto& body) { return run(fresh, body); });
}

class UnifiedCgroup {
  // For the device program alone, on hosts where version 1 restricts containers, too.

 public:
  UnifiedCgroup() {
    for (const char* root : {"/sys/fs/cgroup/unified", MOUNT_POINT}) {
      if (access((std::string(root) + "/cgroup.controllers").c_str(), F_OK) < 0) continue;
      path = std::string(root) + "/warden-unit-devices-" + std::to_string(getpid());
      KJ_SYSCALL(mkdir(path.c_str(), 0755));
      int raw;
      KJ_SYSCALL(raw = open(path.c_str(), O_DIRECTORY | O_CLOEXEC));
      directory = Fd(raw);
      return;
    }
  }
  ~UnifiedCgroup() {
    for (int i = 0; !path.empty() && rmdir(path.c_str()) < 0 && i < 200; ++i)
      poll(nullptr, 0, 5);
  }
  KJ_DISALLOW_COPY(UnifiedCgroup);

  int run(const std::function<int()>& body) const {
    pid_t pid = fork();
    if (pid == 0) {
      int procs = openat(directory, "cgroup.procs", O_WRONLY | O_CLOEXEC);
      _exit(write(procs, "0", 1) == 1 ? body() : 99);
    }
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  }

  uint32_t programs() const {
    uint32_t ids[8];
    bpf_attr query{};
    query.query.target_fd = directory.get();
    query.query.attach_type = BPF_CGROUP_DEVICE;
    query.query.prog_ids = reinterpret_cast<uint64_t>(ids);
    query.query.prog_cnt = 8;
    KJ_SYSCALL(syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof(query)));
    return query.query.prog_cnt;
  }

  Fd directory;

 private:
  std::string path;
};

TEST(DeviceProgramTest, saysTheSameAsTheTable) {
  UnifiedCgroup cgroup;
  if (cgroup.directory == nullptr) GTEST_SKIP() << "no cgroup version 2";
  attachDeviceProgram(cgroup.directory);
  expectPolicy([&](auto& body) { return cgroup.run(body); });
}

TEST(DeviceProgramTest, secondStartReplacesTheProgram) {
  UnifiedCgroup cgroup;
  if (cgroup.directory == nullptr) GTEST_SKIP() << "no cgroup version 2";
  EXPECT_EQ(cgroup.programs(), 0u);
  attachDeviceProgram(cgroup.directory);
  attachDeviceProgram(cgroup.directory);
  EXPECT_EQ(cgroup.programs(), 1u);
}

TEST(DeviceProgramTest, cgroupsBelowCannotOverrideIt) {
  UnifiedCgroup cgroup;
  if (cgroup.directory == nullptr) GTEST_SKIP() << "no cgroup version 2";
  attachDeviceProgram(cgroup.directory);
  ASSERT_EQ(mkdirat(cgroup.directory, "below", 0755), 0);
  int below = openat(cgroup.directory, "below", O_DIRECTORY | O_CLOEXEC);
  EXPECT_THROW(attachDeviceProgram(below), StepError);
  close(below);
  unlinkat(cgroup.directory, "below", AT_REMOVEDIR);
}

}  // namespace
}  // namespace warden::privhelper
