#include "privhelper/request-check.h"

#include <kj/vector.h>

namespace warden::privhelper {

namespace {

constexpr uint32_t ABSENT = 0xffffffff;
constexpr uint32_t LARGEST_IMAGE_ID = IDS_PER_CONTAINER - 1;

bool isImageId(uint32_t id) {
  return id == ABSENT || (id >= 1 && id <= LARGEST_IMAGE_ID);
}

kj::Maybe<uint32_t> present(uint32_t id) {
  if (id == ABSENT) return nullptr;
  return id;
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
    accepted.add(EtcFile{c.name, c.content});
  }
  return CreateOrder{idOrRefusal.get<ContainerId>(), slot, present(request.getImageVcapUid()),
                     present(request.getImageVcapGid()), accepted.releaseAsArray()};
}

}  // namespace warden::privhelper
