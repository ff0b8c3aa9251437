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

const Policy POLICY{.slotCount = 256,
                    .vcapUidStart = 10000,
                    .idRangeStart = 0x70000000,
                    .pidsLimit = 0,
                    .lowestHostPort = 1024,
                    .frontendUid = 999,
                    .frontendGid = 999,
                    .network = {.poolSize = 8},
                    .access = {}};

void requirePath(const std::string& path) {
  KJ_ASSERT(path.size() > 0 && path.size() < 4096 && path[0] == '/');
  KJ_ASSERT(path.find('\0') == std::string::npos);
}

void requireWithinPolicy(const CreateOrder& order) {
  KJ_ASSERT(order.slot < POLICY.slotCount);
  KJ_ASSERT(order.network < POLICY.network.poolSize);
  KJ_ASSERT(ContainerId::fromNumber(order.id.number()) == order.id);
  for (auto id : {order.imageVcapUid, order.imageVcapGid}) {
    KJ_IF_MAYBE (value, id) {
      KJ_ASSERT(*value >= 1 && *value < IDS_PER_CONTAINER);
    }
  }
  KJ_ASSERT(order.bindMounts.size() <= schema::CreateContainer::MAX_BIND_MOUNTS);
  for (auto& bind : order.bindMounts) {
    requirePath(bind.source);
    requirePath(bind.target);
    KJ_ASSERT(!isSystemTarget(bind.target));
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

void requireWithinPolicy(const CopyOrder& order) {
  requirePath(order.path);
}

void requireWithinPolicy(const PortOrder& order) {
  KJ_ASSERT(order.hostPort >= POLICY.lowestHostPort && order.containerPort > 0);
}

void requireWithinPolicy(const BandwidthOrder& order) {
  KJ_ASSERT(order.rate > 0 && order.burst > 0);
}

void requireWithinPolicy(const OutOrder& order) {
  const OutRule& rule = order.rule;
  KJ_ASSERT(rule.destination.first <= rule.destination.last);
  KJ_ASSERT(rule.firstPort <= rule.lastPort);
  KJ_ASSERT(rule.protocol <= schema::Protocol::ALL);
  KJ_ASSERT(rule.icmpType >= -1 && rule.icmpType <= 255);
  KJ_ASSERT(rule.icmpCode >= -1 && rule.icmpCode <= 255);
}

template <typename Order>
void requireWithinPolicy(const kj::OneOf<Order, Refusal>& result) {
  if (result.template is<Order>()) requireWithinPolicy(result.template get<Order>());
}

void checkRequest(schema::HelperRequest::Reader request) {
  switch (request.which()) {
    case schema::HelperRequest::HELLO:
      request.getHello().getVersion();
      return;
    case schema::HelperRequest::CREATE:
      return requireWithinPolicy(checkCreate(request.getCreate(), POLICY));
    case schema::HelperRequest::DESTROY:
      checkId(request.getDestroy().getId());
      return;
    case schema::HelperRequest::LIMIT_MEMORY:
      checkLimitMemory(request.getLimitMemory());
      return;
    case schema::HelperRequest::LIMIT_CPU:
      checkLimitCpu(request.getLimitCpu());
      return;
    case schema::HelperRequest::LIMIT_DISK:
      checkLimitDisk(request.getLimitDisk());
      return;
    case schema::HelperRequest::LIMIT_BANDWIDTH:
      return requireWithinPolicy(checkLimitBandwidth(request.getLimitBandwidth()));
    case schema::HelperRequest::MAP_PORT:
      return requireWithinPolicy(checkMapPort(request.getMapPort(), POLICY));
    case schema::HelperRequest::ALLOW_OUT:
      return requireWithinPolicy(checkAllowOut(request.getAllowOut()));
    case schema::HelperRequest::COPY_IN:
      return requireWithinPolicy(checkCopy(request.getCopyIn(), HostUse::READ));
    case schema::HelperRequest::COPY_OUT:
      return requireWithinPolicy(checkCopy(request.getCopyOut(), HostUse::WRITE));
    case schema::HelperRequest::OPEN_IMAGE:
      reasonAgainstPath(request.getOpenImage().getPath());
      return;
    case schema::HelperRequest::LIST_CONTAINERS:
    case schema::HelperRequest::ADOPT:
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
