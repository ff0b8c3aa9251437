#include "privhelper/observer.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/privilege.h"
#include "privhelper/filters.h"

namespace warden::privhelper {

namespace {

constexpr int CAPABILITIES[] = {CAP_SYS_PTRACE};  // links of the processes of all users

// Longer names of programs are cut: PATH_MAX of them for each client would be too much to keep.
constexpr size_t LONGEST_NAME = 1024;
constexpr int ANSWER_TIMEOUT_MS = 5000;

// Over a pair of SOCK_SEQPACKET sockets: a number; and the answer behind one byte, for an empty
// packet would be taken for the end.
constexpr char ANSWER = 'a';

}  // namespace

void runObserver(Fd requests) {
  sigset_t all;
  sigfillset(&all);
  KJ_SYSCALL(sigprocmask(SIG_SETMASK, &all, nullptr));
  prctl(PR_SET_NAME, "warden-observer");
  int raw;
  KJ_SYSCALL(raw = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  Fd proc(raw);
  limitCapabilities(CAPABILITIES);
  setNoNewPrivileges();
  observerFilter().install();

  int32_t pid;
  while (read(requests, &pid, sizeof(pid)) == sizeof(pid)) {
    char answer[1 + LONGEST_NAME] = {ANSWER};
    ssize_t n = readlinkat(proc, kj::str(pid, "/exe").cStr(), answer + 1, LONGEST_NAME);
    if (write(requests, answer, 1 + kj::max(n, ssize_t(0))) < 0) break;
  }
  _exit(0);
}

std::string Observer::executableOf(pid_t pid) {
  // An answer that comes late would be taken for the next one's.
  KJ_ON_SCOPE_FAILURE(connection = nullptr);
  int32_t number = pid;
  KJ_REQUIRE(connection.get() >= 0 && write(connection, &number, sizeof(number)) == sizeof(number),
             "the observer has died");
  pollfd p{connection, POLLIN, 0};
  int n;
  KJ_SYSCALL(n = poll(&p, 1, ANSWER_TIMEOUT_MS));
  char answer[1 + LONGEST_NAME];
  ssize_t size = n == 1 ? read(connection, answer, sizeof(answer)) : -1;
  KJ_REQUIRE(size > 0 && answer[0] == ANSWER, "the observer does not answer");
  return std::string(answer + 1, size - 1);
}

}  // namespace warden::privhelper
