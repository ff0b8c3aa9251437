#pragma once
// The checks that guard privilege: a request as an attacker may have written it comes in, and an
// order that is within the policy, or the reason why not, comes out. No side effects.

#include <kj/one-of.h>

#include "base/container-id.h"
#include "privhelper/orders.h"
#include "privhelper/policy.h"
#include "schema/privhelper.capnp.h"

namespace warden::privhelper {

struct Refusal {
  kj::String reason;
};

kj::OneOf<CreateOrder, Refusal> checkCreate(schema::CreateContainer::Reader request,
                                            const Policy& policy);
// Everything but what depends on the containers that exist.

kj::OneOf<ContainerId, Refusal> checkId(capnp::Text::Reader text);

// Likewise of the requests that concern a container that exists.
kj::OneOf<LimitOrder, Refusal> checkLimitMemory(schema::LimitMemory::Reader request);
kj::OneOf<LimitOrder, Refusal> checkLimitCpu(schema::LimitCpu::Reader request);
kj::OneOf<DiskOrder, Refusal> checkLimitDisk(schema::LimitDisk::Reader request);
kj::OneOf<BandwidthOrder, Refusal> checkLimitBandwidth(schema::LimitBandwidth::Reader request);
kj::OneOf<PortOrder, Refusal> checkMapPort(schema::MapPort::Reader request, const Policy& policy);
kj::OneOf<OutOrder, Refusal> checkAllowOut(schema::AllowOut::Reader request);

kj::Maybe<kj::String> reasonAgainstPath(capnp::Data::Reader path);
// Of a path of the host, or of the container: it is not absolute, has a NUL, or is longer than 4095
// bytes.

kj::OneOf<CopyOrder, Refusal> checkCopy(schema::Copy::Reader request, HostUse use);

}  // namespace warden::privhelper
