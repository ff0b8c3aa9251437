#include "privhelper/broker.h"

#include <errno.h>
#include <kj/debug.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace warden::privhelper {

namespace {

constexpr int REQUESTS_A_TURN = 16;
constexpr int RECORDS_A_TURN = 256;
// Records that come one after another are read this much apart: to wake up for each would take the
// processors from the requests that follow. They wait where the frontend cannot take them back.
constexpr uint64_t RECORDS_APART_US = 5'000;
constexpr size_t MOST_WAITING_ORDERS = 256;  // unanswered; a frontend waits for each

// How long a frontend that was told to end may take: to drain, and after it has given up its
// connection.
constexpr uint64_t DRAIN_US = 30'000'000;
constexpr uint64_t DISCONNECTED_US = 5'000'000;

bool onlyReads(schema::HelperRequest::Reader request) {
  switch (request.which()) {
    case schema::HelperRequest::LIMIT_MEMORY:
      return request.getLimitMemory().isRead();
    case schema::HelperRequest::LIMIT_CPU:
      return request.getLimitCpu().isRead();
    case schema::HelperRequest::LIMIT_DISK:
      return request.getLimitDisk().isRead();
    default:
      return false;
  }
}

// What the server asks for by itself: which containers there are, their ends, and what they use.
bool isServersOwn(schema::HelperRequest::Reader request) {
  return request.isHello() || request.isDestroy() || request.isListContainers() ||
         request.isAdopt() || onlyReads(request);
}

}  // namespace

// Each may be asked for by whoever may ask the frontend for what needs it.
const Broker::Permitted Broker::PERMITTED[] = {
    {schema::HelperRequest::HELLO, "hello", &Broker::hello, nullptr, 0, false},
    {schema::HelperRequest::CREATE, "create", &Broker::create, AccessRequest::CREATE},
    {schema::HelperRequest::DESTROY, "destroy", &Broker::destroy, AccessRequest::DESTROY, 0, false},
    {schema::HelperRequest::LIMIT_MEMORY, "limit memory", &Broker::limitMemory,
     AccessRequest::LIMIT_MEMORY},
    {schema::HelperRequest::LIMIT_CPU, "limit cpu", &Broker::limitCpu, AccessRequest::LIMIT_CPU},
    {schema::HelperRequest::LIMIT_DISK, "limit disk", &Broker::limitDisk,
     AccessRequest::LIMIT_DISK},
    {schema::HelperRequest::LIMIT_BANDWIDTH, "limit bandwidth", &Broker::limitBandwidth,
     AccessRequest::LIMIT_BANDWIDTH},
    {schema::HelperRequest::MAP_PORT, "map port", &Broker::mapPort, AccessRequest::NET_IN},
    {schema::HelperRequest::ALLOW_OUT, "allow out", &Broker::allowOut, AccessRequest::NET_OUT},
    {schema::HelperRequest::COPY_IN, "copy in", &Broker::copyIn, AccessRequest::COPY_IN, 1},
    {schema::HelperRequest::COPY_OUT, "copy out", &Broker::copyOut, AccessRequest::COPY_OUT, 1},
    {schema::HelperRequest::OPEN_IMAGE, "open image", &Broker::openImage, AccessRequest::CREATE},
    {schema::HelperRequest::LIST_CONTAINERS, "list containers", &Broker::listContainers, nullptr, 0,
     false},
    {schema::HelperRequest::ADOPT, "adopt", &Broker::adopt, nullptr, 0, false},
};

Broker::Broker(const ContainerHost& host, AuditLog& log, Frontend& frontend,
               const ListenerIdentity& listener, ClientFacts& clients, Fd signals,
               const Pidfd& sweeper, Porter& porter)
    : host(host),
      log(log),
      frontend(frontend),
      listener(listener),
      clients(clients),
      signals(kj::mv(signals)),
      sweeper(sweeper),
      porter(porter),
      highestId(host.depot.fd()),
      slotInUse(host.policy.slotCount),
      networkInUse(host.policy.network.poolSize) {}

