#include "privhelper/bind-target.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/string.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/access.h"
#include "base/fd.h"
#include "base/path.h"

namespace warden::privhelper {

namespace {

// Links of an image can lead through ten thousands of directories, and the broker serves nobody
// while a container's first process follows them. Time of the processor: what others use of it
// fails no create.
constexpr time_t MOST_CPU_SECONDS = 1;

bool hasWorkedTooLong() {
  timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return used.tv_sec >= MOST_CPU_SECONDS;
}

// The next component of a path from `at` on; empty: there is none.
std::string nextComponent(const std::string& path, size_t& at) {
  at = std::min(path.find_first_not_of('/', at), path.size());
  size_t begin = at;
  at = std::min(path.find('/', at), path.size());
  return path.substr(begin, at - begin);
}

Fd make(int parent, const char* name, bool isDirectory) {
  if (isDirectory) {
    if (mkdirat(parent, name, 0755) < 0) return nullptr;
  } else {
    Fd file(openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (file == nullptr) return nullptr;
  }
  return Fd(openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
}

// None, and then `error` says why.
Fd openOrMake(int root, const std::string& target, bool isDirectory, int& error) {
  Fd place(openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  std::string path;
  size_t at = 0;
  for (std::string name = nextComponent(target, at); !name.empty() && place != nullptr;) {
    error = ELOOP;
    if (hasWorkedTooLong()) return nullptr;
    std::string next = nextComponent(target, at);
    bool directory = !next.empty() || isDirectory;
    path += "/" + name;
    // By the whole path: for ".." and links, it matters how one came here.
    Fd found(openResolved(root, path.c_str(), directory ? O_PATH | O_DIRECTORY : O_PATH,
                          Resolve::IN_ROOT));
    if (found == nullptr && errno == ENOENT) found = make(place, name.c_str(), directory);
    error = errno;
    place = kj::mv(found);
    name = kj::mv(next);
  }
  return place;
}

// Of a file that is open, from the root of this process on; empty: it cannot be told.
std::string pathOf(int file) {
  char path[PATH_MAX];
  auto link = kj::str("/proc/self/fd/", file);
  ssize_t n = readlink(link.cStr(), path, sizeof(path));
  return n <= 0 || n == sizeof(path) ? std::string() : std::string(path, n);
}

}  // namespace

int attachBindMount(int root, int mount, const std::string& target, bool isDirectory) {
  int error = 0;
  Fd place = openOrMake(root, target, isDirectory, error);
  if (place == nullptr) return error;
  struct stat status;
  if (fstat(place, &status) < 0) return errno;
  if (S_ISDIR(status.st_mode) && !isDirectory) return EISDIR;
  std::string path = pathOf(place);
  if (path.empty() || isSystemTarget(path)) return EPERM;
  if (move_mount(mount, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) {
    return errno;
  }
  return 0;
}

}  // namespace warden::privhelper
