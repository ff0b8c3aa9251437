#pragma once
// The checks that guard privilege: a request as an attacker may have written it comes in, and an
// order that is within the policy, or the reason why not, comes out. No side effects.

#include <kj/one-of.h>

#include "base/container-id.h"
#include "privhelper/policy.h"
#include "schema/privhelper.capnp.h"

namespace warden::privhelper {

struct Refusal {
  kj::String reason;
};

struct EtcFile {
  const char* name;  // one of a fixed set
  kj::ArrayPtr<const kj::byte> content;
};

struct CreateOrder {
  // Borrows from the request.
  ContainerId id;
  uint32_t slot;
  kj::Maybe<uint32_t> imageVcapUid;
  kj::Maybe<uint32_t> imageVcapGid;
  kj::Array<EtcFile> etcFiles;
};

kj::OneOf<CreateOrder, Refusal> checkCreate(schema::CreateContainer::Reader request,
                                            const Policy& policy);
// Everything but what depends on the containers that exist.

kj::OneOf<ContainerId, Refusal> checkId(capnp::Text::Reader text);

}  // namespace warden::privhelper
