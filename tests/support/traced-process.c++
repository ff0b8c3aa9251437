#include "tests/support/traced-process.h"

#include <errno.h>
#include <kj/debug.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <thread>

namespace warden::test {

namespace {

constexpr int CALL_STOP = SIGTRAP | 0x80;  // with PTRACE_O_TRACESYSGOOD

constexpr auto BETWEEN_LOOKS = std::chrono::microseconds(50);

}  // namespace

TracedProcess::TracedProcess(pid_t pid) : pid(pid) {
  KJ_SYSCALL(ptrace(PTRACE_SEIZE, pid, nullptr, PTRACE_O_TRACESYSGOOD));
  KJ_SYSCALL(ptrace(PTRACE_INTERRUPT, pid, nullptr, nullptr));
  KJ_SYSCALL(waitpid(pid, nullptr, __WALL));
  goOn();
}

// Of what is no call, signals are passed on.
std::optional<TracedProcess::Call> TracedProcess::look(int flags) {
  for (;;) {
    int status;
    pid_t stopped;
    KJ_SYSCALL(stopped = waitpid(pid, &status, __WALL | flags));
    if (stopped == 0) return std::nullopt;
    if (!WIFSTOPPED(status)) {
      pid = 0;
      KJ_FAIL_REQUIRE("the traced process has ended", status);
    }
    if (WSTOPSIG(status) == CALL_STOP) break;
    bool isSignal = status >> 16 == 0;
    KJ_SYSCALL(ptrace(PTRACE_SYSCALL, pid, nullptr, isSignal ? WSTOPSIG(status) : 0));
  }
  __ptrace_syscall_info info{};
  KJ_SYSCALL(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info));
  bool entered = info.op == PTRACE_SYSCALL_INFO_ENTRY;
  if (entered) number = info.entry.nr;
  return Call{number, entered};
}

TracedProcess::Call TracedProcess::awaitCall() {
  return *look(0);
}

std::optional<TracedProcess::Call> TracedProcess::awaitCall(std::chrono::milliseconds within) {
  auto end = std::chrono::steady_clock::now() + within;
  for (;;) {
    auto call = look(WNOHANG);
    if (call || std::chrono::steady_clock::now() >= end) return call;
    std::this_thread::sleep_for(BETWEEN_LOOKS);
  }
}

void TracedProcess::goOn() {
  KJ_SYSCALL(ptrace(PTRACE_SYSCALL, pid, nullptr, nullptr));
}

void TracedProcess::kill() {
  KJ_SYSCALL(::kill(pid, SIGKILL));
  // Its parent hears of its end when the tracer has.
  int status;
  do {
    KJ_SYSCALL(waitpid(pid, &status, __WALL));
  } while (WIFSTOPPED(status));
  pid = 0;
}

void TracedProcess::letGo() {
  if (pid > 0 && ptrace(PTRACE_DETACH, pid, nullptr, nullptr) != 0 && errno == ESRCH) {
    // Only what stands can be let go.
    ptrace(PTRACE_INTERRUPT, pid, nullptr, nullptr);
    waitpid(pid, nullptr, __WALL);
    ptrace(PTRACE_DETACH, pid, nullptr, nullptr);
  }
  pid = 0;
}

}  // namespace warden::test
