#include "privhelper/id-map.h"

#include <kj/vector.h>

namespace warden::privhelper {

namespace {

struct Exception {
  uint32_t inside;
  uint32_t host;
};

IdMap mapWithExceptions(uint32_t base, kj::ArrayPtr<const Exception> ascending) {
  kj::Vector<IdExtent> map;
  uint32_t next = 0;
  for (const Exception& e : ascending) {
    if (e.inside > next) map.add(IdExtent{next, base + next, e.inside - next});
    map.add(IdExtent{e.inside, e.host, 1});
    next = e.inside + 1;
  }
  if (next < IDS_PER_CONTAINER) map.add(IdExtent{next, base + next, IDS_PER_CONTAINER - next});
  return map.releaseAsArray();
}

}  // namespace

IdMap containerIdMap(const Policy& policy, uint32_t slot) {
  Exception vcap{policy.vcapUid(slot), policy.vcapUid(slot)};
  return mapWithExceptions(policy.rootUid(slot), kj::arrayPtr(&vcap, 1));
}

IdMap imageIdMap(const Policy& policy, uint32_t slot, kj::Maybe<uint32_t> imageVcap) {
  uint32_t vcap = policy.vcapUid(slot);
  uint32_t base = policy.rootUid(slot);
  KJ_IF_MAYBE (onDisk, imageVcap) {
    if (*onDisk != vcap) {
      // The two ids trade places, so that the map stays one to one.
      Exception image{*onDisk, vcap};
      Exception pool{vcap, base + *onDisk};
      Exception sorted[2] = {kj::min(image.inside, pool.inside) == image.inside ? image : pool,
                             kj::min(image.inside, pool.inside) == image.inside ? pool : image};
      return mapWithExceptions(base, sorted);
    }
  }
  return containerIdMap(policy, slot);
}

IdMap singleIdMap(uint32_t onDisk, uint32_t host) {
  IdExtent extent{onDisk, host, 1};
  return kj::heapArray(&extent, 1);
}

kj::String idMapText(const IdMap& map) {
  kj::Vector<kj::String> lines;
  for (const IdExtent& e : map)
    lines.add(kj::str(e.inside, ' ', e.host, ' ', e.count, '\n'));
  return kj::strArray(lines, "");
}

}  // namespace warden::privhelper
