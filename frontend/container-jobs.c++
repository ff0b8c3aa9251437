// The part of a container that concerns its jobs.

#include <kj/debug.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include "frontend/client-error.h"
#include "frontend/container.h"

namespace warden::frontend {

kj::Promise<kj::Own<Job>> Container::spawn(uint32_t jobId, JobRequest request) {
  requireActive();
  requireKnownJobs();
  if (jobs.size() >= MAX_JOBS) {
    return clientErrorOf("could not start the job: the container has ", MAX_JOBS,
                         " jobs that run or that nobody has linked, and there can be no more; link "
                         "those that have ended, stop some, or destroy the container");
  }
  KJ_REQUIRE(jobs.count(jobId) == 0, "the job's id is another's", jobId);
  auto descriptors = services.descriptors.take(Job::DESCRIPTORS);
  if (descriptors == nullptr) {
    return clientErrorOf(
        "could not start the job: the jobs and containers there are hold all descriptors that the "
        "server has for them; link jobs that have ended, or raise the server's limit on open "
        "files");
  }
  auto environment =
      jobEnvironment(request.privileged ? root : vcap, request.privileged, services.lang);
  auto start = prepare(jobId, request, environment);
  auto job = kj::refcounted<Job>(services, kj::addRef(*stateDirectory), jobId,
                                 kj::mv(request.output), kj::mv(KJ_ASSERT_NONNULL(descriptors)),
                                 static_cast<Job::Listener&>(*this));
  jobs.emplace(jobId, kj::addRef(*job));
  lastJobId = jobId;
  KJ_IF_MAYBE (reason, kj::runCatchingExceptions([&]() { saveOptions(job->options()); })) {
    jobs.erase(jobId);
    job->doneWith();
    return clientErrorOf(
        "could not start the job: write the container's snapshot: ", reason->getDescription(),
        "; free space or inodes where the server's depot is, and try again");
  }

  auto running =
      wshd->spawn(kj::mv(start))
          .then([job = kj::addRef(*job)](StartedJob pipes) mutable {
            job->started(kj::mv(pipes));
            return kj::mv(job);
          })
          .catch_([this, job = kj::mv(job)](kj::Exception&& reason) mutable -> kj::Own<Job> {
            spawnFailed(*job);
            // It has ended like the jobs that ran.
            if (current == State::DESTROYED) return kj::mv(job);
            kj::throwFatalException(kj::mv(reason));
          })
          .fork();
  // The client may go away; the job is started all the same, and can be linked by another.
  tasks.add(running.addBranch().then([](kj::Own<Job>) {}, [](kj::Exception&&) {}));
  return running.addBranch();
}

JobStart Container::prepare(uint32_t jobId, JobRequest& request,
                            kj::ArrayPtr<const kj::String> environment) {
  auto& user = request.privileged ? root : vcap;
  return JobStart{jobId,
                  user.uid,
                  user.gid,
                  user.groups,
                  request.privileged,
                  user.home,
                  environment,
                  request.limits,
                  kj::mv(request.script),
                  request.answeredAtEnd};
}

void Container::saveOptions(const OutputOptions& options) {
  // What wshd cannot tell a later frontend must be known before the job runs.
  if (options.discard || options.logTag) return save(false);
  saveSoon();
}

void Container::spawnFailed(Job& job) {
  jobs.erase(job.id());
  job.doneWith();
  saveSoon();
  // The shell may run all the same, when it is its pipes that cannot be used.
  wshd->signalJob(job.id(), SIGKILL);
  wshd->forget(job.id());
  // Ids are easily guessed: somebody may wait for this one already.
  job.failed();
}

kj::Own<Job> Container::job(uint32_t jobId) {
  requireKnownJobs();
  auto found = jobs.find(jobId);
  if (found == jobs.end()) kj::throwFatalException(clientErrorOf("no such job"));
  return kj::addRef(*found->second);
}

size_t Container::unfinishedJobs() const {
  size_t count = 0;
  for (auto& entry : jobs)
    count += !entry.second->ended();
  return count;
}

void Container::release(Job& job) {
  if (jobs.erase(job.id()) == 0) return;
  job.doneWith();
  if (current == State::DESTROYED) return;
  // Output goes after that: what a successor finds of a job is all of it, or nothing.
  if (job.output().fileCount() > 0) {
    wshd->forgetNow(job.id());
  } else {
    wshd->forget(job.id());
  }
  saveSoon();
}

void Container::jobExited(uint32_t jobId, uint32_t status) {
  // Before the job's answer goes out, which says it.
  noticeOutOfMemory();
  auto found = jobs.find(jobId);
  if (found != jobs.end()) found->second->exited(status);
}

void Container::jobMustEnd(Job& job, kj::StringPtr event) {
  addEvent(event);
  wshd->signalJob(job.id(), SIGKILL);
}

void Container::jobEnded(Job&) {
  jobsChanged.fire();
}

}  // namespace warden::frontend
