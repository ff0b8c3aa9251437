// The part of the registry that destroys containers which nobody is connected for.

#include <kj/debug.h>
#include <spdlog/spdlog.h>

#include "frontend/registry.h"

namespace warden::frontend {

ConnectionNumber Registry::connectionOpened() {
  auto number = ++clock;
  connections.insert(number);
  for (auto& [handle, entry] : entries)
    entry.unreferencedSince = nullptr;
  return number;
}

void Registry::connectionClosed(ConnectionNumber connection) {
  connections.erase(connection);
  for (auto& [handle, entry] : entries) {
    entry.namedBy.erase(connection);
    considerGrace(entry);
  }
}

bool Registry::isReferenced(const Entry& entry) const {
  // A connection younger than the container saw it when it opened.
  bool seen = !connections.empty() && *connections.rbegin() > entry.born;
  return seen || !entry.namedBy.empty();
}

void Registry::considerGrace(Entry& entry) {
  auto state = entry.container->state();
  auto graceTime = entry.container->graceTime();
  bool waits = graceTime.has_value() && entry.unreferencedSince == nullptr &&
               (state == Container::State::ACTIVE || state == Container::State::STOPPED);
  if (!waits || isReferenced(entry)) return;
  auto now = services.timer.now();
  entry.unreferencedSince = now;
  setGraceAlarm(now + *graceTime * kj::SECONDS);
}

void Registry::holdGraceTimes() {
  graceTimesHeld = true;
  graceTask = nullptr;
}

void Registry::setGraceAlarm(kj::TimePoint when) {
  // One timer serves all containers. It may ring for one that is referenced again: that costs a
  // look, while connections may come and go as often as they like.
  KJ_IF_MAYBE (set, graceAlarm) {
    if (*set <= when) return;
  }
  if (graceTimesHeld) return;
  graceAlarm = when;
  graceTask = services.timer.atTime(when)
                  .then([this]() { graceAlarmRings(); })
                  .eagerlyEvaluate([](kj::Exception&& reason) {
                    spdlog::error("grace times: {}", kj::str(reason).cStr());
                  });
}

void Registry::destroyUnreferenced(Container& container, Turn turn) {
  // Somebody may have named it meanwhile, or destroyed it.
  auto* entry = findEntry(container);
  if (entry == nullptr || entry->destroying != nullptr || isReferenced(*entry)) return;
  if (graceTimesHeld) return;
  spdlog::info("container {}: its grace time is over", container.id().text().cStr());
  destroyNow(container, kj::mv(turn));
}

void Registry::graceAlarmRings() {
  graceAlarm = nullptr;
  auto now = services.timer.now();
  std::optional<kj::TimePoint> next;
  kj::Vector<kj::Own<Container>> expired;
  for (auto& [handle, entry] : entries) {
    KJ_IF_MAYBE (since, entry.unreferencedSince) {
      auto deadline = *since + *entry.container->graceTime() * kj::SECONDS;
      if (deadline <= now) {
        expired.add(kj::addRef(*entry.container));
        entry.unreferencedSince = nullptr;
      } else {
        next = next ? kj::min(*next, deadline) : deadline;
      }
    }
  }
  for (auto& container : expired) {
    tasks.add(turns.takeAlways(container->owner())
                  .then([this, container = kj::mv(container)](Turn turn) mutable {
                    destroyUnreferenced(*container, kj::mv(turn));
                  }));
  }
  if (next) {
    // This runs inside of the promise that the new alarm replaces.
    auto when = *next;
    tasks.add(kj::evalLater([this, when]() { setGraceAlarm(when); }));
  }
}

}  // namespace warden::frontend
