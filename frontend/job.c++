#include "frontend/job.h"

#include <spdlog/spdlog.h>

namespace warden::frontend {

Job::Job(const Services& services, kj::Own<StateDirectory> directory, uint32_t id,
         OutputOptions options, Share descriptors, Listener& listener)
    : listener(listener),
      jobId(id),
      descriptors(kj::mv(descriptors)),
      outputOptions(options),
      spool(kj::mv(directory), id, services.config.server.jobOutputLimit),
      pumps(services, spool, kj::mv(options), *this) {}

void Job::reopenOutput() {
  spool.reopen();
  pumps.resume();
}

void Job::started(StartedJob pipes) {
  if (state == State::ENDED) return;
  pumps.take(kj::mv(pipes));
  if (state == State::EXITED_EARLY) {
    end();
  } else {
    pumps.start();
    state = State::RUNNING;
  }
}

void Job::exited(uint32_t status) {
  switch (state) {
    case State::STARTING:
      exitStatus = status;
      state = State::EXITED_EARLY;
      break;
    case State::RUNNING:
      exitStatus = status;
      end();
      break;
    case State::EXITED_EARLY:
    case State::ENDED:
      break;
  }
}

void Job::failed() {
  if (state == State::ENDED) return;
  exitStatus = FAILED_JOB_STATUS;
  end();
}

void Job::end() {
  pumps.finish();
  descriptors.keep(spool.fileCount());
  if (mustEnd) exitStatus = FAILED_JOB_STATUS;
  state = State::ENDED;
  changed.fire();
  listener.jobEnded(*this);
}

kj::Promise<void> Job::whenEnded() {
  if (ended()) return kj::READY_NOW;
  return changed.wait().then([this]() { return whenEnded(); });
}

void Job::giveUp(kj::StringPtr event) {
  if (mustEnd) return;
  mustEnd = true;
  listener.jobMustEnd(*this, event);
}

void Job::outputOverLimit() {
  giveUp("command exceeded maximum output");
}

void Job::outputFailed(kj::Exception&& reason) {
  spdlog::warn("job {}: output could not be stored: {}", jobId, reason.getDescription().cStr());
  giveUp("command output could not be stored");
}

}  // namespace warden::frontend
