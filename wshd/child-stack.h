#pragma once
// The memory that wshd shares with a child until that has executed its shell.

#include <kj/common.h>
#include <stdint.h>
#include <sys/types.h>

#include <atomic>

namespace warden {

struct StartReport {
  // How far the child came, told by the kernel and, where it failed, by the child.

  std::atomic<pid_t> underWay;
  // Not 0 until the child has left this memory: the kernel clears it when it executes a program or
  // ends, and wakes who waits for that (clone(2), CLONE_CHILD_CLEARTID).
  bool failed;
  uint8_t step;
  int error;
};

class ChildStack {
  // What children run on until their shells are executed, one after the other. It is kept from job
  // to job: to unmap it would interrupt the processor that the child has run on.

 public:
  ChildStack() = default;
  KJ_DISALLOW_COPY(ChildStack);

  bool prepare();
  // Maps it where it is not yet, and resets the report. False: there is no memory.

  void* top() const { return report(); }
  // Where a stack that grows down begins, aligned as the ABI wants it.
  StartReport* report() const;
  // Both after prepare().

  bool awaitStart(int timeoutMs);
  // Until the child has left. False: it has not in time.

  void abandon();
  // The next prepare() maps another one. This one stays mapped, for a child that has not left it.

 private:
  void* bottom = nullptr;
};

}  // namespace warden
