#pragma once
// A container's counters, read from the files that the helper has opened.

#include <kj/array.h>

#include "base/fd.h"
#include "schema/privhelper.capnp.h"
#include "schema/warden.pb.h"

namespace warden::frontend {

struct StatisticsFile {
  schema::Created::Statistics kind;
  Fd fd;
};

class Statistics {
 public:
  static constexpr size_t MAX_FILES = 5;

  Statistics() = default;
  explicit Statistics(kj::Array<StatisticsFile> files);

  void describe(InfoResponse& info) const;
  // Sets memory_stat and cpu_stat, each where there is something to say: what cannot be read, as
  // when the cgroup is gone, leaves its fields absent. One pread(2) a file.

  kj::Maybe<uint64_t> oomKills() const;
  // How many processes the kernel has killed so far because the container was out of memory. None
  // when that is not known.

  int oomEventV1() const { return fdOf(schema::Created::Statistics::MEMORY_EVENT_V1); }
  int oomEventsV2() const { return fdOf(schema::Created::Statistics::MEMORY_EVENTS_V2); }
  // What to wait on: an eventfd; a file that is urgent when it has changed. -1: there is none.

 private:
  kj::Array<StatisticsFile> files;
  uint64_t ticksPerSecond = 100;

  int fdOf(schema::Created::Statistics kind) const;
  void describe(const StatisticsFile& file, InfoResponse::MemoryStat& memory,
                InfoResponse::CpuStat& cpu) const;
};

}  // namespace warden::frontend
