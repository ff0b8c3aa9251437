#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace warden {

namespace {

uint64_t flagsOf(Resolve resolve) {
  switch (resolve) {
    case Resolve::NO_LINKS:
      return RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    case Resolve::BENEATH:
      return RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    case Resolve::BENEATH_PLAIN:
      return RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    case Resolve::IN_ROOT:
      return RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  }
  return ~uint64_t(0);
}

}  // namespace

int openResolved(int directory, const char* path, int flags, Resolve resolve,
                 mode_t mode) noexcept {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.mode = mode;
  how.resolve = flagsOf(resolve);
  int fd;
  do {
    // EAGAIN: a rename or mount raced with the resolution of "..", and the kernel asks to try
    // again.
    fd = syscall(SYS_openat2, directory, path, &how, sizeof(how));
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  return fd;
}

Fd openBeneath(int directory, kj::StringPtr path, int flags, mode_t mode) {
  int fd = openResolved(directory, path.cStr(), flags, Resolve::BENEATH_PLAIN, mode);
  if (fd < 0) KJ_FAIL_SYSCALL("openat2", errno, path);
  return Fd(fd);
}

Fd openInRoot(int root, kj::StringPtr path, int flags) {
  int fd = openResolved(root, path.cStr(), flags, Resolve::IN_ROOT);
  if (fd < 0) KJ_FAIL_SYSCALL("openat2", errno, path);
  return Fd(fd);
}

kj::Maybe<Fd> tryOpenInRoot(int root, kj::StringPtr path, int flags) {
  int fd = openResolved(root, path.cStr(), flags, Resolve::IN_ROOT);
  if (fd >= 0) return Fd(fd);
  int error = errno;
  if (error == ENOENT || error == ENOTDIR || error == ELOOP) return nullptr;
  KJ_FAIL_SYSCALL("openat2", error, path);
}

size_t countComponents(const std::string& path) {
  size_t count = 0;
  for (size_t i = 0; i < path.size(); ++i)
    if (path[i] != '/' && (i == 0 || path[i - 1] == '/')) ++count;
  return count;
}

}  // namespace warden
