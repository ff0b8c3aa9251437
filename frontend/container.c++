#include "frontend/container.h"

#include <kj/debug.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include "frontend/client-error.h"

namespace warden::frontend {

namespace {

constexpr auto TERM_INTERVAL = 1 * kj::SECONDS;

// How long wshd's last packets may take to be read after its death has been seen.
constexpr auto FAREWELL_TIME = 100 * kj::MILLISECONDS;

constexpr size_t MAX_EVENTS = 1000;

[[noreturn]] void refuse(kj::StringPtr permitted, Container::State state) {
  kj::throwFatalException(clientErrorOf("Container state must be one of '", permitted,
                                        "', current state is '", nameOf(state), "'"));
}

}  // namespace

Container::Container(const Services& services, const ContainerId& id, std::string handle,
                     uid_t owner, ContainerResources resourcesParam, Share descriptors)
    : services(services),
      containerId(id),
      name(std::move(handle)),
      ownerUid(owner),
      resources(kj::mv(resourcesParam)),
      ipAddresses(KJ_ASSERT_NONNULL(resources).network.addresses()),
      descriptors(kj::mv(descriptors)),
      tasks(*this) {}

Container::~Container() noexcept(false) {}

void Container::moveTo(Slot slot, kj::Maybe<Network> network) {
  auto& own = KJ_ASSERT_NONNULL(resources);
  own.slot = kj::mv(slot);
  KJ_IF_MAYBE (other, network) {
    own.network = kj::mv(*other);
    ipAddresses = own.network.addresses();
  }
}

void Container::requireActive() const {
  if (current != State::ACTIVE) refuse("active", current);
}

void Container::requireActiveOrStopped() const {
  if (current != State::ACTIVE && current != State::STOPPED) refuse("active, stopped", current);
}

kj::Promise<void> Container::create(int client, ContainerSetup setup,
                                    const kj::Vector<BindMount>& bindMounts) {
  auto network = KJ_ASSERT_NONNULL(resources).network.number();
  auto answer = services.helper.create(client, containerId, slotIndex(), network, setup.image,
                                       setup.files, bindMounts);
  return answer.then(
      [this, setup = kj::mv(setup)](CreatedContainer created) mutable -> kj::Promise<void> {
        KJ_IF_MAYBE (reason, kj::runCatchingExceptions([&]() {
                       vcap = kj::mv(setup.vcap);
                       root = kj::mv(setup.root);
                       activate(kj::mv(created));
                       saveFirst();
                     })) {
          // The container is there, but it cannot be used: what the helper made has to go again.
          return services.helper.destroy(containerId).then([reason = kj::cp(*reason)]() mutable {
            kj::throwFatalException(kj::mv(reason));
          });
        }
        return kj::READY_NOW;
      });
}

void Container::activate(CreatedContainer&& created) {
  process = kj::mv(created.wshd);
  stateDirectory = kj::refcounted<StateDirectory>(kj::mv(created.stateDirectory));
  wshd = kj::heap<WshdClient>(services.port, services.timer, kj::mv(created.wshdSocket),
                              static_cast<WshdClient::Listener&>(*this));
  descriptors.keep(FIXED_DESCRIPTORS + created.statistics.size());
  statistics = Statistics(kj::mv(created.statistics));
  oomWatch = kj::heap<OomWatch>(services.port, services.timer, statistics);
  processObserver = kj::heap<kj::UnixEventPort::FdObserver>(
      services.port, process.fd(), kj::UnixEventPort::FdObserver::OBSERVE_READ);
  current = State::ACTIVE;
  watch();
}

void Container::watch() {
  static constexpr char ENDED[] = "the container's first process ended";
  static constexpr char LOST[] = "the connection to the container's first process was lost";
  tasks.add(wshd->run().catch_([this](kj::Exception&& reason) -> kj::Promise<void> {
    if (current != State::DESTROYED) {
      spdlog::warn("container {}: connection to wshd lost: {}", containerId.text().cStr(),
                   reason.getDescription().cStr());
    }
    if (reason.getType() != kj::Exception::Type::DISCONNECTED) {
      abandon(LOST);
      return kj::READY_NOW;
    }
    // A process that ends closes its connection a moment before.
    return services.timer.afterDelay(FAREWELL_TIME).then([this]() {
      abandon(process.waitExit(0) ? ENDED : LOST);
    });
  }));
  // wshd's last packets are read first, for they may hold true exit statuses.
  tasks.add(processObserver->whenBecomesReadable()
                .then([this]() { return services.timer.afterDelay(FAREWELL_TIME); })
                .then([this]() { abandon(ENDED); }));
  tasks.add(oomWatch->whenKilled().then([this]() { noticeOutOfMemory(); }));
}

void Container::abandon(kj::StringPtr event) {
  if (current == State::DESTROYED || current == State::BORN) return;
  noticeOutOfMemory();
  if (current == State::ACTIVE) {
    current = State::STOPPED;
    addEvent(event);
  }
  endJobs();
}

void Container::addEvent(kj::StringPtr event) {
  services.events.add(event);
  if (events.size() >= MAX_EVENTS) return;
  events.add(kj::str(event));
  saveNow();
}

void Container::endJobs() {
  for (auto& entry : jobs)
    entry.second->exited(FAILED_JOB_STATUS);
}

kj::Promise<void> Container::destroy() {
  if (lastInfo == nullptr) {
    rememberInfo();
    current = State::DESTROYED;
  }
  return services.helper.destroy(containerId).then([this]() { finishDestroy(); });
}

void Container::finishDestroy() {
  endJobs();
  // Linkers hold the jobs that they wait for; nobody can come for the others.
  jobs.clear();
  jobsChanged.fire();
  releaseResources();
}

void Container::taskFailed(kj::Exception&& exception) {
  spdlog::error("container {}: {}", containerId.text().cStr(), kj::str(exception).cStr());
}

// -- stopping

kj::Promise<void> Container::stop(bool kill) {
  requireActiveOrStopped();
  if (current == State::STOPPED) {
    // One that is under way is hurried up.
    if (kill) wshd->signalAll(SIGKILL);
    return kj::READY_NOW;
  }
  current = State::STOPPED;
  saveNow();
  tasks.add(terminate(kill ? TERM_SIGNALS : 0));
  requireKnownJobs();
  // The signals wait for a first process that does not answer, and the client not for ever.
  return whenIdle().exclusiveJoin(whenSilent());
}

kj::Promise<void> Container::terminate(int signalsSent) {
  // Goes on when the jobs have ended, while there are processes that have left them; and not
  // longer, as these signals would end copies, too.
  if (current == State::DESTROYED) return kj::READY_NOW;
  bool last = signalsSent >= TERM_SIGNALS;
  auto nobodyLeft = wshd->signalAll(last ? SIGKILL : SIGTERM)
                        .then([](bool somebody) -> kj::Promise<void> {
                          if (somebody) return kj::NEVER_DONE;
                          return kj::READY_NOW;
                        })
                        .catch_([](kj::Exception&&) -> kj::Promise<void> {
                          return kj::NEVER_DONE;  // it does not answer
                        });
  if (last) return kj::READY_NOW;
  auto next = services.timer.afterDelay(TERM_INTERVAL).then([=]() { return signalsSent + 1; });
  if (unfinishedJobs() > 0) {
    next = next.exclusiveJoin(whenIdle().then([=]() { return signalsSent; }));
  }
  return nobodyLeft.exclusiveJoin(next.then([this](int sent) { return terminate(sent); }));
}

kj::Promise<void> Container::whenIdle() {
  for (auto& entry : jobs) {
    if (!entry.second->ended()) {
      return jobsChanged.wait().then([this]() { return whenIdle(); });
    }
  }
  return kj::READY_NOW;
}

}  // namespace warden::frontend
