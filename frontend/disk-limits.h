#pragma once
// What LimitDisk asks for, in the terms of the kernel's quotas.

#include <stdint.h>

#include "schema/warden.pb.h"

namespace warden::frontend {

struct DiskLimits {
  // 0: unlimited. Blocks are of 1024 bytes, as in quotactl(2).
  uint64_t blocksSoft = 0;
  uint64_t blocksHard = 0;
  uint64_t inodesSoft = 0;
  uint64_t inodesHard = 0;

  bool operator==(const DiskLimits& other) const = default;
};

constexpr uint64_t DISK_BLOCK_BYTES = 1024;

bool setsDiskLimits(const LimitDiskRequest& request);
// False: it has no field, and so only asks for what is in force.

DiskLimits applyDiskLimits(DiskLimits present, const LimitDiskRequest& request);
// `present` with what the request sets. The fields `*_limit`, the one without suffix, `*_soft` and
// `*_hard` apply in this order, so that of several the last counts; all but `*_soft` set the hard
// limit. `byte_*` is rounded up to blocks, and `block_*` goes before it. Throws an error for the
// client that names the field when a value is above MAX_DISK_BYTES or MAX_INODES.

constexpr uint64_t MAX_DISK_BYTES = INT64_MAX / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
constexpr uint64_t MAX_INODES = INT64_MAX;
// What file systems count in signed 64 bit numbers.

LimitDiskResponse describeDiskLimits(const DiskLimits& limits);
// All twelve fields. Bytes beyond 64 bits read as the largest number.

}  // namespace warden::frontend
