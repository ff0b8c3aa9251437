#pragma once
// The requests that move files, once it is known that they make sense.

#include "frontend/helper-client.h"
#include "frontend/requester.h"
#include "schema/warden.pb.h"

namespace warden::frontend {

CopyRequest readCopyIn(const CopyInRequest& request, const Requester& requester);
CopyRequest readCopyOut(const CopyOutRequest& request, const Requester& requester);
// Throw an error for the client: a path is not to be used (host-files.h) or not granted, or an
// owner is not USER:GROUP.

}  // namespace warden::frontend
