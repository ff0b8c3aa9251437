// What answers have to agree with.

#include <algorithm>

#include "tests/chaos/client.h"

namespace warden::chaos {

namespace {

constexpr uint64_t UNLIMITED_RATE = 0xffffffff;

bool isBeginning(const std::string& part, const std::string& whole) {
  return whole.compare(0, part.size(), part) == 0;
}

std::string judgeJobs(const ContainerModel& container, const InfoResponse& info) {
  uint32_t unknown = 0;
  for (uint64_t id : info.job_ids()) {
    auto found = container.jobs.find(id);
    if (found == container.jobs.end()) ++unknown;
  }
  if (unknown > container.maybeJobs) return "it has jobs that nobody has started";
  if (container.harmed || container.mayBeStopped) return "";
  for (auto& [id, job] : container.jobs) {
    bool must = job.script.endless && !job.disturbed && job.state == JobModel::State::LIVE;
    bool there = std::count(info.job_ids().begin(), info.job_ids().end(), id) == 1;
    if (must && !there) return "job " + std::to_string(id) + " is lost";
  }
  return "";
}

}  // namespace

std::string judgeOutput(const JobScript& script, bool exact, const std::string& out,
                        const std::string& err, uint32_t status) {
  auto sizes = [&]() {
    return std::to_string(out.size()) + " and " + std::to_string(err.size()) + " bytes of " +
           std::to_string(script.out.size()) + " and " + std::to_string(script.err.size()) +
           ", status " + std::to_string(status) + " of " + std::to_string(script.status);
  };
  if (script.endless) return exact && status == 0 ? "an endless job has ended" : "";
  if (exact && (out != script.out || err != script.err || status != script.status)) {
    return "output or status are wrong: " + sizes();
  }
  // What the shell itself has to say of processes that it cannot start is not foreseen.
  if (!exact && !isBeginning(out, script.out) && err.empty()) {
    return "output is not the beginning of what it should be: " + sizes();
  }
  return "";
}

std::string judgeInfo(const ContainerModel& container, const InfoResponse& info) {
  bool active = info.state() == "active", stopped = info.state() == "stopped";
  bool fits = (active && container.mayBeActive) || (stopped && container.mayBeStopped) ||
              (container.harmed && (active || stopped));
  if (!fits) return "its state is " + info.state();
  uint64_t rate = info.bandwidth_stat().in_rate();
  if (rate == UNLIMITED_RATE) rate = 0;
  if (info.has_bandwidth_stat() && container.bandwidth.count(rate) == 0) {
    return "its bandwidth is " + std::to_string(rate);
  }
  return judgeJobs(container, info);
}

}  // namespace warden::chaos
