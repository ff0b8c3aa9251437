#include "frontend/oom-watch.h"

#include <errno.h>
#include <kj/debug.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

namespace warden::frontend {

namespace {

using Observer = kj::UnixEventPort::FdObserver;

// The eventfd of v1 is signalled before the kernel chooses whom to kill (mm/memcontrol-v1.c,
// mem_cgroup_oom_notify), so the count is looked at again, at growing intervals.
constexpr auto FIRST_PAUSE = 1 * kj::MILLISECONDS;
constexpr auto LONGEST_PAUSE = 1 * kj::SECONDS;

}  // namespace

OomWatch::OomWatch(kj::UnixEventPort& port, kj::Timer& timer, const Statistics& statistics)
    : timer(timer), statistics(statistics), killsBefore(statistics.oomKills()) {
  int fd = statistics.oomEventV1();
  isEventfd = fd >= 0;
  if (!isEventfd) fd = statistics.oomEventsV2();
  if (fd < 0) return;
  KJ_IF_MAYBE (problem, kj::runCatchingExceptions([&]() {
                 setNonblocking(fd);
                 observer = kj::heap<Observer>(
                     port, fd, isEventfd ? Observer::OBSERVE_READ : Observer::OBSERVE_URGENT);
               })) {
    spdlog::warn("out of memory is noticed only when a job ends: {}",
                 problem->getDescription().cStr());
  }
}

bool OomWatch::killed() {
  if (seen) return true;
  KJ_IF_MAYBE (before, killsBefore) {
    KJ_IF_MAYBE (now, statistics.oomKills()) {
      seen = *now > *before;
    }
  }
  return seen;
}

kj::Promise<void> OomWatch::whenKilled() {
  if (killed()) return kj::READY_NOW;
  if (observer.get() == nullptr) return kj::NEVER_DONE;
  if (!isEventfd) {
    return observer->whenUrgentDataAvailable().then([this]() { return whenKilled(); });
  }
  // Also fires when the cgroup is removed: then there is nothing to be seen.
  if (takeEvent()) return look(FIRST_PAUSE);
  return observer->whenBecomesReadable().then([this]() { return whenKilled(); });
}

bool OomWatch::takeEvent() {
  uint64_t count;
  ssize_t n;
  do {
    n = read(statistics.oomEventV1(), &count, sizeof(count));
  } while (n < 0 && errno == EINTR);
  return n > 0;
}

kj::Promise<void> OomWatch::look(kj::Duration pause) {
  if (killed()) return kj::READY_NOW;
  if (pause > LONGEST_PAUSE) return whenKilled();
  return timer.afterDelay(pause).then([this, pause]() { return look(pause * 2); });
}

}  // namespace warden::frontend
