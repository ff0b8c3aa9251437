#pragma once
// The requests that move files, once it is known that they make sense.

#include "frontend/helper-client.h"
#include "schema/warden.pb.h"

namespace warden::frontend {

CopyRequest readCopyIn(const CopyInRequest& request);
CopyRequest readCopyOut(const CopyOutRequest& request);
// Throw an error for the client: a path is empty, has a NUL, is longer than 4095 bytes, or, on the
// host, is not absolute; an owner is not USER:GROUP.

}  // namespace warden::frontend
