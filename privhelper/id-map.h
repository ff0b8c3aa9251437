#pragma once
// Which host ids stand behind the ids of a container, and behind the owners of an image's files
// (user_namespaces(7), mount_setattr(2) "ID-mapped mounts").

#include <kj/array.h>
#include <kj/string.h>

#include "privhelper/policy.h"

namespace warden::privhelper {

struct IdExtent {
  uint32_t inside;
  uint32_t host;
  uint32_t count;
};

using IdMap = kj::Array<IdExtent>;

IdMap containerIdMap(const Policy& policy, uint32_t slot);
// Ids 0..65535 of the container to its range of host ids, but for vcap, who has the id of the pool
// on either side. The same map serves users and groups.

IdMap imageIdMap(const Policy& policy, uint32_t slot, kj::Maybe<uint32_t> imageVcap);
// Owners on disk to host ids: as the container's map, with what the image gave to its own vcap
// going to the container's vcap. Owners above 65535 are not mapped (they read as nobody).

IdMap singleIdMap(uint32_t onDisk, uint32_t host);
// One owner on disk to one host id; all others read as nobody.

kj::String idMapText(const IdMap& map);
// As /proc/PID/uid_map takes it.

}  // namespace warden::privhelper
