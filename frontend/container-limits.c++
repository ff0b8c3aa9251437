// The part of a container that concerns its limits.

#include <kj/debug.h>
#include <signal.h>

#include "frontend/client-error.h"
#include "frontend/container.h"

namespace warden::frontend {

kj::Promise<uint64_t> Container::limitMemory(kj::Maybe<uint64_t> bytes) {
  requireActiveOrStopped();
  return services.helper.limitMemory(containerId, bytes);
}

kj::Promise<uint64_t> Container::limitCpu(kj::Maybe<uint64_t> shares) {
  requireActiveOrStopped();
  return services.helper.limitCpu(containerId, shares);
}

kj::Promise<DiskLimits> Container::limitDisk(const LimitDiskRequest& request) {
  requireActiveOrStopped();
  if (!setsDiskLimits(request)) {
    return services.helper.limitDisk(containerId, nullptr).then([](DiskState state) {
      return state.limits;
    });
  }
  // What is wrong in itself is refused at once.
  applyDiskLimits(DiskLimits(), request);
  // One request keeps what it does not name, so that it reads before it writes, and nobody else may
  // write in between.
  auto changed = diskTurn.then([this, request]() { return changeDiskLimits(request); }).fork();
  diskTurn = changed.addBranch().ignoreResult().catch_([](kj::Exception&&) {});
  return complete(changed.addBranch());
}

kj::Promise<DiskLimits> Container::changeDiskLimits(const LimitDiskRequest& request) {
  requireActiveOrStopped();
  return services.helper.limitDisk(containerId, nullptr)
      .then([this, request](DiskState present) {
        requireActiveOrStopped();
        return services.helper.limitDisk(containerId, applyDiskLimits(present.limits, request));
      })
      .then([](DiskState state) { return state.limits; });
}

kj::Promise<void> Container::limitBandwidth(Bandwidth wanted) {
  requireActiveOrStopped();
  return complete(services.helper.limitBandwidth(containerId, wanted).then([this, wanted]() {
    bandwidth = wanted;
  }));
}

void Container::noticeOutOfMemory() {
  bool exists = current == State::ACTIVE || current == State::STOPPED;
  if (!exists || ranOutOfMemory || !oomWatch->killed()) return;
  ranOutOfMemory = true;
  addEvent("out of memory");
  tasks.add(stop(true));
}

}  // namespace warden::frontend
