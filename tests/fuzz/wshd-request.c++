// Any bytes as a packet to wshd: decoding fails by exception or gives a request whose every field
// can be read; a spawn request is planned or refused, and a plan keeps its promises.

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/packet.h"
#include "wshd/request.h"

namespace {

void require(bool condition) {
  if (!condition) abort();
}

void checkPlan(const warden::SpawnPlan& plan) {
  require(plan.uid != 0xffffffff && plan.gid != 0xffffffff);
  require(plan.home.size() > 0 && plan.home[0] == '/' &&
          strlen(plan.home.cStr()) == plan.home.size());
  require(plan.environment.size() > 0 && plan.environment.back() == nullptr);
  size_t length = 0;
  for (char* assignment : plan.environment.slice(0, plan.environment.size() - 1)) {
    const char* sign = strchr(assignment, '=');
    require(sign != nullptr && sign != assignment);
    length += strlen(assignment) + 1;
  }
  require(length == plan.environmentText.size());
  for (const auto& limit : plan.limits)
    require(limit.resource >= 0 && limit.resource < RLIM_NLIMITS);
}

void readRequest(warden::schema::WshdRequest::Reader request) {
  request.getSequence();
  if (request.isSignalJob()) request.getSignalJob().getSignal();
  if (request.isSignalAll()) warden::isSignal(request.getSignalAll());
  if (!request.isSpawn()) return;
  auto planned = warden::planSpawn(request.getSpawn());
  if (planned.is<warden::SpawnPlan>()) {
    checkPlan(planned.get<warden::SpawnPlan>());
  } else {
    require(planned.get<warden::Failure>().error != 0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > warden::MAX_PACKET_BYTES) return 0;
  try {
    auto packet = warden::decodePacket(kj::arrayPtr(data, size));
    readRequest(packet.getRoot<warden::schema::WshdRequest>());
  } catch (const kj::Exception&) {
    // Malformed: the connection would be dropped.
  }
  return 0;
}