Broker::~Broker() noexcept(false) {
  // Containers live on, whatever the end. What is being destroyed is found by the next start.
  for (auto& [id, container] : containers)
    container->leave();
  for (auto& [id, entry] : dying)
    entry.container->leave();
}

bool Broker::run(const ServiceManager& manager) {
  recover();
  manager.ready();
  while (!hasFinished()) {
    if (!frontend.isRunning() && !stopping && monotonicUs() >= frontend.startableAtUs()) {
      startFrontend();
    }
    waitForEvents();
  }
  for (auto& [id, entry] : dying)
    log.record("destroy", id.text(), Outcome::FAILED, "its processes do not end");
  return dying.empty();
}

bool Broker::hasFinished() const {
  if (!stopping || frontend.isRunning()) return false;
  return dying.empty() || monotonicUs() >= waitForDyingUntilUs;
}

int Broker::timeoutMs() const {
  if (!diskOrders.empty() || !memoryOrders.empty()) return 0;
  uint64_t deadline;
  if (frontend.isRunning()) {
    deadline = frontend.killAtUs();
  } else {
    deadline = stopping ? waitForDyingUntilUs : frontend.startableAtUs();
  }
  deadline = kj::min(deadline, images.nextExpiryUs());
  if (nextRecordsUs != 0) deadline = kj::min(deadline, nextRecordsUs);
  deadline = kj::min(deadline, nextRemovalUs());
  if (deadline == NEVER_US) return -1;
  uint64_t now = monotonicUs();
  return now >= deadline ? 0 : (deadline - now) / 1000 + 1;
}

void Broker::waitForEvents() {
  KJ_REQUIRE(host.launcher.fd() >= 0, "the launcher does not answer, or has died");
  KJ_REQUIRE(clients.observer() >= 0, "the observer has died, or does not answer");
  if (monotonicUs() >= nextRecordsUs) nextRecordsUs = 0;
  kj::Vector<pollfd> fds;
  fds.add(pollfd{signals, POLLIN, 0});
  fds.add(pollfd{host.launcher.fd(), POLLIN, 0});
  // Negative descriptors are passed over by poll(2).
  fds.add(pollfd{frontend.endEvent(), POLLIN, 0});
  short wanted = unsent.empty() ? POLLIN : POLLOUT;
  fds.add(pollfd{frontend.connection(), wanted, 0});
  fds.add(pollfd{sweeper.fd(), POLLIN, 0});
  fds.add(pollfd{host.network.fd(), POLLIN, 0});
  fds.add(pollfd{nextRecordsUs != 0 ? -1 : frontend.auditConnection(), POLLIN, 0});
  fds.add(pollfd{porter.fd(), short(porter.isBlocked() ? POLLIN | POLLOUT : POLLIN), 0});
  fds.add(pollfd{clients.observer(), POLLIN, 0});
  fds.add(pollfd{stopping ? -1 : frontend.startEvent(), POLLIN, 0});
  for (auto& [id, entry] : dying)
    if (entry.endedUs == 0) fds.add(pollfd{entry.container->wshd().fd(), POLLIN, 0});

  if (poll(fds.begin(), fds.size(), timeoutMs()) < 0) {
    if (errno == EINTR) return;
    KJ_FAIL_SYSCALL("poll", errno);
  }
  if (fds[0].revents != 0) handleSignals();
  KJ_REQUIRE(fds[1].revents == 0, "the launcher has died");
  KJ_REQUIRE(fds[4].revents == 0, "the sweeper has died");
  KJ_REQUIRE(porter.fd() >= 0, "the porter has died");
  KJ_REQUIRE(fds[8].revents == 0, "the observer has died");
  if (fds[5].revents != 0) host.network.handleEvents();
  if (fds[7].revents != 0) handlePorter();
  images.expire(monotonicUs());
  if (fds[6].revents != 0 && receiveRecords(RECORDS_A_TURN)) {
    nextRecordsUs = monotonicUs() + RECORDS_APART_US;
  }
  reapDying();
  removeLeftovers();
  if (!diskOrders.empty()) {
    Settling order = diskOrders.front();
    diskOrders.pop_front();
    settleDisk(order);
  }
  if (!memoryOrders.empty()) {
    Limiting order = kj::mv(memoryOrders.front());
    memoryOrders.pop_front();
    settleMemory(kj::mv(order));
  }
  if (fds[3].revents != 0) {
    if (unsent.empty()) {
      receiveRequests();
    } else {
      sendUnsent();
    }
  }
  if (fds[2].revents == 0 && frontend.isRunning() && monotonicUs() >= frontend.killAtUs()) {
    frontend.kill();
  }
  if (fds[2].revents != 0 || frontend.hasEnded()) handleFrontendEnd();
  if (fds[9].revents != 0 && !stopping) startFrontend();
}

