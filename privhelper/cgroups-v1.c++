// Version 1: Documentation/admin-guide/cgroup-v1/{memory,cpuacct,devices,freezer-subsystem}.rst and
// scheduler/sched-design-CFS.rst.

#include <errno.h>
#include <sys/eventfd.h>

#include <set>
#include <sstream>
#include <string>
#include <utility>

#include "privhelper/cgroups-devices.h"
#include "privhelper/cgroups-version.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr const char* MEMORY = "memory.limit_in_bytes";
constexpr const char* MEMORY_AND_SWAP = "memory.memsw.limit_in_bytes";

using Kind = schema::Created::Statistics;

class Version1 final : public CgroupVersion {
 public:
  uint64_t memoryLimit(const CgroupDirectory& directory) const override {
    return kj::min(directory.readNumber(MEMORY), UNLIMITED_MEMORY);
  }

  void limitMemory(const CgroupDirectory& directory, uint64_t bytes) const override {
    auto wanted = bytes == UNLIMITED_MEMORY ? kj::str("-1") : kj::str(bytes);
    // Absent where the kernel does not account for swap.
    if (!directory.has(MEMORY_AND_SWAP)) return directory.writeFor(MEMORY, wanted, RECLAIM_MS);
    // The kernel holds the limit of memory at or below the one of both at every moment.
    const char* first = MEMORY;
    const char* second = MEMORY_AND_SWAP;
    if (bytes > directory.readNumber(MEMORY_AND_SWAP)) std::swap(first, second);
    auto old = directory.read(first);
    directory.writeFor(first, wanted, RECLAIM_MS);
    KJ_ON_SCOPE_FAILURE(directory.tryWrite(first, old));
    directory.writeFor(second, wanted, RECLAIM_MS);
  }

  void setCpuShares(const CgroupDirectory& directory, uint64_t shares) const override {
    directory.write("cpu.shares", kj::str(shares));
  }

  void openMemory(const CgroupDirectory& directory,
                  kj::Vector<Statistic>& statistics) const override {
    KJ_IF_MAYBE (control, directory.open("memory.oom_control")) {
      Fd event(step("make eventfd", [] { return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }));
      int error =
          directory.tryWrite("cgroup.event_control", kj::str(event.get(), ' ', control->get()));
      // Kernels with PREEMPT_RT have no notification.
      if (error == 0) {
        statistics.add(Statistic{Kind::MEMORY_EVENT_V1, kj::mv(event)});
      } else if (error != ENOENT && error != EOPNOTSUPP) {
        directory.fail(error);
      }
      statistics.add(Statistic{Kind::MEMORY_OOM_CONTROL_V1, kj::mv(*control)});
    }
    openStatistic(directory, "memory.stat", Kind::MEMORY_STAT_V1, statistics);
  }

  void openCpu(const CgroupDirectory& directory, kj::Vector<Statistic>& statistics) const override {
    openStatistic(directory, "cpuacct.usage", Kind::CPU_USAGE_V1, statistics);
    openStatistic(directory, "cpuacct.stat", Kind::CPU_STAT_V1, statistics);
  }

  bool restrictDevices(const CgroupDirectory& directory) const override {
    std::set<std::string> wanted;
    for (const DeviceRule& rule : ALLOWED_DEVICES)
      wanted.insert(deviceRuleText(rule).cStr());
    std::set<std::string> present;
    std::istringstream list(directory.read("devices.list").cStr());
    for (std::string line; std::getline(list, line);)
      present.insert(line);
    // As a server that was killed has left it, with its containers below.
    if (present == wanted) return true;
    int error = directory.tryWrite("devices.deny", "a");
    if (error == EINVAL) return false;  // cgroups below
    if (error != 0) directory.fail(error);
    for (const std::string& rule : wanted)
      directory.write("devices.allow", rule.c_str());
    return true;
  }

  void freeze(const CgroupDirectory& directory, bool frozen) const override {
    directory.tryWrite("freezer.state", frozen ? "FROZEN"_kj : "THAWED"_kj);
  }

  bool isFrozen(const CgroupDirectory& directory) const override {
    return directory.read("freezer.state") == "FROZEN";
  }
};

constexpr Version1 VERSION1;

}  // namespace

const CgroupVersion& cgroupVersion1() {
  return VERSION1;
}

}  // namespace warden::privhelper
