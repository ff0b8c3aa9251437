// The part of a container that concerns its limits.

#include <kj/debug.h>
#include <signal.h>

#include "frontend/client-error.h"
#include "frontend/container.h"

namespace warden::frontend {

kj::Promise<uint64_t> Container::limitMemory(Fd client, kj::Maybe<uint64_t> bytes) {
  requireActiveOrStopped();
  return services.helper.limitMemory(client, containerId, bytes);
}

kj::Promise<uint64_t> Container::limitCpu(Fd client, kj::Maybe<uint64_t> shares) {
  requireActiveOrStopped();
  return services.helper.limitCpu(client, containerId, shares);
}

kj::Promise<DiskLimits> Container::limitDisk(Fd client, const LimitDiskRequest& request) {
  requireActiveOrStopped();
  if (!setsDiskLimits(request)) {
    return services.helper.limitDisk(client, containerId, nullptr).then([](DiskState state) {
      return state.limits;
    });
  }
  // What is wrong in itself is refused at once.
  applyDiskLimits(DiskLimits(), request);
  // One request keeps what it does not name, so that it reads before it writes, and nobody else may
  // write in between.
  auto changed = diskTurn
                     .then([this, request, client = kj::mv(client)]() mutable {
                       int socket = client;
                       return changeDiskLimits(socket, request).attach(kj::mv(client));
                     })
                     .fork();
  diskTurn = changed.addBranch().ignoreResult().catch_([](kj::Exception&&) {});
  return complete(changed.addBranch());
}

kj::Promise<DiskLimits> Container::changeDiskLimits(int client, const LimitDiskRequest& request) {
  requireActiveOrStopped();
  return services.helper.limitDisk(client, containerId, nullptr)
      .then([this, client, request](DiskState present) {
        requireActiveOrStopped();
        return services.helper.limitDisk(client, containerId,
                                         applyDiskLimits(present.limits, request));
      })
      .then([](DiskState state) { return state.limits; });
}

kj::Promise<void> Container::limitBandwidth(Fd client, Bandwidth wanted) {
  requireActiveOrStopped();
  return complete(
      services.helper.limitBandwidth(client, containerId, wanted).then([this, wanted]() {
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
