#pragma once
// One job of a container, from the request that starts it until its answer has been received.

#include <kj/refcount.h>

#include "frontend/broadcast.h"
#include "frontend/job-output.h"

namespace warden::frontend {

constexpr uint32_t FAILED_JOB_STATUS = 255;  // ended by a signal, or by us

class Job final : public kj::Refcounted, private JobOutput::Owner {
 public:
  class Listener {
   public:
    virtual void jobMustEnd(Job& job, kj::StringPtr event) = 0;
    // Its output cannot be taken any more: it is to be killed, and the event recorded.
    virtual void jobEnded(Job& job) = 0;
  };

  static constexpr uint64_t DESCRIPTORS = 4;  // at most: pipes and spool files

  Job(const Services& services, kj::Own<StateDirectory> state, uint32_t id, OutputOptions options,
      Share descriptors, Listener& listener);
  // `services` and `listener` are borrowed; the listener until the job has ended.

  kj::Own<Job> addRef() { return kj::addRef(*this); }

  uint32_t id() const { return jobId; }

  void started(StartedJob pipes);
  void exited(uint32_t status);
  // In either order; only the first exit counts.
  void failed();
  // It could not be started: it ends with FAILED_JOB_STATUS.

  void reopenOutput();
  // Before started(): a job that an earlier frontend has started.
  void prepareForSuccessor() { pumps.prepareForSuccessor(); }

  void doneWith() { spool.doneWith(); }
  // Nobody can ask for it again: its output goes with it.

  bool ended() const { return state == State::ENDED; }
  uint32_t status() const { return exitStatus; }

  kj::Promise<void> whenEnded();
  kj::Promise<void> whenChanged() { return changed.wait(); }
  // There is more output, or the job has ended.

  const OutputOptions& options() const { return outputOptions; }

  const OutputSpool& output() const { return spool; }
  // Complete when the job has ended.

 private:
  enum class State { STARTING, EXITED_EARLY, RUNNING, ENDED };

  Listener& listener;
  uint32_t jobId;
  State state = State::STARTING;
  uint32_t exitStatus = 0;
  bool mustEnd = false;
  Share descriptors;
  OutputOptions outputOptions;
  OutputSpool spool;
  JobOutput pumps;
  Broadcast changed;

  void end();
  void giveUp(kj::StringPtr event);

  void outputGrew() override { changed.fire(); }
  void outputOverLimit() override;
  void outputFailed(kj::Exception&& reason) override;
};

}  // namespace warden::frontend
