// The part of a container that outlives the frontend: its snapshot, and how a later frontend takes
// it over.

#include <kj/debug.h>
#include <spdlog/spdlog.h>

#include "base/ipv4.h"
#include "frontend/client-error.h"
#include "frontend/container.h"

namespace warden::frontend {

namespace {

// What changes often is written this much later, with what changes meanwhile.
constexpr auto SAVE_DELAY = 50 * kj::MILLISECONDS;

// What could not be written (a full disk) is tried again after this time.
constexpr auto SAVE_AGAIN = 1 * kj::SECONDS;

// As many ids as others may have got since the container's last job.
constexpr uint32_t MOST_JOBS_SINCE = 1 << 24;

// Nobody waits longer for a first process that says nothing.
constexpr auto ANSWER_TIME = 5 * kj::SECONDS;

}  // namespace

ContainerSnapshot Container::snapshot() const {
  ContainerSnapshot snapshot;
  snapshot.id = containerId.text().cStr();
  snapshot.handle = name;
  snapshot.stopped = current == State::STOPPED;
  snapshot.ranOutOfMemory = ranOutOfMemory;
  for (auto& event : events)
    snapshot.events.push_back(event.cStr());
  snapshot.graceTime = graceSeconds;
  snapshot.vcap = vcap.copy();
  snapshot.root = root.copy();
  for (auto& [id, job] : jobs)
    snapshot.jobs.emplace(id, job->options());
  KJ_IF_MAYBE (unknown, unknownJobs) snapshot.jobs.insert(unknown->begin(), unknown->end());
  snapshot.lastJobId = lastJobId;
  snapshot.limits = limits;
  snapshot.network = ipv4Text(ipAddresses.container).cStr();
  snapshot.uid = services.config.user.poolStartUid + slotIndex();
  snapshot.netIn = mappings;
  snapshot.netOut = rules;
  return snapshot;
}

void Container::save(bool durable) {
  if (current != State::ACTIVE && current != State::STOPPED) return;
  auto text = encodeSnapshot(snapshot());
  if (text == saved && !durable) return;
  writeSnapshot(stateDirectory->fd(), text, durable);
  saved = std::move(text);
}

void Container::saveFirst() {
  // Before create is answered: without it, a later frontend destroys the container.
  KJ_IF_MAYBE (reason, kj::runCatchingExceptions([this]() { save(false); })) {
    kj::throwFatalException(clientErrorOf(
        "could not create the container: write its snapshot: ", reason->getDescription(),
        "; free space or inodes where the depot is"));
  }
}

void Container::saveNow() {
  // Where there is nobody to be told.
  KJ_IF_MAYBE (reason, kj::runCatchingExceptions([this]() { save(false); })) {
    if (!saveFailed) {
      spdlog::error("container {}: its snapshot could not be written, and is tried again: {}",
                    containerId.text().cStr(), reason->getDescription().cStr());
    }
    saveFailed = true;
    saveAfter(SAVE_AGAIN);
    return;
  }
  if (saveFailed) spdlog::info("container {}: its snapshot is written", containerId.text().cStr());
  saveFailed = false;
}

void Container::saveSoon() {
  saveAfter(SAVE_DELAY);
}

void Container::saveAfter(kj::Duration delay) {
  if (saving) return;
  saving = true;
  // A new task, as this may be called from inside the one that it replaces.
  tasks.add(services.timer.afterDelay(delay).then([this]() {
    saving = false;
    saveNow();
  }));
}

void Container::prepareForSuccessor() {
  if (current != State::ACTIVE && current != State::STOPPED) return;
  // A job that has been linked must not be there again.
  wshd->sendForgets();
  for (auto& [id, job] : jobs)
    job->prepareForSuccessor();
  KJ_IF_MAYBE (reason, kj::runCatchingExceptions([this]() { save(true); })) {
    spdlog::error("container {}: its snapshot could not be written: {}", containerId.text().cStr(),
                  reason->getDescription().cStr());
  }
}

kj::Promise<void> Container::recover(ContainerSnapshot snapshot, AdoptedContainer adopted) {
  vcap = kj::mv(snapshot.vcap);
  root = kj::mv(snapshot.root);
  for (auto& event : snapshot.events)
    events.add(kj::str(event.c_str()));
  ranOutOfMemory = snapshot.ranOutOfMemory;
  lastJobId = snapshot.lastJobId;
  limits = snapshot.limits;
  mappings.assign(adopted.ports.begin(), adopted.ports.end());
  rules.assign(adopted.rules.begin(), adopted.rules.end());
  bandwidth = adopted.bandwidth;
  activate(kj::mv(adopted.created));
  oomWatch->countAll();
  if (snapshot.stopped) current = State::STOPPED;
  unknownJobs = kj::mv(snapshot.jobs);
  auto recovered = recoverJobsWhenTold().fork();
  tasks.add(recovered.addBranch());
  // The others are served without one that does not answer, whose jobs are known when it does.
  return recovered.addBranch().exclusiveJoin(services.timer.afterDelay(ANSWER_TIME));
}

kj::Promise<void> Container::recoverJobsWhenTold() {
  return wshd->list()
      .then([this](kj::Array<WshdClient::KnownJob> known) { return recoverJobs(known); })
      .then([this]() { recoveredJobs(); })
      .catch_([this](kj::Exception&& reason) -> kj::Promise<void> {
        if (wshd->isSilent()) {
          return wshd->whenHeard().then([this]() { return recoverJobsWhenTold(); });
        }
        unknownJobs = nullptr;
        if (current == State::DESTROYED) return kj::READY_NOW;
        spdlog::error("container {}: its jobs could not be recovered: {}",
                      containerId.text().cStr(), reason.getDescription().cStr());
        abandon(SILENT);
        return kj::READY_NOW;
      });
}

void Container::recoveredJobs() {
  unknownJobs = nullptr;
  noticeOutOfMemory();
  // A stop that was under way goes on. What has outlived all jobs has been asked to end before.
  bool runs = false;
  for (auto& [id, job] : jobs)
    runs |= !job->ended();
  if (current == State::STOPPED) tasks.add(terminate(runs ? 0 : TERM_SIGNALS));
  saveNow();
}

void Container::requireKnownJobs() const {
  if (unknownJobs != nullptr) kj::throwFatalException(wshd->silenceError());
}

uint32_t Container::highestJobId() const {
  // A job that was started a moment before its frontend's end is not in the snapshot.
  return unknownJobs == nullptr ? lastJobId : lastJobId + MAX_JOBS;
}

kj::Promise<void> Container::recoverJobs(kj::ArrayPtr<const WshdClient::KnownJob> known) {
  KJ_REQUIRE(known.size() <= MAX_JOBS, "its first process lists more jobs than there can be");
  auto& options = KJ_ASSERT_NONNULL(unknownJobs);
  std::map<uint32_t, OutputOptions> there;
  auto attaching = kj::heapArrayBuilder<kj::Own<Job>>(known.size());
  for (auto& job : known) {
    // One that the snapshot does not have was started a moment before its frontend's end, without
    // options: those with any are in the snapshot before they are started.
    KJ_REQUIRE(there.count(job.id) == 0, "its first process lists a job twice", job.id);
    auto& found = there[job.id];
    auto option = options.find(job.id);
    if (option != options.end()) found = option->second;
    attaching.add(enterJob(job, found));
    // A first process that was taken over may not have all other containers' ids used up.
    if (job.id - lastJobId <= MOST_JOBS_SINCE) lastJobId = kj::max(lastJobId, job.id);
  }
  removeSpoolFilesBut(stateDirectory->fd(), there);
  return attachNext(attaching.finish(), 0);
}

kj::Own<Job> Container::enterJob(const WshdClient::KnownJob& known, const OutputOptions& options) {
  auto share = services.descriptors.owe(Job::DESCRIPTORS);
  auto job = kj::refcounted<Job>(services, kj::addRef(*stateDirectory), known.id, options,
                                 kj::mv(share), static_cast<Job::Listener&>(*this));
  job->reopenOutput();
  jobs.emplace(known.id, kj::addRef(*job));
  if (known.status) job->exited(*known.status);
  return job;
}

// One after the other: those that have ended need their pipes for a moment only, for which there
// are not descriptors enough for all.
kj::Promise<void> Container::attachNext(kj::Array<kj::Own<Job>> recovered, size_t next) {
  if (next == recovered.size()) return kj::READY_NOW;
  auto& job = *recovered[next];
  return attachTo(job).then([this, recovered = kj::mv(recovered), next]() mutable {
    return attachNext(kj::mv(recovered), next + 1);
  });
}

kj::Promise<void> Container::attachTo(Job& job) {
  return wshd->attach(job.id())
      .then([&job](StartedJob pipes) { job.started(kj::mv(pipes)); })
      .catch_([this, &job](kj::Exception&& reason) -> kj::Promise<void> {
        // It keeps the job's pipes for whoever asks later.
        if (wshd->isSilent()) {
          return wshd->whenHeard().then([this, &job]() { return attachTo(job); });
        }
        spdlog::error("job {} could not be recovered: {}", job.id(),
                      reason.getDescription().cStr());
        job.failed();
        return kj::READY_NOW;
      });
}

}  // namespace warden::frontend
