#include "frontend/disk-limits.h"

#include <kj/debug.h>

#include "frontend/client-error.h"

namespace warden::frontend {

namespace {

struct Field {
  const char* name;
  bool (LimitDiskRequest::*has)() const;
  uint64_t (LimitDiskRequest::*get)() const;
  uint64_t DiskLimits::*target;
};

#define FIELD(name, target) \
  { #name, &LimitDiskRequest::has_##name, &LimitDiskRequest::name, &DiskLimits::target }

// In each group, in the order in which they apply.
constexpr Field BYTES[] = {FIELD(byte_limit, blocksHard), FIELD(byte, blocksHard),
                           FIELD(byte_soft, blocksSoft), FIELD(byte_hard, blocksHard)};
constexpr Field BLOCKS[] = {FIELD(block_limit, blocksHard), FIELD(block, blocksHard),
                            FIELD(block_soft, blocksSoft), FIELD(block_hard, blocksHard)};
constexpr Field INODES[] = {FIELD(inode_limit, inodesHard), FIELD(inode, inodesHard),
                            FIELD(inode_soft, inodesSoft), FIELD(inode_hard, inodesHard)};
#undef FIELD

uint64_t blocksOf(uint64_t bytes) {
  return bytes / DISK_BLOCK_BYTES + (bytes % DISK_BLOCK_BYTES == 0 ? 0 : 1);
}

uint64_t bytesOf(uint64_t blocks) {
  return blocks > UINT64_MAX / DISK_BLOCK_BYTES ? UINT64_MAX : blocks * DISK_BLOCK_BYTES;
}

template <size_t N>
bool hasAny(const Field (&fields)[N], const LimitDiskRequest& request) {
  for (auto& field : fields) {
    if ((request.*field.has)()) return true;
  }
  return false;
}

template <size_t N, typename Convert>
void apply(DiskLimits& limits, const Field (&fields)[N], const LimitDiskRequest& request,
           uint64_t largest, Convert&& convert) {
  for (auto& field : fields) {
    if (!(request.*field.has)()) continue;
    uint64_t value = (request.*field.get)();
    if (value > largest) {
      kj::throwFatalException(clientErrorOf(field.name, " is ", value, "; a number from 0, which ",
                                            "is unlimited, to ", largest, " is accepted"));
    }
    limits.*field.target = convert(value);
  }
}

}  // namespace

bool setsDiskLimits(const LimitDiskRequest& request) {
  return hasAny(BYTES, request) || hasAny(BLOCKS, request) || hasAny(INODES, request);
}

DiskLimits applyDiskLimits(DiskLimits limits, const LimitDiskRequest& request) {
  auto same = [](uint64_t value) { return value; };
  apply(limits, BYTES, request, MAX_DISK_BYTES, blocksOf);
  apply(limits, BLOCKS, request, MAX_DISK_BYTES / DISK_BLOCK_BYTES, same);
  apply(limits, INODES, request, MAX_INODES, same);
  return limits;
}

LimitDiskResponse describeDiskLimits(const DiskLimits& limits) {
  LimitDiskResponse response;
  response.set_block_limit(limits.blocksHard);
  response.set_block(limits.blocksHard);
  response.set_block_soft(limits.blocksSoft);
  response.set_block_hard(limits.blocksHard);
  response.set_inode_limit(limits.inodesHard);
  response.set_inode(limits.inodesHard);
  response.set_inode_soft(limits.inodesSoft);
  response.set_inode_hard(limits.inodesHard);
  response.set_byte_limit(bytesOf(limits.blocksHard));
  response.set_byte(bytesOf(limits.blocksHard));
  response.set_byte_soft(bytesOf(limits.blocksSoft));
  response.set_byte_hard(bytesOf(limits.blocksHard));
  return response;
}

}  // namespace warden::frontend
