#include "wshd/child-stack.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace warden {

namespace {

constexpr size_t SIZE = 64 * 1024;   // the child needs about 6 KiB
constexpr size_t REPORT_SPACE = 64;  // a multiple of 16, the ABI's alignment of stacks
static_assert(sizeof(StartReport) <= REPORT_SPACE);

timespec monotonicTime() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now;
}

}  // namespace

StartReport* ChildStack::report() const {
  return reinterpret_cast<StartReport*>(static_cast<char*>(bottom) + SIZE - REPORT_SPACE);
}

bool ChildStack::prepare() {
  if (bottom == nullptr) {
    // Shared, for a child that has the rest of wshd's memory as a copy (spawn.c++).
    void* mapped =
        mmap(nullptr, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (mapped == MAP_FAILED) return false;
    bottom = mapped;
  }
  report()->failed = false;
  report()->underWay.store(1);
  return true;
}

bool ChildStack::awaitStart(int timeoutMs) {
  // An absolute time, as errno says nothing of the wait before: it is the child's, too.
  timespec end = monotonicTime();
  end.tv_sec += timeoutMs / 1000;
  auto& word = report()->underWay;
  for (;;) {
    pid_t value = word.load();
    if (value == 0) return true;
    timespec now = monotonicTime();
    if (now.tv_sec > end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec >= end.tv_nsec)) {
      return false;
    }
    // futex(2): FUTEX_WAIT_BITSET takes the time of CLOCK_MONOTONIC at which it ends. The kernel
    // wakes by an address that is not private to the process.
    syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, value, &end, nullptr, FUTEX_BITSET_MATCH_ANY);
  }
}

void ChildStack::abandon() {
  bottom = nullptr;
}

}  // namespace warden
