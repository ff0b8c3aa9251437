#include "base/service-manager.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/unix-address.h"

namespace warden {

namespace {

constexpr int FIRST_PASSED = 3;  // SD_LISTEN_FDS_START

long numberFrom(const char* variable) {
  // -1: none.
  const char* text = getenv(variable);
  if (text == nullptr || *text == 0) return -1;
  char* end;
  errno = 0;
  long number = strtol(text, &end, 10);
  return errno == 0 && *end == 0 ? number : -1;
}

std::string takeName(const char*& names) {
  size_t length = strcspn(names, ":");
  std::string name(names, length);
  names += length;
  if (*names == ':') ++names;
  return name;
}

}  // namespace

kj::Vector<PassedDescriptor> takePassedDescriptors() {
  kj::Vector<PassedDescriptor> passed;
  if (numberFrom("LISTEN_PID") != getpid()) return passed;
  const char* names = getenv("LISTEN_FDNAMES");
  if (names == nullptr) names = "";
  long count = numberFrom("LISTEN_FDS");
  for (long i = 0; i < count; ++i) {
    int fd = FIRST_PASSED + i;
    KJ_SYSCALL(fcntl(fd, F_SETFD, FD_CLOEXEC), fd);
    passed.add(PassedDescriptor{takeName(names), Fd(fd)});
  }
  return passed;
}

kj::Maybe<Fd> takeNamed(kj::Vector<PassedDescriptor>& passed, kj::StringPtr name) {
  for (auto& entry : passed) {
    if (entry.fd != nullptr && entry.name == name.cStr()) return kj::mv(entry.fd);
  }
  return nullptr;
}

ServiceManager ServiceManager::fromEnvironment() {
  ServiceManager manager;
  const char* path = getenv("NOTIFY_SOCKET");
  if (path == nullptr || *path == 0) return manager;
  UnixAddress address = UnixAddress::notify(path);
  int raw;
  KJ_SYSCALL(raw = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  manager.socket = Fd(raw);
  KJ_SYSCALL(connect(raw, address.get(), address.size()), path);
  return manager;
}

void ServiceManager::store(kj::StringPtr name, int fd) const {
  // FDPOLL=0: a pidfd is readable when its process has ended, and would be dropped just when a
  // number could be another's.
  tell(kj::str("FDSTORE=1\nFDPOLL=0\nFDNAME=", name), fd);
}

void ServiceManager::forget(kj::StringPtr name) const {
  tell(kj::str("FDSTOREREMOVE=1\nFDNAME=", name));
}

void ServiceManager::tell(kj::StringPtr state, kj::Maybe<int> fd) const {
  if (socket.get() < 0) return;
  iovec vector{const_cast<char*>(state.begin()), state.size()};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  KJ_IF_MAYBE (carried, fd) {
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    cmsghdr* message = CMSG_FIRSTHDR(&header);
    message->cmsg_level = SOL_SOCKET;
    message->cmsg_type = SCM_RIGHTS;
    message->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(message), carried, sizeof(int));
  }
  while (sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EINTR) {
  }
}

}  // namespace warden
