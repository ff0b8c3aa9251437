// The part of a container that concerns its limits.

#include <kj/debug.h>
#include <signal.h>

#include "frontend/client-error.h"
#include "frontend/container.h"

namespace warden::frontend {

template <typename T>
void Container::remember(std::optional<T>& what, T value) {
  what = value;
  saveSoon();
}

kj::Promise<uint64_t> Container::limitMemory(Fd client, kj::Maybe<uint64_t> bytes) {
  return change(changes, [this, bytes, client = kj::mv(client)]() mutable {
    requireActiveOrStopped();
    bool sets = bytes != nullptr;
    return services.helper.limitMemory(client, containerId, bytes)
        .then([this, sets](uint64_t inForce) {
          if (sets) remember(limits.memory, inForce);
          return inForce;
        });
  });
}

kj::Promise<uint64_t> Container::limitCpu(Fd client, kj::Maybe<uint64_t> shares) {
  return change(changes, [this, shares, client = kj::mv(client)]() mutable {
    requireActiveOrStopped();
    bool sets = shares != nullptr;
    return services.helper.limitCpu(client, containerId, shares)
        .then([this, sets](uint64_t inForce) {
          if (sets) remember(limits.cpu, inForce);
          return inForce;
        });
  });
}

namespace {

void requireWithin(const DiskLimits& wanted, const Grant& grant) {
  if (!grant.disk) return;
  uint64_t blocks = *grant.disk / DISK_BLOCK_BYTES;
  if (wanted.blocksHard != 0 && wanted.blocksHard <= blocks) return;
  kj::throwFatalException(clientErrorOf(
      PERMISSION_DENIED, "the limit is ", wanted.blocksHard, " blocks (0: none), but ",
      grant.source, ".quotas.disk of the server's configuration grants each container ", blocks,
      " blocks of ", DISK_BLOCK_BYTES, " bytes; ask for a limit of at most that"));
}

}  // namespace

kj::Promise<DiskLimits> Container::limitDisk(Fd client, const LimitDiskRequest& request,
                                             const Grant& grant) {
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
  return change(diskChanges, [this, request, &grant, client = kj::mv(client)]() mutable {
    int socket = client;
    return changeDiskLimits(socket, request, grant).attach(kj::mv(client));
  });
}

kj::Promise<DiskLimits> Container::changeDiskLimits(int client, const LimitDiskRequest& request,
                                                    const Grant& grant) {
  requireActiveOrStopped();
  return services.helper.limitDisk(client, containerId, nullptr)
      .then([this, client, request, &grant](DiskState present) {
        requireActiveOrStopped();
        auto wanted = applyDiskLimits(present.limits, request);
        requireWithin(wanted, grant);
        return services.helper.limitDisk(client, containerId, wanted);
      })
      .then([this](DiskState state) {
        remember(limits.disk, state.limits);
        return state.limits;
      });
}

kj::Promise<void> Container::limitBandwidth(Fd client, Bandwidth wanted) {
  return change(changes, [this, wanted, client = kj::mv(client)]() mutable {
    requireActiveOrStopped();
    return services.helper.limitBandwidth(client, containerId, wanted).then([this, wanted]() {
      bandwidth = wanted;
      remember(limits.bandwidth, wanted);
    });
  });
}

void Container::noticeOutOfMemory() {
  bool exists = current == State::ACTIVE || current == State::STOPPED;
  if (!exists || ranOutOfMemory || !oomWatch->killed()) return;
  ranOutOfMemory = true;
  addEvent("out of memory");
  // It may not be known yet which jobs there are; nobody waits for them here.
  tasks.add(kj::evalNow([this]() { return stop(true); }).catch_([](kj::Exception&&) {}));
}

}  // namespace warden::frontend
