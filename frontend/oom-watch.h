#pragma once
// Notices that the kernel has killed a process because its container was out of memory.

#include <kj/async-unix.h>
#include <kj/timer.h>

#include "frontend/statistics.h"

namespace warden::frontend {

class OomWatch {
 public:
  OomWatch(kj::UnixEventPort& port, kj::Timer& timer, const Statistics& statistics);
  // All are borrowed. What was killed before does not count.
  KJ_DISALLOW_COPY(OomWatch);

  void countAll() {
    if (killsBefore != nullptr) killsBefore = uint64_t{0};
  }
  // Of a container that an earlier frontend has made: what was killed meanwhile counts, too.

  bool killed();
  // True from the first kill on. Looks now: the kernel counts a kill before the process dies, so
  // that whoever sees the death sees the count (mm/oom_kill.c, __oom_kill_process).

  kj::Promise<void> whenKilled();
  // Never resolves where the kernel does not tell. Called once.

 private:
  kj::Timer& timer;
  const Statistics& statistics;
  kj::Maybe<uint64_t> killsBefore;
  bool seen = false;
  bool isEventfd = false;
  kj::Own<kj::UnixEventPort::FdObserver> observer;

  bool takeEvent();
  kj::Promise<void> look(kj::Duration pause);
};

}  // namespace warden::frontend
