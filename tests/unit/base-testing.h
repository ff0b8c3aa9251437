#pragma once
// What several tests of base/ need.

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>

#include "base/fd.h"

namespace warden::test {

// Number of descriptors this process has open.
inline int openDescriptors() {
  DIR* directory = opendir("/proc/self/fd");
  int count = 0;
  while (readdir(directory) != nullptr)
    ++count;
  closedir(directory);
  return count;
}

// An O_PATH descriptor; none when it cannot be opened.
inline Fd openDirectory(const std::string& path) {
  return Fd(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

// Runs `body` in a forked child. Returns its exit status, or 128 + the signal that ended it; an
// exception is 99.
inline int inChild(const std::function<int()>& body) {
  pid_t pid = fork();
  if (pid == 0) {
    int status = 99;
    try {
      status = body();
    } catch (...) {
    }
    _exit(status);
  }
  int status;
  while (waitpid(pid, &status, 0) < 0) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// In a child: leaves with the number of the line that was not so.
#define CHILD_EXPECT(condition)                                                    \
  do {                                                                             \
    if (!(condition)) {                                                            \
      dprintf(2, "line %d: not so: %s (errno %d)\n", __LINE__, #condition, errno); \
      return 1;                                                                    \
    }                                                                              \
  } while (false)

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char pattern[] = "/tmp/warden-base-test.XXXXXX";
    path = mkdtemp(pattern);
  }
  ~TemporaryDirectory() { remove(path); }

  std::string path;

 private:
  static void remove(const std::string& path) {
    if (DIR* directory = opendir(path.c_str())) {
      while (dirent* entry = readdir(directory)) {
        std::string name = entry->d_name;
        if (name == "." || name == "..") continue;
        std::string child = path + "/" + name;
        if (entry->d_type == DT_DIR) {
          remove(child);
        } else {
          unlink(child.c_str());
        }
      }
      closedir(directory);
    }
    rmdir(path.c_str());
  }
};

}  // namespace warden::test
