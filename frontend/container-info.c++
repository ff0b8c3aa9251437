// The part of a container that says how things are with it.

#include <kj/debug.h>
#include <spdlog/spdlog.h>

#include "base/ipv4.h"
#include "frontend/container.h"

namespace warden::frontend {

namespace {

// What the old server said where no limit was set.
constexpr uint64_t UNLIMITED_BANDWIDTH = 0xffffffff;

}  // namespace

kj::StringPtr nameOf(Container::State state) {
  switch (state) {
    case Container::State::BORN:
      return "born";
    case Container::State::ACTIVE:
      return "active";
    case Container::State::STOPPED:
      return "stopped";
    case Container::State::DESTROYED:
      return "destroyed";
  }
  KJ_UNREACHABLE;
}

kj::Promise<InfoResponse> Container::describe() {
  KJ_IF_MAYBE (complete, lastInfoComplete) {
    return complete->addBranch().then([this]() { return KJ_ASSERT_NONNULL(lastInfo); });
  }
  auto info = kj::heap<InfoResponse>();
  fillInfo(*info);
  auto& reference = *info;
  return addDiskStat(reference).then([info = kj::mv(info)]() mutable { return kj::mv(*info); });
}

void Container::rememberInfo() {
  fillInfo(lastInfo.emplace());
  // What the helper is asked for now, it answers before it destroys.
  lastInfoComplete = addDiskStat(KJ_ASSERT_NONNULL(lastInfo)).fork();
}

void Container::fillInfo(InfoResponse& info) const {
  info.set_state(nameOf(current).cStr());
  for (auto& event : events)
    info.add_events(event.cStr());
  info.set_host_ip(ipv4Text(ipAddresses.host).cStr());
  info.set_container_ip(ipv4Text(ipAddresses.container).cStr());
  info.set_container_path(services.config.server.containerDepotPath + "/" +
                          containerId.text().cStr());
  for (auto& entry : jobs) {
    if (!entry.second->ended()) info.add_job_ids(entry.first);
  }
  statistics.describe(info);
  Bandwidth both{UNLIMITED_BANDWIDTH, UNLIMITED_BANDWIDTH};
  KJ_IF_MAYBE (limited, bandwidth) {
    both = *limited;
  }
  auto& stat = *info.mutable_bandwidth_stat();
  stat.set_in_rate(both.rate);
  stat.set_in_burst(both.burst);
  stat.set_out_rate(both.rate);
  stat.set_out_burst(both.burst);
}

kj::Promise<void> Container::addDiskStat(InfoResponse& info) {
  if (!services.config.server.diskQuotaEnabled) return kj::READY_NOW;
  return services.helper.limitDisk(HelperClient::NO_CLIENT, containerId, nullptr)
      .then(
          [&info](DiskState disk) {
            info.mutable_disk_stat()->set_bytes_used(disk.bytesUsed);
            info.mutable_disk_stat()->set_inodes_used(disk.inodesUsed);
          },
          [this](kj::Exception&& reason) {
            spdlog::debug("container {}: its disk usage is not known: {}",
                          containerId.text().cStr(), reason.getDescription().cStr());
          });
}

}  // namespace warden::frontend
