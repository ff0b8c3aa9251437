// What the helper does with the bytes of a frontend that an attacker has taken over: decode the
// packet, read every field.

#include <kj/debug.h>

#include "base/container-id.h"
#include "base/packet.h"
#include "schema/privhelper.capnp.h"

using namespace warden;

namespace {

// Keeps the compiler from leaving out reads whose result is not used.
volatile uint64_t sum;

void touch(capnp::Data::Reader data) {
  for (kj::byte b : data)
    sum = sum + b;
}

void readCreate(schema::CreateContainer::Reader create) {
  sum = sum + create.getSlot() + create.getImageVcapUid() + create.getImageVcapGid();
  KJ_IF_MAYBE (id, ContainerId::parse(create.getId())) {
    KJ_ASSERT(ContainerId::fromNumber(id->number()) == *id);
  }
  auto files = create.getEtcFiles();
  touch(files.getPasswd());
  touch(files.getGroup());
  touch(files.getHosts());
  touch(files.getResolvConf());
  touch(files.getHostname());
}

void readRequest(schema::HelperRequest::Reader request) {
  sum = sum + request.getSequence();
  switch (request.which()) {
    case schema::HelperRequest::HELLO:
      sum = sum + request.getHello().getVersion();
      return;
    case schema::HelperRequest::CREATE:
      return readCreate(request.getCreate());
    case schema::HelperRequest::DESTROY:
      KJ_IF_MAYBE (id, ContainerId::parse(request.getDestroy().getId())) {
        sum = sum + id->number();
      }
      return;
  }
  // An unknown member of the union: a newer or hostile frontend.
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    Packet packet = decodePacket(kj::arrayPtr(data, size));
    KJ_ASSERT(packet.fdCount() == 0);
    readRequest(packet.getRoot<schema::HelperRequest>());
  } catch (const kj::Exception&) {
    // Refused.
  }
  return 0;
}
