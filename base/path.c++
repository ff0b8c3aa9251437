#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace warden {

namespace {

constexpr uint64_t BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
constexpr uint64_t IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;

int openat2(int directory, const char* path, int flags, mode_t mode, uint64_t resolve) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.mode = mode;
  how.resolve = resolve;
  int fd;
  do {
    // EAGAIN: a rename or mount raced with the resolution of "..", and the kernel asks to try
    // again.
    fd = syscall(SYS_openat2, directory, path, &how, sizeof(how));
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  return fd;
}

}  // namespace

Fd openBeneath(int directory, kj::StringPtr path, int flags, mode_t mode) {
  int fd = openat2(directory, path.cStr(), flags, mode, BENEATH);
  if (fd < 0) KJ_FAIL_SYSCALL("openat2", errno, path);
  return Fd(fd);
}

Fd openInRoot(int root, kj::StringPtr path, int flags) {
  int fd = openat2(root, path.cStr(), flags, 0, IN_ROOT);
  if (fd < 0) KJ_FAIL_SYSCALL("openat2", errno, path);
  return Fd(fd);
}

kj::Maybe<Fd> tryOpenInRoot(int root, kj::StringPtr path, int flags) {
  int fd = openat2(root, path.cStr(), flags, 0, IN_ROOT);
  if (fd >= 0) return Fd(fd);
  int error = errno;
  if (error == ENOENT || error == ENOTDIR || error == ELOOP) return nullptr;
  KJ_FAIL_SYSCALL("openat2", error, path);
}

}  // namespace warden
