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

// When it could not be written, for lack of space say.
constexpr auto RETRY_DELAY = 1 * kj::SECONDS;

// A first process that says nothing for so long is stuck, and its container can be destroyed only.
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
  snapshot.lastJobId = lastJobId;
  snapshot.limits = limits;
  snapshot.network = ipv4Text(ipAddresses.container).cStr();
  snapshot.uid = vcapUid;
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
  KJ_IF_MAYBE (reason, kj::runCatchingExceptions([this]() { save(false); })) {
    kj::throwFatalException(clientErrorOf(
        "could not create the container: write its snapshot: ", reason->getDescription(),
        "; free space or inodes where the depot is"));
  }
}

void Container::saveNow() {
  // Where there is nobody to be told.
  KJ_IF_MAYBE (reason, kj::runCatchingExceptions([this]() { save(false); })) {
    spdlog::error("container {}: its snapshot could not be written, and will be in {} s: {}",
                  containerId.text().cStr(), RETRY_DELAY / kj::SECONDS,
                  reason->getDescription().cStr());
    // What a client has an answer for must not depend on whether anything changes after it.
    saveAfter(RETRY_DELAY);
  }
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
  graceSeconds = snapshot.graceTime;
  lastJobId = snapshot.lastJobId;
  limits = snapshot.limits;
  mappings.assign(adopted.ports.begin(), adopted.ports.end());
  rules = std::move(snapshot.netOut);
  bandwidth = adopted.bandwidth;
  activate(kj::mv(adopted.created));
  oomWatch->countAll();
  if (snapshot.stopped) current = State::STOPPED;
  return services.timer.timeoutAfter(ANSWER_TIME, wshd->list())
      .then([this,
             options = std::move(snapshot.jobs)](kj::Array<WshdClient::KnownJob> known) mutable {
        return recoverJobs(known, options);
      })
      .then(
          [this]() {
            noticeOutOfMemory();
            // A stop that was under way goes on.
            bool runs = false;
            for (auto& [id, job] : jobs)
              runs |= !job->ended();
            if (current == State::STOPPED && runs) tasks.add(terminate(0));
            saveNow();
          },
          [this](kj::Exception&& reason) {
            spdlog::error("container {}: its jobs could not be recovered: {}",
                          containerId.text().cStr(), reason.getDescription().cStr());
            abandon("the container's first process does not answer");
          });
}

kj::Promise<void> Container::recoverJobs(kj::ArrayPtr<const WshdClient::KnownJob> known,
                                         std::map<uint32_t, OutputOptions>& options) {
  std::map<uint32_t, OutputOptions> there;
  auto attaching = kj::heapArrayBuilder<kj::Promise<void>>(known.size());
  for (auto& job : known) {
    // One that the snapshot does not have was started a moment before its frontend's end, without
    // options: those with any are in the snapshot before they are started.
    auto& found = there[job.id];
    auto option = options.find(job.id);
    if (option != options.end()) found = option->second;
    attaching.add(recoverJob(job, found));
    lastJobId = kj::max(lastJobId, job.id);
  }
  removeSpoolFilesBut(stateDirectory->fd(), there);
  return kj::joinPromises(attaching.finish());
}

kj::Promise<void> Container::recoverJob(const WshdClient::KnownJob& known,
                                        const OutputOptions& options) {
  auto share = services.descriptors.take(Job::DESCRIPTORS);
  KJ_REQUIRE(share != nullptr, "too few descriptors for the jobs that there are");
  auto job =
      kj::refcounted<Job>(services, kj::addRef(*stateDirectory), known.id, options,
                          kj::mv(KJ_ASSERT_NONNULL(share)), static_cast<Job::Listener&>(*this));
  job->reopenOutput();
  jobs.emplace(known.id, kj::addRef(*job));
  if (known.status) job->exited(*known.status);
  auto& reference = *job;
  return wshd->attach(known.id)
      .then([&reference](StartedJob pipes) { reference.started(kj::mv(pipes)); })
      .catch_([&reference](kj::Exception&& reason) {
        spdlog::error("job {} could not be recovered: {}", reference.id(),
                      reason.getDescription().cStr());
        reference.failed();
      })
      .attach(kj::mv(job));
}

}  // namespace warden::frontend
