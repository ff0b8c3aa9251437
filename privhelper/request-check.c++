#include "privhelper/request-check.h"

#include <kj/vector.h>
#include <limits.h>

#include "base/path.h"

namespace warden::privhelper {

namespace {

constexpr uint32_t ABSENT = 0xffffffff;
constexpr size_t LONGEST_OWNER = 512;
constexpr uint32_t LARGEST_IMAGE_ID = IDS_PER_CONTAINER - 1;

bool isImageId(uint32_t id) {
  return id == ABSENT || (id >= 1 && id <= LARGEST_IMAGE_ID);
}

kj::Maybe<uint32_t> present(uint32_t id) {
  if (id == ABSENT) return nullptr;
  return id;
}

bool isIcmpNumber(int16_t value) {
  return value >= -1 && value <= 255;
}

kj::Maybe<kj::String> reasonAgainst(const OutRule& rule) {
  using schema::Protocol;
  if (rule.destination.first > rule.destination.last) {
    return kj::str("the range of addresses is reversed");
  }
  if (rule.firstPort > rule.lastPort) return kj::str("the range of ports is reversed");
  bool anyPort = rule.firstPort == 0 && rule.lastPort == 65535;
  bool anyIcmp = rule.icmpType == -1 && rule.icmpCode == -1;
  switch (rule.protocol) {
    case Protocol::TCP:
    case Protocol::UDP:
      if (!anyIcmp) return kj::str("an icmp type or code with another protocol");
      return nullptr;
    case Protocol::ICMP:
      if (!anyPort) return kj::str("ports with the protocol icmp");
      if (!isIcmpNumber(rule.icmpType) || !isIcmpNumber(rule.icmpCode)) {
        return kj::str("an icmp type or code is not in -1..255");
      }
      return nullptr;
    case Protocol::ALL:
      if (!anyPort || !anyIcmp)
        return kj::str("ports, or an icmp type or code, with all protocols");
      return nullptr;
  }
  return kj::str("there is no such protocol");
}

std::string toString(capnp::Data::Reader data) {
  return std::string(data.asChars().begin(), data.size());
}

kj::OneOf<kj::Array<BindOrder>, Refusal> checkBindMounts(
    capnp::List<schema::BindMount>::Reader list) {
  if (list.size() > schema::CreateContainer::MAX_BIND_MOUNTS) {
    return Refusal{kj::str(list.size(), " bind mounts are more than ",
                           schema::CreateContainer::MAX_BIND_MOUNTS)};
  }
  auto orders = kj::heapArrayBuilder<BindOrder>(list.size());
  for (auto bind : list) {
    for (auto path : {bind.getSource(), bind.getTarget()}) {
      KJ_IF_MAYBE (reason, reasonAgainstPath(path)) {
        return Refusal{kj::str("a bind mount: ", *reason)};
      }
    }
    auto target = toString(bind.getTarget());
    if (isSystemTarget(target)) {
      return Refusal{kj::str("a bind mount would cover ", target.c_str())};
    }
    // Each is resolved by the container's first process, while no other request is served.
    constexpr uint32_t MOST = schema::CreateContainer::MAX_TARGET_COMPONENTS;
    auto components = countComponents(target);
    if (components > MOST) {
      return Refusal{kj::str("the target of a bind mount has ", components,
                             " components, which are more than ", MOST)};
    }
    orders.add(BindOrder{toString(bind.getSource()), std::move(target), bind.getWritable()});
  }
  return orders.finish();
}

template <typename Order, typename Check>
kj::OneOf<Order, Refusal> withId(capnp::Text::Reader text, Check&& check) {
  auto id = checkId(text);
  if (id.is<Refusal>()) return kj::mv(id.get<Refusal>());
  return check(id.get<ContainerId>());
}

}  // namespace

kj::OneOf<ContainerId, Refusal> checkId(capnp::Text::Reader text) {
  KJ_IF_MAYBE (id, ContainerId::parse(text)) {
    return *id;
  }
  return Refusal{kj::str("id is not 11 characters of [0-9a-v]")};
}

kj::OneOf<CreateOrder, Refusal> checkCreate(schema::CreateContainer::Reader request,
                                            const Policy& policy) {
  auto idOrRefusal = checkId(request.getId());
  if (idOrRefusal.is<Refusal>()) return kj::mv(idOrRefusal.get<Refusal>());

  uint32_t slot = request.getSlot();
  if (slot >= policy.slotCount) {
    return Refusal{kj::str("slot ", slot, " is outside of the pool of ", policy.slotCount)};
  }
  if (request.getNetwork() >= policy.network.poolSize) {
    return Refusal{kj::str("network ", request.getNetwork(), " is outside of the pool of ",
                           policy.network.poolSize)};
  }
  // 0 would hand the image's root-owned files to vcap.
  if (!isImageId(request.getImageVcapUid()) || !isImageId(request.getImageVcapGid())) {
    return Refusal{kj::str("an id of the image's vcap is not in 1..", LARGEST_IMAGE_ID)};
  }

  auto files = request.getEtcFiles();
  struct Candidate {
    const char* name;
    bool present;
    capnp::Data::Reader content;
  } candidates[] = {
      {"passwd", files.hasPasswd(), files.getPasswd()},
      {"group", files.hasGroup(), files.getGroup()},
      {"hosts", files.hasHosts(), files.getHosts()},
      {"resolv.conf", files.hasResolvConf(), files.getResolvConf()},
      {"hostname", files.hasHostname(), files.getHostname()},
  };
  kj::Vector<EtcFile> accepted;
  for (auto& c : candidates) {
    if (!c.present) continue;
    if (c.content.size() > schema::CreateContainer::MAX_ETC_FILE_BYTES) {
      return Refusal{kj::str("/etc/", c.name, " is larger than ",
                             schema::CreateContainer::MAX_ETC_FILE_BYTES, " bytes")};
    }
    accepted.add(EtcFile{c.name, kj::heapArray(c.content)});
  }
  auto bindMounts = checkBindMounts(request.getBindMounts());
  if (bindMounts.is<Refusal>()) return kj::mv(bindMounts.get<Refusal>());
  return CreateOrder{.id = idOrRefusal.get<ContainerId>(),
                     .slot = slot,
                     .imageVcapUid = present(request.getImageVcapUid()),
                     .imageVcapGid = present(request.getImageVcapGid()),
                     .etcFiles = accepted.releaseAsArray(),
                     .network = request.getNetwork(),
                     .image = request.getImage(),
                     .bindMounts = kj::mv(bindMounts.get<kj::Array<BindOrder>>()),
                     .owner = 0,
                     .ownerGid = 0,
                     .privilegedJobs = false,
                     .memory = nullptr,
                     .disk = nullptr,
                     .openedImage = nullptr,
                     .openedSources = {}};
}

kj::Maybe<kj::String> reasonAgainstPath(capnp::Data::Reader path) {
  if (path.size() == 0 || path[0] != '/') return kj::str("a path is not absolute");
  if (path.size() >= PATH_MAX) return kj::str("a path is longer than ", PATH_MAX - 1, " bytes");
  for (kj::byte b : path) {
    if (b == 0) return kj::str("a path has a NUL");
  }
  return nullptr;
}

kj::OneOf<CopyOrder, Refusal> checkCopy(schema::Copy::Reader request, HostUse use) {
  return withId<CopyOrder>(request.getId(), [&](ContainerId id) -> kj::OneOf<CopyOrder, Refusal> {
    KJ_IF_MAYBE (reason, reasonAgainstPath(request.getPath())) {
      return Refusal{kj::mv(*reason)};
    }
    auto owner = request.getOwner();
    if (owner.size() > 0 && use == HostUse::READ) {
      return Refusal{kj::str("a copy into the container gives files to nobody of the host")};
    }
    if (owner.size() > LONGEST_OWNER) return Refusal{kj::str("the owner's name is too long")};
    return CopyOrder{id, toString(request.getPath()), kj::heapString(owner)};
  });
}

kj::OneOf<LimitOrder, Refusal> checkLimitMemory(schema::LimitMemory::Reader request) {
  return withId<LimitOrder>(request.getId(), [&](ContainerId id) -> kj::OneOf<LimitOrder, Refusal> {
    switch (request.which()) {
      case schema::LimitMemory::READ:
        return LimitOrder{id, nullptr};
      case schema::LimitMemory::BYTES:
        return LimitOrder{id, request.getBytes()};
    }
    return Refusal{kj::str("limits neither nothing nor bytes")};
  });
}

kj::OneOf<LimitOrder, Refusal> checkLimitCpu(schema::LimitCpu::Reader request) {
  return withId<LimitOrder>(request.getId(), [&](ContainerId id) -> kj::OneOf<LimitOrder, Refusal> {
    switch (request.which()) {
      case schema::LimitCpu::READ:
        return LimitOrder{id, nullptr};
      case schema::LimitCpu::SHARES:
        return LimitOrder{id, request.getShares()};
    }
    return Refusal{kj::str("limits neither nothing nor shares")};
  });
}

kj::OneOf<DiskOrder, Refusal> checkLimitDisk(schema::LimitDisk::Reader request) {
  return withId<DiskOrder>(request.getId(), [&](ContainerId id) -> kj::OneOf<DiskOrder, Refusal> {
    switch (request.which()) {
      case schema::LimitDisk::READ:
        return DiskOrder{id, nullptr};
      case schema::LimitDisk::LIMITS:
        return DiskOrder{id, limitsFrom(request.getLimits())};
    }
    return Refusal{kj::str("limits neither nothing nor blocks and inodes")};
  });
}

kj::OneOf<BandwidthOrder, Refusal> checkLimitBandwidth(schema::LimitBandwidth::Reader request) {
  return withId<BandwidthOrder>(request.getId(),
                                [&](ContainerId id) -> kj::OneOf<BandwidthOrder, Refusal> {
                                  if (request.getRate() == 0)
                                    return Refusal{kj::str("the rate is 0")};
                                  if (request.getBurst() == 0)
                                    return Refusal{kj::str("the burst is 0")};
                                  return BandwidthOrder{id, request.getRate(), request.getBurst()};
                                });
}

kj::OneOf<PortOrder, Refusal> checkMapPort(schema::MapPort::Reader request, const Policy& policy) {
  return withId<PortOrder>(request.getId(), [&](ContainerId id) -> kj::OneOf<PortOrder, Refusal> {
    if (request.getHostPort() == 0) return Refusal{kj::str("the host's port is 0")};
    if (request.getContainerPort() == 0) return Refusal{kj::str("the container's port is 0")};
    if (request.getHostPort() < policy.lowestHostPort) {
      return Refusal{kj::str("port ", request.getHostPort(),
                             " of the host is below privhelper.lowest_host_port, ",
                             policy.lowestHostPort)};
    }
    return PortOrder{id, request.getHostPort(), request.getContainerPort()};
  });
}

kj::OneOf<OutOrder, Refusal> checkAllowOut(schema::AllowOut::Reader request) {
  return withId<OutOrder>(request.getId(), [&](ContainerId id) -> kj::OneOf<OutOrder, Refusal> {
    OutRule rule = ruleFrom(request);
    KJ_IF_MAYBE (reason, reasonAgainst(rule)) {
      return Refusal{kj::mv(*reason)};
    }
    return OutOrder{id, rule};
  });
}

}  // namespace warden::privhelper
