#pragma once
// One container: its state, its jobs, and the connection to its first process.

#include <kj/debug.h>
#include <kj/refcount.h>

#include <map>
#include <string>

#include "base/container-id.h"
#include "frontend/etc-files.h"
#include "frontend/job-request.h"
#include "frontend/job.h"
#include "frontend/pools.h"
#include "frontend/services.h"
#include "frontend/wshd-client.h"

namespace warden::frontend {

class Container final : public kj::Refcounted,
                        private WshdClient::Listener,
                        private Job::Listener,
                        private kj::TaskSet::ErrorHandler {
 public:
  enum class State { BORN, ACTIVE, STOPPED, DESTROYED };

  // What CreatedContainer has, one of which is wshd's socket.
  static constexpr uint64_t DESCRIPTORS = 2 + PacketLink::DESCRIPTORS;

  Container(const Services& services, const ContainerId& id, std::string handle, Slot slot,
            Share descriptors);
  ~Container() noexcept(false);

  const ContainerId& id() const { return containerId; }
  const std::string& handle() const { return name; }
  State state() const { return current; }
  void releaseSlot() { slot = nullptr; }
  // Nothing of the container is left on the host.

  void moveTo(Slot other) { slot = kj::mv(other); }
  // Before create() or after its failure.

  uint32_t slotIndex() const { return KJ_ASSERT_NONNULL(slot).index(); }

  void requireActive() const;
  void requireActiveOrStopped() const;
  // Throw an error for the client.

  kj::Promise<void> create(ContainerSetup setup);
  // BORN -> ACTIVE. Rejects when nothing of the container is left; then the object is to be
  // dropped. The promise must not be dropped.

  kj::Promise<void> destroy();
  // -> DESTROYED at once; then kills and removes everything. Jobs end when their processes have,
  // with a status that is not 0. Rejects when something is left: it may be called again. The
  // promise must not be dropped.

  kj::Promise<kj::Own<Job>> spawn(uint32_t jobId, JobRequest request);
  // Resolves when the job runs. Dropping the promise does not stop it.

  kj::Promise<void> stop(bool kill);
  // Resolves when all jobs have ended, or at once when the container is STOPPED already. Signals go
  // on if the promise is dropped.

  void abandon(kj::StringPtr event);
  // Its processes are beyond reach: STOPPED, and its jobs end with status 255.

  kj::Own<Job> job(uint32_t jobId);
  // Throws "no such job".

  void release(Job& job);
  // A client has its answer: nobody can ask for the job again.

  void describe(InfoResponse& info) const;
  // As things are; of a destroyed container, as they were before.

  static constexpr size_t MAX_JOBS = 1024;
  // Unfinished, or with an answer that nobody has asked for.

 private:
  const Services& services;
  ContainerId containerId;
  std::string name;
  kj::Maybe<Slot> slot;  // until nothing of the container is left
  Share descriptors;
  State current = State::BORN;
  kj::Vector<kj::String> events;
  kj::Maybe<InfoResponse> lastInfo;

  ContainerUser vcap;
  ContainerUser root;
  Pidfd process;
  kj::Own<StateDirectory> stateDirectory;
  kj::Own<kj::UnixEventPort::FdObserver> processObserver;
  kj::Own<WshdClient> wshd;
  std::map<uint32_t, kj::Own<Job>> jobs;
  Broadcast jobsChanged;
  kj::TaskSet tasks;

  void activate(ContainerSetup&& setup, CreatedContainer&& created);
  void watch();
  void addEvent(kj::StringPtr event);
  void endJobs();
  void fillInfo(InfoResponse& info) const;
  void finishDestroy();
  kj::Promise<void> whenIdle();
  kj::Promise<void> terminate(int signalsSent);
  JobStart prepare(uint32_t jobId, JobRequest& request, kj::ArrayPtr<const kj::String> environment);
  void spawnFailed(Job& job);

  void jobExited(uint32_t jobId, uint32_t status) override;
  void jobMustEnd(Job& job, kj::StringPtr event) override;
  void jobEnded(Job& job) override;
  void taskFailed(kj::Exception&& exception) override;
};

}  // namespace warden::frontend
