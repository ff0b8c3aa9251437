#pragma once
// The fixture of tests of cgroups: real ones, below a parent of the test's own, in whatever
// hierarchies there are: version 1 and hybrid, or version 2 in the virtual machine.

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <kj/function.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <utility>

#include "privhelper/cgroups-version.h"
#include "privhelper/step.h"

namespace warden::privhelper {
namespace fs = std::filesystem;

constexpr uint64_t MIB = 1 << 20;
constexpr char MOUNT_POINT[] = "/sys/fs/cgroup";

inline std::string parentName() {
  return "warden-unit-" + std::to_string(getpid());
}

inline ContainerId idNumber(int n) {
  std::string text = "0000000000" + std::to_string(n);
  return KJ_ASSERT_NONNULL(ContainerId::parse(text.c_str()));
}

inline bool within(int ms, kj::FunctionParam<bool()> attempt) {
  for (int waited = 0; !attempt(); waited += 5) {
    if (waited >= ms) return false;
    poll(nullptr, 0, 5);
  }
  return true;
}

inline bool killAll(const Cgroups& cgroups, const ContainerId& id) {
  bool first = true;
  return within(5000, [&] { return cgroups.killOnce(id, std::exchange(first, false)); });
}

inline bool removeAll(const Cgroups& cgroups, const ContainerId& id) {
  return within(1000, [&] { return cgroups.removeOnce(id); });
}

class CgroupsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    cgroups = std::make_unique<Cgroups>(MOUNT_POINT, parentName().c_str());
  }

  void TearDown() override {
    for (pid_t pid : children) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
    for (auto& id : cgroups->stale()) {
      EXPECT_TRUE(killAll(*cgroups, id));
      EXPECT_TRUE(removeAll(*cgroups, id));
    }
    cgroups = nullptr;
    EXPECT_EQ(ourDirectories(), std::vector<std::string>());
  }

  static std::vector<std::string> ourDirectories() {
    std::vector<std::string> result;
    auto look = [&](const fs::path& root) {
      std::error_code error;
      if (fs::exists(root / parentName(), error)) result.push_back(root / parentName());
    };
    look(MOUNT_POINT);
    for (auto& entry : fs::directory_iterator(MOUNT_POINT)) {
      if (entry.is_directory()) look(entry.path());
    }
    return result;
  }

  kj::Own<ContainerCgroups> make(int number = 1, uint32_t pids = 100) {
    return kj::heap<ContainerCgroups>(*cgroups, idNumber(number), pids);
  }

  bool isVersion2(Controller controller) const {
    return KJ_ASSERT_NONNULL(cgroups->find(controller)).isVersion2();
  }

  std::string contentOf(Controller controller, const std::string& file, int number = 1) const {
    auto& hierarchy = KJ_ASSERT_NONNULL(cgroups->find(controller));
    auto name = kj::str(CONTAINER_PREFIX, idNumber(number).text());
    return CgroupDirectory(hierarchy, name, "read").read(file.c_str()).cStr();
  }

  pid_t start(ContainerCgroups& container, const std::function<int()>& body) {
    // A child that runs `body` inside of the container's cgroups: of all hierarchies, or of version
    // 1's alone.
    pid_t pid = fork();
    if (pid == 0) {
      for (auto& file : container.taskFiles()) {
        if (write(file, "0", 1) != 1) _exit(99);
      }
      KJ_IF_MAYBE (directory, container.version2Directory()) {
        if (!joinVersion2) _exit(body());
        int procs = openat(*directory, "cgroup.procs", O_WRONLY | O_CLOEXEC);
        if (write(procs, "0", 1) != 1) _exit(98);
      }
      _exit(body());
    }
    children.push_back(pid);
    return pid;
  }

  int finish(pid_t pid) {
    // Exit status, or 128 + signal.
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    std::erase(children, pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  void end(pid_t pid) {
    EXPECT_EQ(waitpid(pid, nullptr, WNOHANG), 0) << "has ended before";
    kill(pid, SIGKILL);
    finish(pid);
  }

  int run(ContainerCgroups& container, const std::function<int()>& body) {
    return finish(start(container, body));
  }

  static int errorOf(const std::function<void()>& call) {
    try {
      call();
    } catch (const StepError& e) {
      return e.error();
    }
    return 0;
  }

  std::unique_ptr<Cgroups> cgroups;
  std::vector<pid_t> children;
  bool joinVersion2 = true;
};

inline int touchMemory(uint64_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) return 1;
  memset(memory, 1, bytes);
  return 0;
}

}  // namespace warden::privhelper
