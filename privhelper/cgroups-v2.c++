// Version 2: Documentation/admin-guide/cgroup-v2.rst.

#include <errno.h>
#include <string.h>

#include "privhelper/cgroups-devices.h"
#include "privhelper/cgroups-version.h"
#include "privhelper/frontend.h"

namespace warden::privhelper {

namespace {

constexpr const char* MEMORY = "memory.max";
constexpr const char* SWAP = "memory.swap.max";
constexpr const char* THROTTLE = "memory.high";

using Kind = schema::Created::Statistics;

class Version2 final : public CgroupVersion {
 public:
  uint64_t memoryLimit(const CgroupDirectory& directory) const override {
    if (directory.read(MEMORY) == "max") return UNLIMITED_MEMORY;
    return directory.readNumber(MEMORY);
  }

  void limitMemory(const CgroupDirectory& directory, uint64_t bytes) const override {
    // Memory and swap together are the limit when there is no swap. What was swapped out before
    // stays out until it is used.
    bool unlimited = bytes == UNLIMITED_MEMORY;
    bool hasSwap = directory.has(SWAP);
    kj::String oldSwap;
    if (hasSwap) {
      oldSwap = directory.read(SWAP);
      directory.write(SWAP, unlimited ? "max"_kj : "0"_kj);
    }
    KJ_ON_SCOPE_FAILURE(if (hasSwap) directory.tryWrite(SWAP, oldSwap));
    if (bytes < memoryLimit(directory)) {
      lowerMemory(directory, bytes);
    } else {
      directory.write(MEMORY, unlimited ? kj::str("max") : kj::str(bytes));
    }
  }

  void setCpuShares(const CgroupDirectory& directory, uint64_t shares) const override {
    uint64_t weight = kj::max(uint64_t(1), kj::min(uint64_t(10000), shares * 100 / 1024));
    directory.write("cpu.weight", kj::str(weight));
  }

  void openMemory(const CgroupDirectory& directory,
                  kj::Vector<Statistic>& statistics) const override {
    openStatistic(directory, "memory.events", Kind::MEMORY_EVENTS_V2, statistics);
    openStatistic(directory, "memory.stat", Kind::MEMORY_STAT_V2, statistics);
    openStatistic(directory, MEMORY, Kind::MEMORY_MAX_V2, statistics);
    openStatistic(directory, "memory.swap.current", Kind::MEMORY_SWAP_V2, statistics);
  }

  void openCpu(const CgroupDirectory& directory, kj::Vector<Statistic>& statistics) const override {
    openStatistic(directory, "cpu.stat", Kind::CPU_STAT_V2, statistics);
  }

  bool restrictDevices(const CgroupDirectory& directory) const override {
    KJ_IF_MAYBE (fd, directory.open(".")) {
      attachDeviceProgram(*fd);
      return true;
    }
    directory.fail(ENOENT);
  }

  void freeze(const CgroupDirectory& directory, bool frozen) const override {
    directory.tryWrite("cgroup.freeze", frozen ? "1"_kj : "0"_kj);
  }

  bool isFrozen(const CgroupDirectory& directory) const override {
    return strstr(directory.read("cgroup.events").cStr(), "frozen 1") != nullptr;
  }

 private:
  static void lowerMemory(const CgroupDirectory& directory, uint64_t bytes) {
    // memory.max below the usage kills; memory.high reclaims what can be reclaimed and kills
    // nothing. What the container allocates between the look at the usage and the limit is
    // reclaimed by the latter, or killed.
    auto wanted = kj::str(bytes);
    KJ_DEFER(directory.tryWrite(THROTTLE, "max"));
    uint64_t end = monotonicUs() + RECLAIM_MS * 1000;
    directory.writeFor(THROTTLE, wanted, RECLAIM_MS);
    if (directory.readNumber("memory.current") > bytes) {
      directory.fail(monotonicUs() >= end ? EINTR : EBUSY);
    }
    directory.write(MEMORY, wanted);
  }
};

constexpr Version2 VERSION2;

}  // namespace

const CgroupVersion& cgroupVersion2() {
  return VERSION2;
}

}  // namespace warden::privhelper
