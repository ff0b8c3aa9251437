#pragma once
// Reading what the helper answers of a container.

#include "frontend/helper-client.h"

namespace warden::frontend {

CreatedContainer takeCreated(Packet& packet, schema::Created::Reader created);
// With the descriptors of the packet.

}  // namespace warden::frontend