void Broker::handleSignals() {
  signalfd_siginfo info;
  while (read(signals, &info, sizeof(info)) == sizeof(info)) {
    stopping = true;
    log.note(kj::str("ending by signal ", info.ssi_signo));
    frontend.end(info.ssi_signo, DRAIN_US);
    waitForDyingUntilUs = monotonicUs() + DYING_US;
  }
}

void Broker::receiveRequests() {
  // A bounded number, so that a flood does not keep signals and destroys waiting.
  for (int i = 0; i < REQUESTS_A_TURN && unsent.empty(); ++i) {
    if (diskOrders.size() + memoryOrders.size() >= MOST_WAITING_ORDERS) return;
    if (frontend.connection() < 0) return;
    try {
      KJ_IF_MAYBE (packet, receivePacket(frontend.connection())) {
        dispatch(*packet);
      } else {
        return;
      }
    } catch (const kj::Exception& e) {
      if (e.getType() == kj::Exception::Type::DISCONNECTED) {
        // Its process ends soon, or is made to: a frontend without a connection serves nobody.
        frontend.disconnect();
        frontend.end(SIGTERM, DISCONNECTED_US);
        return;
      }
      log.record("request", nullptr, Outcome::REFUSED, e.getDescription());
    }
  }
}

bool Broker::receiveRecords(int most) {
  for (int i = 0; i < most; ++i) {
    try {
      KJ_IF_MAYBE (packet, receivePacket(frontend.auditConnection())) {
        clients.receive(*packet, log);
      } else {
        return true;
      }
    } catch (const kj::Exception& e) {
      if (e.getType() == kj::Exception::Type::DISCONNECTED) {
        frontend.disconnectAudit();
        return true;
      }
      log.record("record", nullptr, Outcome::REFUSED, e.getDescription());
    }
  }
  return false;
}

void Broker::dispatch(Packet& packet) {
  auto request = packet.getRoot<schema::HelperRequest>();
  const char* operation = "request";
  asking = nullptr;
  // Whoever waits at the other end of a stream that is not taken must see its end.
  KJ_DEFER(carried.clear());
  audited = nullptr;
  for (auto& permitted : PERMITTED) {
    if (permitted.which != request.which()) continue;
    operation = permitted.name;
    if (!greeted && permitted.which != schema::HelperRequest::HELLO) {
      return refuse(request.getSequence(), operation, nullptr, "the first request must be hello");
    }
    try {
      auto refusal = reasonAgainstClient(permitted, packet);
      AuditLog::OnBehalf behalf(log, auditedPeer());
      KJ_IF_MAYBE (reason, refusal) {
        return refuse(request.getSequence(), operation, nullptr, *reason);
      }
      if (permitted.needsRecord && !onlyReads(request)) {
        KJ_IF_MAYBE (problem, log.reasonToRefuse()) {
          return failUnrecorded(request.getSequence(), operation, *problem);
        }
      }
      return (this->*permitted.handler)(request);
    } catch (const kj::Exception& e) {
      // It died while it was asked, so this process ends, and answers nobody.
      if (clients.observer() < 0) return;
      // A message that cannot be walked (base/packet.h); nothing has been done.
      return refuse(request.getSequence(), operation, nullptr, e.getDescription());
    }
  }
  refuse(request.getSequence(), operation, nullptr, "there is no such request");
}

