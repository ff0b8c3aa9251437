#include "tests/support/depot.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "base/fd.h"
#include "tests/support/process.h"
#include "tests/support/test-server.h"

namespace warden::test {

namespace fs = std::filesystem;

namespace {

void enterPrivateMounts() {
  static const bool entered = [] {
    KJ_SYSCALL(unshare(CLONE_NEWNS));
    KJ_SYSCALL(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr));
    return true;
  }();
  (void)entered;
}

bool succeeds(const std::vector<std::string>& arguments) {
  return runProgram(arguments).exitStatus == 0;
}

void expectSuccess(const std::vector<std::string>& arguments) {
  auto result = runProgram(arguments);
  KJ_REQUIRE(result.exitStatus == 0, arguments[0].c_str(), result.err.c_str());
}

struct MountEntry {
  std::string target, type, options;
};

// proc(5), mountinfo: the longest mount point that `path` is below; of several, the last.
MountEntry mountOf(const std::string& path) {
  MountEntry best;
  for (const auto& line : splitLines(readFile("/proc/self/mountinfo"))) {
    std::istringstream fields(line);
    std::string skip, target, word;
    fields >> skip >> skip >> skip >> skip >> target;
    while (fields >> word && word != "-") {
    }
    MountEntry entry{target, "", ""};
    fields >> entry.type >> skip >> entry.options;
    bool above = target == "/" || path == target || path.rfind(target + "/", 0) == 0;
    if (above && target.size() >= best.target.size()) best = entry;
  }
  return best;
}

}  // namespace

Filler::Filler(const std::string& directory) : path(directory + "/.filler") {
  int raw;
  KJ_SYSCALL(raw = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600), path.c_str());
  Fd file(raw);
  // In smaller and smaller steps, down to what the file system keeps for itself.
  off_t at = 0;
  for (off_t step = 256 << 20; step >= 4096; step /= 2) {
    while (fallocate(file, 0, at, step) == 0)
      at += step;
    KJ_REQUIRE(errno == ENOSPC, strerror(errno));
  }
}

Filler::~Filler() noexcept(false) {
  KJ_SYSCALL(unlink(path.c_str()), path.c_str());
}

DepotFileSystem::DepotFileSystem(const std::string& type, uint64_t bytes) {
  enterPrivateMounts();
  std::string pattern =
      testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-" + type + "-XXXXXX";
  KJ_REQUIRE(mkdtemp(pattern.data()) != nullptr, strerror(errno));
  directory = pattern;
  std::string image = directory + "/image";
  std::string target = directory + "/mounted";
  fs::permissions(directory, fs::perms(0755));
  fs::create_directory(target);
  {
    int raw;
    KJ_SYSCALL(raw = open(image.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    Fd fd(raw);
    KJ_SYSCALL(ftruncate(fd, bytes));  // sparse
  }
  expectSuccess({"/sbin/mkfs." + type, type == "ext4" ? "-qF" : "-qf", image});
  if (type != "xfs" ||
      !succeeds({"/bin/mount", "-t", type, "-o", "loop,prjquota", image, target})) {
    expectSuccess({"/bin/mount", "-t", type, "-o", "loop", image, target});
  }
  fs::permissions(target, fs::perms(0755));
  KJ_SYSCALL(setenv("WARDEN_TEST_DIR", target.c_str(), 1));
}

DepotFileSystem::~DepotFileSystem() noexcept(false) {
  unsetenv("WARDEN_TEST_DIR");
  std::string target = directory + "/mounted";
  // The end of a namespace that holds it is only near when its last process has ended.
  bool unmounted = waitUntil([&]() { return umount2(target.c_str(), 0) == 0; });
  KJ_REQUIRE(unmounted, "the depot's file system is still busy", strerror(errno));
  fs::remove_all(directory);
}

SmallDepot::SmallDepot(const std::string& directory, uint64_t bytes) : directory(directory) {
  enterPrivateMounts();
  auto options = "mode=0755,size=" + std::to_string(bytes);
  KJ_SYSCALL(mount("tmpfs", directory.c_str(), "tmpfs", 0, options.c_str()), directory.c_str());
}

SmallDepot::~SmallDepot() noexcept(false) {
  filler.reset();
  bool unmounted = waitUntil([&]() { return umount2(directory.c_str(), 0) == 0; });
  KJ_REQUIRE(unmounted, "the depot is still busy", strerror(errno));
}

bool SmallDepot::setReadOnly(bool readOnly) {
  unsigned long flags = MS_REMOUNT | (readOnly ? MS_RDONLY : 0);
  if (mount(nullptr, directory.c_str(), nullptr, flags, nullptr) == 0) return true;
  KJ_REQUIRE(errno == EBUSY, strerror(errno));
  return false;
}

DepotFacts depotFacts() {
  MountEntry mount = mountOf(fs::canonical(testDirectory()));
  if (mount.type == "btrfs") return {"btrfs", false, false, 1, "Disk quota exceeded"};
  bool project = (mount.type == "ext4" || mount.type == "xfs") &&
                 (mount.options.find("prjquota") != std::string::npos ||
                  mount.options.find("pquota") != std::string::npos);
  // xfs counts blocks of 4 KiB, and answers ENOSPC for project quotas.
  if (project && mount.type == "xfs") return {"project", true, true, 4, "No space left on device"};
  if (project) return {"project", true, true, 1, "Disk quota exceeded"};
  // A file system in a file has blocks of 4 KiB.
  return {"loop", true, false, 4, "No space left on device"};
}

}  // namespace warden::test
