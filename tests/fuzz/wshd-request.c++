// Any bytes as a packet to wshd: decoding fails by exception or gives a request whose every field
// can be read; a spawn or copy request is planned or refused, and a plan keeps its promises.

#include <limits.h>
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

bool isPath(capnp::Data::Reader text) {
  return text.size() > 0 && text[0] == '/' && memchr(text.begin(), 0, text.size()) == nullptr;
}

void checkPlan(const warden::CopyPlan& plan, warden::schema::CopyFiles::Reader copy) {
  require(plan.uid != 0 && plan.uid != 0xffffffff && plan.gid != 0xffffffff);
  require(plan.uid == copy.getUid() && plan.gid == copy.getGid() && plan.pack == copy.isPack());
  require(plan.groups.size() == copy.getGroups().size());
  for (gid_t group : plan.groups)
    require(group != 0xffffffff);
  require(plan.path.size() > 0 && plan.path.size() < PATH_MAX && plan.path[0] == '/');
  require(strlen(plan.path.cStr()) == plan.path.size());
  // As it was asked for, or beneath the home directory.
  require(isPath(copy.getHome()));
  auto path = copy.getPath().asChars();
  require(plan.path.endsWith(kj::heapString(path)));
  size_t before = plan.path.size() - path.size();
  require(path[0] == '/' ? before == 0 : before == copy.getHome().size() + 1);
}

void checkFailure(const warden::Failure& failure) {
  require(failure.error != 0 && failure.step.size() > 0);
}

void readCopy(warden::schema::CopyFiles::Reader copy) {
  auto planned = warden::planCopy(copy);
  if (planned.is<warden::CopyPlan>()) {
    checkPlan(planned.get<warden::CopyPlan>(), copy);
  } else {
    checkFailure(planned.get<warden::Failure>());
  }
}

void readRequest(warden::schema::WshdRequest::Reader request) {
  request.getSequence();
  if (request.isSignalJob()) request.getSignalJob().getSignal();
  if (request.isSignalAll()) warden::isSignal(request.getSignalAll());
  if (request.isCancelCopy()) request.getCancelCopy();
  if (request.isCopy()) return readCopy(request.getCopy());
  if (!request.isSpawn()) return;
  auto planned = warden::planSpawn(request.getSpawn());
  if (planned.is<warden::SpawnPlan>()) {
    checkPlan(planned.get<warden::SpawnPlan>());
  } else {
    checkFailure(planned.get<warden::Failure>());
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
