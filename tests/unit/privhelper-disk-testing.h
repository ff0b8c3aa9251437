#pragma once
// What the tests of the disk backends share: each backend on a real file system, and ways to use it
// up.

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include "privhelper/disk.h"
#include "privhelper/step.h"
#include "privhelper/sweeper.h"

namespace warden::privhelper {
namespace fs = std::filesystem;

constexpr uint64_t MIB = 1 << 20;
constexpr uid_t VCAP = 20000;

inline Config configOf(const std::string& depot) {
  Config config;
  config.server.containerDepotPath = depot;
  config.privhelper.idRangeStart = 0x50000000;
  config.user.poolSize = 16;
  return config;
}

inline Fd openDir(const fs::path& path) {
  int fd;
  KJ_SYSCALL(fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), path.c_str());
  return Fd(fd);
}

inline int run(std::vector<std::string> arguments) {
  std::vector<char*> argv;
  for (auto& argument : arguments)
    argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t pid;
  if (posix_spawnp(&pid, argv[0], nullptr, nullptr, argv.data(), environ) != 0) return 127;
  int status;
  KJ_SYSCALL(waitpid(pid, &status, 0));
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

inline int inChild(uid_t uid, const std::function<int()>& body) {
  // Runs as this user, without any capability unless it is root; answers a small number.
  pid_t pid = fork();
  if (pid == 0) {
    if (uid != 0 && (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)) _exit(255);
    _exit(body());
  }
  int status;
  KJ_SYSCALL(waitpid(pid, &status, 0));
  return WIFEXITED(status) ? WEXITSTATUS(status) : 254;
}

constexpr uid_t CONTAINER_ROOT = 0x50000000;

inline int inUserNamespace(const std::function<int()>& body) {
  // As a container's root: all capabilities, but in a user namespace of its own.
  Pipe born = makePipe();
  Pipe mapped = makePipe();
  pid_t pid = fork();
  char byte = 0;
  if (pid == 0) {
    if (unshare(CLONE_NEWUSER) < 0 || write(born.writeEnd, &byte, 1) != 1 ||
        read(mapped.readEnd, &byte, 1) != 1 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0) {
      _exit(255);
    }
    _exit(body());
  }
  KJ_ASSERT(read(born.readEnd, &byte, 1) == 1);
  for (const char* file : {"uid_map", "gid_map"}) {
    std::ofstream("/proc/" + std::to_string(pid) + "/" + file)
        << "0 " << CONTAINER_ROOT << " 65536";
  }
  KJ_ASSERT(write(mapped.writeEnd, &byte, 1) == 1);
  int status;
  KJ_SYSCALL(waitpid(pid, &status, 0));
  return WIFEXITED(status) ? WEXITSTATUS(status) : 254;
}

struct Written {
  uint64_t bytes;
  int error;  // of the write that failed; 0: none
};

inline Written writeFile(int directory, const std::string& name, uint64_t bytes) {
  // Until all is on the disk, or the first failure.
  int raw = openat(directory, name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (raw < 0) return {0, errno};
  Fd file(raw);
  static char data[64 * 1024];
  for (size_t i = 0; i < sizeof(data); ++i)
    data[i] = static_cast<char>(i * 2654435761u >> 13);
  Written written{0, 0};
  while (written.bytes < bytes) {
    ssize_t n = write(file, data, std::min<uint64_t>(sizeof(data), bytes - written.bytes));
    if (n < 0) {
      written.error = errno;
      break;
    }
    written.bytes += n;
  }
  if (written.error == 0 && fsync(file) < 0) written.error = errno;
  return written;
}

inline uint64_t makeFiles(int directory, const std::string& prefix, uint64_t count, int& error) {
  error = 0;
  for (uint64_t i = 0; i < count; ++i) {
    int fd = openat(directory, (prefix + std::to_string(i)).c_str(), O_WRONLY | O_CREAT, 0666);
    if (fd < 0) {
      error = errno;
      return i;
    }
    close(fd);
  }
  return count;
}

inline void setLimits(ContainerDisk& disk, const DiskLimits& limits) {
  disk.setLimits(limits);
  while (!disk.settle()) {
  }
}

struct Kind {
  const char* label;
  const char* backend;
  int pastLimit;  // errno of what goes beyond
  bool inodes;
  kj::Own<DiskBackend> (*open)(const Config& config, int depot);
};

inline kj::Own<DiskBackend> openLoop(const Config&, int depot) {
  return makeLoopBackend(depot);
}

inline kj::Own<DiskBackend> openBtrfs(const Config&, int depot) {
  auto backend = tryBtrfsBackend(depot);
  return kj::mv(KJ_ASSERT_NONNULL(backend));
}

inline kj::Own<DiskBackend> openProject(const Config& config, int depot) {
  auto backend = tryProjectBackend(config, depot);
  return kj::mv(KJ_ASSERT_NONNULL(backend));
}

constexpr Kind LOOP{"loop", "loop", ENOSPC, true, openLoop};
constexpr Kind BTRFS{"btrfs", "btrfs", EDQUOT, false, openBtrfs};
constexpr Kind PROJECT{"project", "project", EDQUOT, true, openProject};
// xfs answers ENOSPC for project quotas (xfs_trans_dqresv).
constexpr Kind XFS{"xfs", "project", ENOSPC, true, openProject};

class DiskTest : public testing::TestWithParam<Kind> {
 protected:
  fs::path base;
  fs::path depot;
  Config config;
  kj::Maybe<kj::Own<DiskBackend>> backend;
  Fd depotFd;
  bool mounted = false;

  ~DiskTest() noexcept override {}

  void SetUp() override {
    ASSERT_EQ(geteuid(), 0u) << "needs root";
    // What is mounted here is nobody else's business.
    KJ_SYSCALL(unshare(CLONE_NEWNS));
    KJ_SYSCALL(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr));
    const char* chosen = getenv("WARDEN_TEST_DIR");
    std::string pattern =
        std::string(chosen == nullptr ? "/var/tmp" : chosen) + "/warden-disk-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    base = pattern;
    fs::permissions(base, fs::perms(0755));
    depot = base / "depot";
    fs::create_directory(depot);
    if (GetParam().open == openBtrfs) prepareBtrfs();
    if (isXfs()) prepareXfs();
    if (IsSkipped()) return;
    depotFd = openDir(depot);
    config = configOf(depot);
    if (GetParam().open == openProject && tryProjectBackend(config, depotFd) == nullptr) {
      GTEST_SKIP() << "no project quotas in the file system of " << base;
    }
    backend = GetParam().open(config, depotFd);
  }

  void TearDown() override {
    backend = nullptr;
    depotFd = nullptr;
    if (mounted) umount2(depot.c_str(), MNT_DETACH);
    if (!base.empty()) fs::remove_all(base);
  }

  static bool isXfs() { return GetParam().label == std::string("xfs"); }

  void prepareXfs() {
    fs::path image = base / "xfs.img";
    std::ofstream(image).close();
    fs::resize_file(image, 512 * MIB);
    if (run({"mkfs.xfs", "-q", image}) != 0) GTEST_SKIP() << "no mkfs.xfs";
    if (run({"mount", "-o", "loop,prjquota", image, depot}) != 0) {
      GTEST_SKIP() << "this kernel has no xfs with quotas";
    }
    mounted = true;
  }

  void prepareBtrfs() {
    fs::path image = base / "btrfs.img";
    std::ofstream(image).close();
    fs::resize_file(image, 512 * MIB);
    if (run({"mkfs.btrfs", "-q", image}) != 0) GTEST_SKIP() << "no mkfs.btrfs";
    ASSERT_EQ(run({"mount", "-o", "loop", image, depot}), 0);
    mounted = true;
  }

  DiskBackend& disks() { return *KJ_ASSERT_NONNULL(backend); }

  struct Disk {
    Fd directory;
    kj::Own<ContainerDisk> disk;
    Fd layer;
  };

  Disk make(const std::string& id, uint32_t slot = 0) {
    fs::create_directory(depot / id);
    Disk d;
    d.directory = openDir(depot / id);
    d.disk = disks().make(slot, d.directory);
    KJ_SYSCALL(mkdirat(d.disk->directory(), "rootfs", 0777));
    int layer;
    KJ_SYSCALL(layer = openat(d.disk->directory(), "rootfs", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    d.layer = Fd(layer);
    KJ_SYSCALL(fchmod(layer, 0777));
    return d;
  }

  void remove(const std::string& id) {
    // As the depot does: what the sweeper could not remove first.
    {
      Fd directory = openDir(depot / id);
      EXPECT_TRUE(disks().release(directory));
    }
    fs::create_directory(base / "removed");
    fs::path place = mounted ? depot / ".removed" : base / "removed";
    fs::create_directory(place);
    fs::rename(depot / id, place / id);
    Fd removed = openDir(place);
    sweep(removed);
    EXPECT_TRUE(fs::is_empty(place));
  }

  bool soon(const std::function<bool()>& condition) {
    // What was removed: xfs gives it back in the background (xfs_inodegc_queue), the others at
    // once.
    for (int i = 0; isXfs() && i < 250 && !condition(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return condition();
  }

  std::string remains() {
    // What containers left: devices, mounts, subvolumes, qgroups, files.
    std::string found;
    for (const auto& device : fs::directory_iterator("/sys/block")) {
      std::ifstream file(device.path() / "loop" / "backing_file");
      std::string backing;
      std::getline(file, backing);
      if (backing.find(depot) != std::string::npos) found += "loop device of " + backing + "\n";
    }
    std::ifstream mounts("/proc/self/mountinfo");
    for (std::string line; std::getline(mounts, line);) {
      if (line.find(depot.string() + "/") != std::string::npos) found += "mount " + line + "\n";
    }
    for (const auto& entry : fs::directory_iterator(depot)) {
      if (entry.path().filename() != ".removed") found += "file " + entry.path().string() + "\n";
    }
    return found;
  }
};

class Overlay {
  // As a container's root file system, over an empty image.
 public:
  Overlay(const ContainerDisk& disk, const fs::path& base) : place(base / "merged") {
    fs::create_directories(base / "image");
    fs::create_directories(place);
    KJ_SYSCALL(mkdirat(disk.directory(), "work", 0755));
    for (const char* name : {"work", "rootfs"}) {
      KJ_SYSCALL(fchownat(disk.directory(), name, CONTAINER_ROOT, CONTAINER_ROOT, 0));
    }
    auto at = "/proc/self/fd/" + std::to_string(disk.directory());
    auto options = "lowerdir=" + (base / "image").string() + ",upperdir=" + at +
                   "/rootfs,workdir=" + at + "/work";
    KJ_SYSCALL(mount("overlay", place.c_str(), "overlay", 0, options.c_str()));
    root = openDir(place);
  }
  ~Overlay() noexcept(false) {
    root = nullptr;
    umount2(place.c_str(), MNT_DETACH);
  }
  int fd() const { return root; }

 private:
  fs::path place;
  Fd root;
};

}  // namespace warden::privhelper
