#pragma once
// What the files of a container's cgroups say, in the terms of the client protocol.
// docs/STATISTICS.md has the mapping field by field, and its sources.
//
// The texts are the kernel's: "name value" lines, or a single value. A line that is not understood
// is passed over, and its field stays absent.

#include <kj/common.h>
#include <stdint.h>

#include "schema/warden.pb.h"

namespace warden::frontend {

using CgroupText = kj::ArrayPtr<const char>;

constexpr uint64_t UNLIMITED_MEMORY = 9223372036854771712u;
// What cgroup v1 shows for no limit: LONG_MAX rounded down to pages of 4096 bytes.

// cgroup v1
void readMemoryStatV1(CgroupText text, InfoResponse::MemoryStat& stat);
void readCpuUsageV1(CgroupText text, InfoResponse::CpuStat& stat);
void readCpuStatV1(CgroupText text, InfoResponse::CpuStat& stat);

// cgroup v2
void readMemoryStatV2(CgroupText text, InfoResponse::MemoryStat& stat);
void readMemoryMaxV2(CgroupText text, InfoResponse::MemoryStat& stat);
void readMemorySwapV2(CgroupText text, InfoResponse::MemoryStat& stat);
void readCpuStatV2(CgroupText text, InfoResponse::CpuStat& stat, uint64_t ticksPerSecond);

kj::Maybe<uint64_t> readOomKills(CgroupText text);
// `oom_kill` of memory.oom_control (v1) or memory.events (v2): processes that the kernel has killed
// because the container was out of memory.

}  // namespace warden::frontend
