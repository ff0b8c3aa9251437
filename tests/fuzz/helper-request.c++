// What the helper does with the bytes of a frontend that an attacker has taken over: decode the
// packet, and hold the request against the policy.

#include <kj/debug.h>
#include <stdlib.h>
#include <string.h>

#include "base/packet.h"
#include "privhelper/request-check.h"

using namespace warden;
using namespace warden::privhelper;

namespace {

constexpr Policy POLICY{.slotCount = 256,
                        .vcapUidStart = 10000,
                        .idRangeStart = 0x70000000,
                        .pidsLimit = 0,
                        .frontendUid = 999,
                        .frontendGid = 999};

void requireWithinPolicy(const CreateOrder& order) {
  KJ_ASSERT(order.slot < POLICY.slotCount);
  KJ_ASSERT(ContainerId::fromNumber(order.id.number()) == order.id);
  for (auto id : {order.imageVcapUid, order.imageVcapGid}) {
    KJ_IF_MAYBE (value, id) {
      KJ_ASSERT(*value >= 1 && *value < IDS_PER_CONTAINER);
    }
  }
  KJ_ASSERT(order.etcFiles.size() <= 5);
  for (auto& file : order.etcFiles) {
    KJ_ASSERT(file.content.size() <= schema::CreateContainer::MAX_ETC_FILE_BYTES);
    // The last byte is there: the content lies within the packet.
    if (file.content.size() > 0) {
      volatile kj::byte last = file.content[file.content.size() - 1];
      (void)last;
    }
  }
}

void checkRequest(schema::HelperRequest::Reader request) {
  switch (request.which()) {
    case schema::HelperRequest::HELLO:
      request.getHello().getVersion();
      return;
    case schema::HelperRequest::CREATE: {
      auto result = checkCreate(request.getCreate(), POLICY);
      if (result.is<CreateOrder>()) requireWithinPolicy(result.get<CreateOrder>());
      return;
    }
    case schema::HelperRequest::DESTROY:
      checkId(request.getDestroy().getId());
      return;
  }
  // An unknown member of the union: a newer or hostile frontend.
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kj::Maybe<kj::Exception> refusal = kj::runCatchingExceptions([&] {
    Packet packet = decodePacket(kj::arrayPtr(data, size));
    checkRequest(packet.getRoot<schema::HelperRequest>());
  });
  KJ_IF_MAYBE (e, refusal) {
    // Assertions of this file are findings; all else is what the helper refuses.
    if (strstr(e->getFile(), "helper-request") != nullptr) abort();
  }
  return 0;
}
