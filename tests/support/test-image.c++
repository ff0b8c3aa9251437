#include "tests/support/test-image.h"

#include <fcntl.h>
#include <kj/debug.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <sstream>
#include <vector>

#include "base/fd.h"
#include "tests/support/process.h"

namespace warden::test {

namespace fs = std::filesystem;

namespace {

constexpr char CACHE[] = "/var/cache/warden-test";
constexpr char TOOL[] = WARDEN_SOURCE_DIR "/rootfs-tools/warden-rootfs";

// Tests of several trees may run on one machine: whoever holds the lock makes the image.
Fd lockCache() {
  fs::create_directories(CACHE);
  int raw;
  KJ_SYSCALL(raw =
                 open((std::string(CACHE) + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  Fd fd(raw);
  KJ_SYSCALL(flock(fd, LOCK_EX));
  return fd;
}

std::string makeOnce(const std::string& kind, const std::string& name,
                     std::chrono::seconds timeout) {
  Fd lock = lockCache();
  std::string image = std::string(CACHE) + "/" + name;
  if (fs::exists(image)) return image;
  std::string unfinished = image + ".unfinished";
  fs::remove_all(unfinished);
  auto result = runProgram({TOOL, kind, unfinished}, timeout);
  KJ_REQUIRE(result.exitStatus == 0, "warden-rootfs failed", kind.c_str(), result.exitStatus,
             result.err.c_str());
  fs::rename(unfinished, image);
  return image;
}

}  // namespace

std::string busyboxImage() {
  // The name changes with what the image is made from.
  static const std::string image =
      makeOnce("busybox",
               "busybox-" + std::to_string(std::hash<std::string>()(readFile(TOOL)) ^
                                           std::hash<std::string>()(readFile("/bin/busybox"))),
               std::chrono::seconds(60));
  return image;
}

std::string bashImage() {
  constexpr char BASH[] = "/bin/bash-static";
  std::string base = busyboxImage();
  std::string image = base + "-bash";
  Fd lock = lockCache();
  if (fs::exists(image)) return image;
  std::string unfinished = image + ".unfinished";
  fs::remove_all(unfinished);
  copyTree(base, unfinished);
  KJ_REQUIRE(fs::exists(BASH), "the package bash-static is not installed");
  fs::copy_file(BASH, unfinished + "/bin/bash");
  fs::rename(unfinished, image);
  return image;
}

std::string debianImage() {
  return makeOnce("debian", "debian-bookworm", std::chrono::seconds(900));
}

void copyTree(const std::string& from, const std::string& to) {
  auto result = runProgram({"/bin/cp", "-a", "--", from, to});
  KJ_REQUIRE(result.exitStatus == 0, "cp failed", result.err.c_str());
}

std::string describeTree(const std::string& root) {
  std::vector<std::string> lines;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    std::string path = entry.path();
    struct stat s;
    KJ_SYSCALL(lstat(path.c_str(), &s), path.c_str());
    std::ostringstream line;
    line << path.substr(root.size()) << " " << std::oct << s.st_mode << std::dec << " " << s.st_uid
         << ":" << s.st_gid << " " << s.st_size << " " << s.st_mtim.tv_sec << "."
         << s.st_mtim.tv_nsec << " " << s.st_ctim.tv_sec << "." << s.st_ctim.tv_nsec;
    if (S_ISLNK(s.st_mode)) line << " -> " << fs::read_symlink(path).string();
    if (S_ISREG(s.st_mode)) line << " #" << std::hash<std::string>()(readFile(path));
    lines.push_back(line.str());
  }
  std::sort(lines.begin(), lines.end());
  std::ostringstream all;
  for (const auto& line : lines)
    all << line << "\n";
  return all.str();
}

}  // namespace warden::test
