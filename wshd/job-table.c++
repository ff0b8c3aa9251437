#include "wshd/job-table.h"

#include <kj/debug.h>

namespace warden {

bool JobTable::reserve() {
  if (jobs.size() >= limit) return false;
  if (jobs.size() == jobs.capacity()) jobs.reserve(kj::max(size_t{4}, 2 * jobs.size()));
  return true;
}

JobRecord& JobTable::add(uint32_t id, pid_t pid, Fd output, Fd errors) {
  return jobs.add(JobRecord{id, pid, kj::mv(output), kj::mv(errors)});
}

kj::Maybe<JobRecord&> JobTable::find(uint32_t id) {
  for (auto& job : jobs) {
    if (job.id == id) return job;
  }
  return nullptr;
}

void JobTable::forget(uint32_t id) {
  for (auto& job : jobs) {
    if (job.id != id) continue;
    if (!job.running && !job.announced) --toAnnounce;
    if (&job != &jobs.back()) job = kj::mv(jobs.back());
    jobs.removeLast();
    if (jobs.empty()) jobs = kj::Vector<JobRecord>();
    return;
  }
}

void JobTable::childEnded(pid_t pid, int status) {
  for (auto& job : jobs) {
    if (!job.running || job.pid != pid) continue;
    job.running = false;
    job.status = status;
    ++toAnnounce;
    return;
  }
}

kj::Maybe<JobRecord&> JobTable::nextEnded() {
  if (toAnnounce == 0) return nullptr;
  for (auto& job : jobs) {
    if (!job.running && !job.announced) return job;
  }
  KJ_UNREACHABLE;
}

void JobTable::announced(JobRecord& job) {
  job.announced = true;
  --toAnnounce;
}

void JobTable::announceNothing() {
  for (auto& job : jobs) {
    if (!job.running) job.announced = true;
  }
  toAnnounce = 0;
}

}  // namespace warden