kj::Maybe<AuditPeer> Broker::auditedPeer() const {
  return audited.map([](const AuditPeer& peer) { return peer; });
}

kj::Maybe<kj::String> Broker::reasonAgainstClient(const Permitted& permitted, Packet& packet) {
  auto request = packet.getRoot<schema::HelperRequest>();
  size_t sockets = request.getHasClient() ? 1 : 0;
  if (packet.fdCount() != sockets + permitted.descriptors) {
    return kj::str("the request carries ", packet.fdCount(), " descriptors");
  }
  carried.clear();
  for (size_t i = sockets; i < packet.fdCount(); ++i)
    carried.add(packet.takeFd(i));
  if (sockets == 0) {
    if (isServersOwn(request)) return nullptr;
    return kj::str("the request has no client");
  }
  Fd socket = packet.takeFd(0);
  auto attested = attest(socket, listener);
  if (attested.is<Refusal>()) return kj::mv(attested.get<Refusal>().reason);
  auto& peer = asking.emplace(kj::mv(attested.get<PeerCredentials>()));
  audited = clients.of(socket, peer);
  auto& grant = host.policy.access.grantOf(peer);
  KJ_IF_MAYBE (access, permitted.access) {
    if (!grant.requests.test(static_cast<size_t>(*access))) {
      return kj::str(grant.source, " does not grant it to uid ", peer.uid);
    }
  }
  return nullptr;
}

void Broker::failUnrecorded(uint64_t sequence, const char* operation, const AuditProblem& problem) {
  log.record(operation, nullptr, Outcome::REFUSED, problem.text);
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::HelperReply>();
  answer.setSequence(sequence);
  auto failure = answer.initFailed();
  failure.setStep(*schema::AUDIT_STEP);
  failure.setErrno(problem.error);
  failure.setDetail(problem.text);
  reply(message);
}

void Broker::fail(uint64_t sequence, const char* operation, const ContainerId& id,
                  const StepError& error, uint64_t durationUs) {
  log.record(operation, id.text(), Outcome::FAILED, error.detail(), durationUs);
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::HelperReply>();
  answer.setSequence(sequence);
  auto failure = answer.initFailed();
  failure.setStep(error.step());
  failure.setErrno(error.error());
  failure.setDetail(error.detail());
  reply(message);
}

void Broker::refuse(uint64_t sequence, const char* operation, kj::StringPtr container,
                    kj::StringPtr reason) {
  log.record(operation, container, Outcome::REFUSED, reason);
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::HelperReply>();
  answer.setSequence(sequence);
  answer.setRefused(reason);
  reply(message);
}

void Broker::reply(capnp::MessageBuilder& message, kj::Vector<Fd> fds) {
  if (frontend.connection() < 0) return;
  unsent.push_back(Reply{capnp::messageToFlatArray(message), kj::mv(fds)});
  sendUnsent();
}

void Broker::sendUnsent() {
  while (!unsent.empty()) {
    Reply& first = unsent.front();
    kj::Vector<int> fds;
    for (auto& fd : first.fds)
      fds.add(fd.get());
    try {
      if (!sendPacket(frontend.connection(), first.words, fds)) return;
    } catch (const kj::Exception& e) {
      // The frontend is gone; its end is noticed where the broker waits.
      frontend.disconnect();
      unsent.clear();
      return;
    }
    unsent.pop_front();
  }
}

}  // namespace warden::privhelper
