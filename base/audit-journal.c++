#include "base/audit-journal.h"

#include <errno.h>
#include <kj/debug.h>
#include <sys/socket.h>

#include "base/unix-address.h"

namespace warden {

AuditJournal::AuditJournal(kj::StringPtr socketPath) {
  UnixAddress address({socketPath.begin(), socketPath.size()});
  int raw;
  KJ_SYSCALL(raw = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  socket = Fd(raw);
  KJ_SYSCALL(connect(socket, address.get(), address.size()), socketPath);
}

bool AuditJournal::send(const std::string& line, uint64_t seq, const std::string& hash) {
  // No value holds a newline, so each field is one line.
  std::string entry = "MESSAGE=" + line + "\nPRIORITY=5\nSYSLOG_IDENTIFIER=warden-audit\n" +
                      "WARDEN_SEQ=" + std::to_string(seq) + "\nWARDEN_SHA256=" + hash + "\n";
  iovec vector{entry.data(), entry.size()};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  ssize_t n;
  do {
    // Not send(2), which is another system call to a filter.
    n = sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(entry.size());
}

}  // namespace warden
