#pragma once
// What requests ask for of the host's files, once it is known to make sense and to be granted.

#include <kj/array.h>
#include <kj/vector.h>

#include <string>

#include "base/config.h"
#include "frontend/requester.h"
#include "schema/warden.pb.h"

namespace warden::frontend {

struct BindMount {
  std::string source;  // on the host
  std::string target;  // in the container
  bool writable;
};

struct HostFiles {
  std::string rootfs;  // empty: the configured image
  kj::Vector<BindMount> bindMounts;
};

HostFiles readHostFiles(const CreateRequest& request, const Requester& requester,
                        const Config& config);
// Throws an error for the client: a path is not absolute, too long or has a NUL; a target is in the
// way of the container's own system; there are too many; the access rules do not grant it.

void requirePath(kj::StringPtr field, const std::string& path, bool absolute);
// Throws an error for the client: it is empty, too long, has a NUL, or is not absolute but must be.

void requireGrant(kj::StringPtr what, const std::string& path, kj::StringPtr key,
                  const std::vector<HostPrefix>& prefixes, HostUse use, const Requester& requester);
// Throws an error for the client: access rules grant no prefix of `path` for this use. `what` is
// what would be done with it, `key` where the rules would grant it.

}  // namespace warden::frontend
