#include "tests/support/mount-namespace.h"

#include <fcntl.h>
#include <kj/debug.h>
#include <sched.h>
#include <sys/mount.h>

#include <filesystem>
#include <thread>

#include "tests/support/process.h"

namespace warden::test {

namespace fs = std::filesystem;

namespace {

void makePlace(const fs::path& place, const std::string& directory) {
  fs::path layers = directory + "/over-" + place.parent_path().filename().string();
  for (const char* part : {"upper", "work"})
    fs::create_directories(layers / part);
  writeFile(layers / "upper" / place.filename(), "");
  std::string options = "lowerdir=" + place.parent_path().string() +
                        ",upperdir=" + (layers / "upper").string() +
                        ",workdir=" + (layers / "work").string();
  KJ_SYSCALL(mount("overlay", place.parent_path().c_str(), "overlay", 0, options.c_str()),
             place.c_str());
}

}  // namespace

Fd makeMountNamespace(const std::map<std::string, std::string>& files,
                      const std::string& directory) {
  Fd space;
  kj::Maybe<kj::Exception> failure;
  // By a thread of its own, which alone is in it.
  std::thread([&]() {
    failure = kj::runCatchingExceptions([&]() {
      KJ_SYSCALL(unshare(CLONE_FS | CLONE_NEWNS));
      KJ_SYSCALL(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr));
      for (const auto& [place, file] : files) {
        if (!fs::exists(place)) makePlace(place, directory);
        KJ_SYSCALL(mount(file.c_str(), place.c_str(), nullptr, MS_BIND, nullptr), place.c_str());
      }
      int raw;
      KJ_SYSCALL(raw = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC));
      space = Fd(raw);
    });
  }).join();
  KJ_IF_MAYBE (exception, failure) {
    kj::throwFatalException(kj::mv(*exception));
  }
  return space;
}

}  // namespace warden::test
