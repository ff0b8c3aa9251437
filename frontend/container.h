#pragma once
// One container: its state, its jobs, its limits, and the connection to its first process.

#include <kj/debug.h>
#include <kj/refcount.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/container-id.h"
#include "frontend/disk-limits.h"
#include "frontend/etc-files.h"
#include "frontend/gate.h"
#include "frontend/job-request.h"
#include "frontend/job.h"
#include "frontend/network-pool.h"
#include "frontend/oom-watch.h"
#include "frontend/pools.h"
#include "frontend/services.h"
#include "frontend/snapshot.h"
#include "frontend/wshd-client.h"

namespace warden::frontend {

struct ContainerResources {
  // Nobody else may have them until nothing of the container is left on the host.
  Slot slot;
  Network network;
  kj::Vector<Port> ports;
  UserShare share;  // of the owner's containers
  kj::Vector<UserShare> portShares;
};

class Container final : public kj::Refcounted,
                        private WshdClient::Listener,
                        private Job::Listener,
                        private kj::TaskSet::ErrorHandler {
 public:
  enum class State { BORN, ACTIVE, STOPPED, DESTROYED };
  static constexpr size_t STATES = 4;

  // What CreatedContainer has, one of which is wshd's socket.
  static constexpr uint64_t FIXED_DESCRIPTORS = 2 + PacketLink::DESCRIPTORS;
  static constexpr uint64_t DESCRIPTORS = FIXED_DESCRIPTORS + Statistics::MAX_FILES;  // at most

  Container(const Services& services, const ContainerId& id, std::string handle, uid_t owner,
            ContainerResources resources, Share descriptors);
  ~Container() noexcept(false);

  const ContainerId& id() const { return containerId; }
  const std::string& handle() const { return name; }
  uid_t owner() const { return ownerUid; }
  State state() const { return current; }
  void releaseResources() { resources = nullptr; }
  // Nothing of the container is left on the host.

  void moveTo(Slot slot, kj::Maybe<Network> network);
  // Before create() or after its failure. None: the network stays.

  uint32_t slotIndex() const { return KJ_ASSERT_NONNULL(resources).slot.number(); }
  const ContainerAddresses& addresses() const { return ipAddresses; }

  void requireActive() const;
  void requireActiveOrStopped() const;
  // Throw an error for the client.

  kj::Promise<void> create(int client, ContainerSetup setup,
                           const kj::Vector<BindMount>& bindMounts);
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

  kj::Promise<void> recover(ContainerSnapshot snapshot, AdoptedContainer adopted);
  // Instead of create(): one that an earlier frontend has made. Resolves when its jobs are there,
  // running or with their answers; after some seconds also where its first process does not answer:
  // then they are there when it does. The promise must not be dropped.

  void prepareForSuccessor();
  // The process is about to end and the container to go on: says all that the next frontend needs.

  void setGraceTime(std::optional<uint32_t> seconds) { graceSeconds = seconds; }
  std::optional<uint32_t> graceTime() const { return graceSeconds; }
  uint32_t highestJobId() const;
  // None of its jobs has a higher one.

  void askForSignOfLife();
  // Of its first process, so that one that does not answer is found although nobody needs it.

  kj::Promise<void> whenSilent();
  // Rejects with an error for the client when, and as long as, its first process does not answer.

  bool isSilent() const { return wshd.get() != nullptr && wshd->isSilent(); }
  size_t unfinishedJobs() const;

  void abandon(kj::StringPtr event);
  // Its processes are beyond reach: STOPPED, and its jobs end with status 255.

  kj::Own<Job> job(uint32_t jobId);
  // Throws "no such job".

  void release(Job& job);
  // A client has its answer: nobody can ask for the job again.

  kj::Promise<InfoResponse> describe();
  // As things are; of a destroyed container, as they were before. What cannot be found out is
  // absent.

  // Limits: active or stopped. They resolve to what is in force then. `client` is on whose behalf
  // (Requester::forHelper).
  kj::Promise<uint64_t> limitMemory(Fd client, kj::Maybe<uint64_t> bytes);
  kj::Promise<uint64_t> limitCpu(Fd client, kj::Maybe<uint64_t> shares);
  kj::Promise<DiskLimits> limitDisk(Fd client, const LimitDiskRequest& request, const Grant& grant);
  kj::Promise<void> limitBandwidth(Fd client, Bandwidth bandwidth);

  // Network: active. Carried out to the end also when the promise is dropped.
  kj::Promise<PortMapping> mapPort(Fd client, PortRequest request, UserShare share);
  kj::Promise<void> allowOut(Fd client, const OutRule& rule);

  kj::Promise<void> copy(Fd client, CopyRequest request, kj::Maybe<Fd&> meter = nullptr);
  // Active, and out of it stopped too. Dropping the promise ends the copy; what was copied stays.
  // `meter` becomes a pipe in which the container says how far it is (base/progress-pipe.h).

  static constexpr kj::StringPtr SILENT = "the container's first process does not answer"_kj;
  // An event.

  static constexpr size_t MAX_JOBS = 1024;
  static constexpr unsigned MAX_CHANGES = 8;  // at a time; more wait
  // Unfinished, or with an answer that nobody has asked for.

 private:
  const Services& services;
  ContainerId containerId;
  std::string name;
  uid_t ownerUid;
  kj::Maybe<ContainerResources> resources;
  ContainerAddresses ipAddresses;
  Share descriptors;
  State current = State::BORN;
  kj::Vector<kj::String> events;
  kj::Maybe<InfoResponse> lastInfo;  // of a destroyed container
  kj::Maybe<kj::ForkedPromise<void>> lastInfoComplete;
  kj::Maybe<Bandwidth> bandwidth;
  bool ranOutOfMemory = false;

  // For the snapshot only.
  std::optional<uint32_t> graceSeconds;
  uint32_t lastJobId = 0;
  ContainerSnapshot::Limits limits;
  std::vector<PortMapping> mappings;
  std::vector<OutRule> rules;
  std::string saved;  // what the file has
  bool saving = false;
  bool saveFailed = false;  // said, and tried again

  ContainerUser vcap;
  ContainerUser root;
  Pidfd process;
  kj::Own<StateDirectory> stateDirectory;
  kj::Own<kj::UnixEventPort::FdObserver> processObserver;
  kj::Own<WshdClient> wshd;
  Statistics statistics;
  kj::Own<OomWatch> oomWatch;
  // With the helper, where they cannot be taken back when their client goes.
  Gate changes{MAX_CHANGES};
  Gate diskChanges{1};
  std::map<uint32_t, kj::Own<Job>> jobs;
  // Of an earlier frontend's snapshot, until the first process has said which of them there are.
  kj::Maybe<std::map<uint32_t, OutputOptions>> unknownJobs;
  Broadcast jobsChanged;
  kj::TaskSet tasks;

  void activate(CreatedContainer&& created);
  ContainerSnapshot snapshot() const;
  void save(bool durable);
  void saveFirst();
  void saveNow();
  void saveSoon();
  void saveAfter(kj::Duration delay);
  kj::Promise<void> recoverJobsWhenTold();
  kj::Promise<void> recoverJobs(kj::ArrayPtr<const WshdClient::KnownJob> known);
  void recoveredJobs();
  void requireKnownJobs() const;
  kj::Own<Job> enterJob(const WshdClient::KnownJob& known, const OutputOptions& options);
  kj::Promise<void> attachNext(kj::Array<kj::Own<Job>> recovered, size_t next);
  kj::Promise<void> attachTo(Job& job);
  void watch();
  void addEvent(kj::StringPtr event);
  void endJobs();
  void noticeOutOfMemory();
  void rememberInfo();
  void fillInfo(InfoResponse& info) const;
  kj::Promise<void> addDiskStat(InfoResponse& info);
  void finishDestroy();
  kj::Promise<void> whenIdle();
  static constexpr int TERM_SIGNALS = 10;  // one a second, then KILL
  kj::Promise<void> terminate(int signalsSent);
  JobStart prepare(uint32_t jobId, JobRequest& request, kj::ArrayPtr<const kj::String> environment);
  void saveOptions(const OutputOptions& options);
  void spawnFailed(Job& job);
  template <typename T>
  void remember(std::optional<T>& what, T value);
  kj::Promise<DiskLimits> changeDiskLimits(int client, const LimitDiskRequest& request,
                                           const Grant& grant);
  kj::Promise<PortMapping> mapThisPort(int client, uint16_t hostPort, uint16_t containerPort,
                                       UserShare share);
  kj::Promise<PortMapping> mapNextPort(int client, kj::Maybe<uint16_t> containerPort,
                                       UserShare share, kj::Vector<Port> unusable);
  void keepPort(PortMapping mapping, Port&& port, UserShare&& share);

  template <typename Start>
  kj::PromiseForResult<Start, void> change(Gate& gate, Start start);
  // What `start` promises, when the gate lets it through; carried out to the end from then on, also
  // when the promise is dropped.

  void jobExited(uint32_t jobId, uint32_t status) override;
  void wshdFellSilent() override;
  void wshdAnswersAgain() override;
  void jobMustEnd(Job& job, kj::StringPtr event) override;
  void jobEnded(Job& job) override;
  void taskFailed(kj::Exception&& exception) override;
};

kj::StringPtr nameOf(Container::State state);

template <typename Start>
kj::PromiseForResult<Start, void> Container::change(Gate& gate, Start start) {
  KJ_IF_MAYBE (pass, gate.enter()) {
    auto forked = kj::evalNow(start).attach(kj::mv(*pass)).fork();
    tasks.add(forked.addBranch().then([](auto&&...) {}, [](kj::Exception&&) {}));
    return forked.addBranch();
  }
  return gate.whenOpened().then(
      [this, &gate, start = kj::mv(start)]() mutable { return change(gate, kj::mv(start)); });
}

}  // namespace warden::frontend
