#include "privhelper/sweeper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <memory>

#include "base/privilege.h"
#include "privhelper/filters.h"

namespace warden::privhelper {

namespace {

constexpr int RETRY_MS = 10000;

constexpr int CAPABILITIES[] = {
    CAP_DAC_OVERRIDE,  // the trees belong to the ids of containers
    CAP_FOWNER,        // sticky directories
};

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

Directory openList(int parent, const char* name) {
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR* list = fd < 0 ? nullptr : fdopendir(fd);
  if (fd >= 0 && list == nullptr) close(fd);
  return Directory(list, closedir);
}

bool isDots(const char* name) {
  return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

void moveUp(int from, const char* name, int top) {
  static uint64_t counter = 0;
  // Names of earlier sweeps may still stand.
  for (;;) {
    auto unique = kj::str("t", counter++);
    if (renameat2(from, name, top, unique.cStr(), RENAME_NOREPLACE) == 0 || errno != EEXIST) return;
  }
}

void emptyDirectory(DIR* list, int top) {
  int fd = dirfd(list);
  while (dirent* entry = readdir(list)) {
    if (isDots(entry->d_name)) continue;
    // An empty directory goes at once; another is moved up.
    if (unlinkat(fd, entry->d_name, 0) == 0) continue;
    if (unlinkat(fd, entry->d_name, AT_REMOVEDIR) == 0) continue;
    moveUp(fd, entry->d_name, top);
  }
}

bool sweepOnce(int directory) {
  // True when something was there, and so perhaps something new has been moved up.
  bool progress = false;
  Directory list = openList(directory, ".");
  if (list == nullptr) return false;
  while (dirent* entry = readdir(list.get())) {
    if (isDots(entry->d_name)) continue;
    if (unlinkat(directory, entry->d_name, 0) == 0 ||
        unlinkat(directory, entry->d_name, AT_REMOVEDIR) == 0) {
      progress = true;
      continue;
    }
    Directory tree = openList(directory, entry->d_name);
    if (tree == nullptr) continue;
    emptyDirectory(tree.get(), directory);
    if (unlinkat(directory, entry->d_name, AT_REMOVEDIR) == 0) progress = true;
  }
  return progress;
}

}  // namespace

void sweep(int directory) {
  while (sweepOnce(directory)) {
  }
}

void runSweeper(Fd wake) {
  sigset_t all;
  sigfillset(&all);
  KJ_SYSCALL(sigprocmask(SIG_SETMASK, &all, nullptr));
  prctl(PR_SET_NAME, "warden-sweeper");
  limitCapabilities(CAPABILITIES);
  setNoNewPrivileges();
  sweeperFilter().install();

  int raw;
  KJ_SYSCALL(raw = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Fd root(raw);
  for (;;) {
    sweep(root);
    pollfd p{wake, POLLIN, 0};
    if (poll(&p, 1, RETRY_MS) <= 0) continue;
    char bytes[256];
    if (read(wake, bytes, sizeof(bytes)) == 0) break;
  }
  sweep(root);
  _exit(0);
}

}  // namespace warden::privhelper
