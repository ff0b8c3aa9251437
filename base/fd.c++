#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <kj/vector.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/packet.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#define MFD_EXEC 0x0010U
#endif

namespace warden {

Fd duplicate(int fd) {
  int copy;
  KJ_SYSCALL(copy = fcntl(fd, F_DUPFD_CLOEXEC, 3), fd);
  return Fd(copy);
}

void setNonblocking(int fd, bool nonblocking) {
  int flags;
  KJ_SYSCALL(flags = fcntl(fd, F_GETFL));
  KJ_SYSCALL(fcntl(fd, F_SETFL, nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

void closeAllExcept(kj::ArrayPtr<const int> keep) {
  std::vector<int> sorted(keep.begin(), keep.end());
  std::sort(sorted.begin(), sorted.end());
  unsigned first = STDERR_FILENO + 1;
  for (int fd : sorted) {
    unsigned kept = fd;
    if (kept < first) continue;
    if (kept > first) {
      KJ_SYSCALL(close_range(first, kept - 1, 0));
    }
    first = kept + 1;
  }
  KJ_SYSCALL(close_range(first, ~0u, 0));
}

Pipe makePipe() {
  int fds[2];
  KJ_SYSCALL(pipe2(fds, O_CLOEXEC));
  return {Fd(fds[0]), Fd(fds[1])};
}

SocketPair makePacketPair() {
  int fds[2];
  KJ_SYSCALL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds));
  SocketPair pair{Fd(fds[0]), Fd(fds[1])};
  allowLargestPacket(pair.left);
  allowLargestPacket(pair.right);
  return pair;
}

kj::Array<kj::byte> readAll(int fd, size_t limit) {
  kj::Vector<kj::byte> content;
  kj::byte buffer[16384];
  for (;;) {
    ssize_t n;
    KJ_SYSCALL(n = read(fd, buffer, sizeof(buffer)));
    if (n == 0) return content.releaseAsArray();
    KJ_REQUIRE(content.size() + n <= limit, "file is larger than allowed", limit);
    content.addAll(buffer, buffer + n);
  }
}

void discardInput(int socket) {
  kj::byte discarded[16 * 1024];
  for (int i = 0; i < 16; ++i) {
    if (recv(socket, discarded, sizeof(discarded), MSG_DONTWAIT) <= 0) break;
  }
}

void writeAll(int fd, kj::ArrayPtr<const kj::byte> data) {
  while (data.size() > 0) {
    ssize_t n;
    KJ_SYSCALL(n = write(fd, data.begin(), data.size()));
    data = data.slice(n, data.size());
  }
}

Fd makeMemfd(kj::StringPtr name, MemfdUse use) {
  // The exec flags exist since Linux 6.3; older kernels answer EINVAL and let every memfd execute.
  bool executable = use == MemfdUse::EXECUTABLE;
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int raw = memfd_create(name.cStr(), flags | (executable ? MFD_EXEC : MFD_NOEXEC_SEAL));
  if (raw < 0 && errno == EINVAL) raw = memfd_create(name.cStr(), flags);
  if (raw < 0) KJ_FAIL_SYSCALL("memfd_create", errno, name);
  return Fd(raw);
}

void fillAndSeal(int memfd, kj::ArrayPtr<const kj::byte> content) {
  writeAll(memfd, content);
  KJ_SYSCALL(lseek(memfd, 0, SEEK_SET));
  KJ_SYSCALL(fcntl(memfd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL));
}

Fd makeSealedMemfd(kj::StringPtr name, kj::ArrayPtr<const kj::byte> content, MemfdUse use) {
  Fd fd = makeMemfd(name, use);
  fillAndSeal(fd, content);
  return fd;
}

}  // namespace warden
