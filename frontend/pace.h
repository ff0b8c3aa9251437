#pragma once
// How fast something may go that must not slow down anything else.

#include <kj/timer.h>

namespace warden::frontend {

class Pace {
 public:
  Pace(kj::Timer& timer, kj::Duration interval, unsigned burst)
      : timer(timer), interval(interval), ahead(interval * burst), next(timer.now()) {}
  // One turn each `interval`, and `burst` at once after a time without any.
  KJ_DISALLOW_COPY(Pace);

  kj::Promise<void> turn() {
    // Turns come in the order in which they were asked for. One that is dropped is lost.
    auto now = timer.now();
    next = kj::max(next, now - ahead) + interval;
    if (next <= now) return kj::READY_NOW;
    return timer.atTime(next);
  }

 private:
  kj::Timer& timer;
  kj::Duration interval;
  kj::Duration ahead;
  kj::TimePoint next;
};

}  // namespace warden::frontend
