#include "frontend/statistics.h"

#include <errno.h>
#include <unistd.h>

#include "frontend/cgroup-files.h"

namespace warden::frontend {

namespace {

using Kind = schema::Created::Statistics;

// memory.stat of kernel 6.18 has 1.5 KiB on v1 and 2 KiB on v2. Of a longer text the complete lines
// that fit are taken.
constexpr size_t MAX_TEXT_BYTES = 16 * 1024;

class FileText {
 public:
  explicit FileText(int fd) {
    ssize_t n;
    do {
      n = pread(fd, buffer, sizeof(buffer), 0);
    } while (n < 0 && errno == EINTR);
    if (n > 0) size = n;
  }

  operator CgroupText() const { return kj::arrayPtr(buffer, size); }

 private:
  char buffer[MAX_TEXT_BYTES];
  size_t size = 0;
};

// The files of oomKills() and of what is waited for.
bool isOfOomKills(Kind kind) {
  return kind == Kind::MEMORY_EVENT_V1 || kind == Kind::MEMORY_OOM_CONTROL_V1 ||
         kind == Kind::MEMORY_EVENTS_V2;
}

}  // namespace

Statistics::Statistics(kj::Array<StatisticsFile> files)
    : files(kj::mv(files)), ticksPerSecond(sysconf(_SC_CLK_TCK)) {}

int Statistics::fdOf(Kind kind) const {
  for (auto& file : files) {
    if (file.kind == kind) return file.fd;
  }
  return -1;
}

void Statistics::describe(InfoResponse& info) const {
  InfoResponse::MemoryStat memory;
  InfoResponse::CpuStat cpu;
  for (auto& file : files)
    describe(file, memory, cpu);
  if (memory.ByteSizeLong() > 0) *info.mutable_memory_stat() = std::move(memory);
  if (cpu.ByteSizeLong() > 0) *info.mutable_cpu_stat() = std::move(cpu);
}

void Statistics::describe(const StatisticsFile& file, InfoResponse::MemoryStat& memory,
                          InfoResponse::CpuStat& cpu) const {
  if (isOfOomKills(file.kind)) return;
  FileText text(file.fd);
  switch (file.kind) {
    case Kind::MEMORY_STAT_V1:
      return readMemoryStatV1(text, memory);
    case Kind::CPU_USAGE_V1:
      return readCpuUsageV1(text, cpu);
    case Kind::CPU_STAT_V1:
      return readCpuStatV1(text, cpu);
    case Kind::MEMORY_STAT_V2:
      return readMemoryStatV2(text, memory);
    case Kind::MEMORY_MAX_V2:
      return readMemoryMaxV2(text, memory);
    case Kind::MEMORY_SWAP_V2:
      return readMemorySwapV2(text, memory);
    case Kind::CPU_STAT_V2:
      return readCpuStatV2(text, cpu, ticksPerSecond);
    default:
      return;
  }
}

kj::Maybe<uint64_t> Statistics::oomKills() const {
  int fd = fdOf(Kind::MEMORY_EVENTS_V2);
  if (fd < 0) fd = fdOf(Kind::MEMORY_OOM_CONTROL_V1);
  if (fd < 0) return nullptr;
  return readOomKills(FileText(fd));
}

}  // namespace warden::frontend
