// The part of the broker that ends containers, and removes what is left of them for as long as it
// takes.

#include "privhelper/broker.h"

namespace warden::privhelper {

namespace {

// Cgroups that are busy when the processes of their container have ended.
constexpr uint64_t BUSY_US = 1'000'000;

// What cannot be ended or removed is tried again, less and less often.
constexpr uint64_t RETRY_US = 5'000;
constexpr uint64_t LONGEST_RETRY_US = 10'000'000;
constexpr uint64_t TELL_US = 5'000'000;

}  // namespace

void Broker::destroy(schema::HelperRequest::Reader request) {
  auto text = request.getDestroy().getId();
  auto checked = checkId(text);
  if (checked.is<Refusal>()) {
    return refuse(request.getSequence(), "destroy", text, checked.get<Refusal>().reason);
  }
  if (find(checked.get<ContainerId>()) == nullptr) {
    return refuse(request.getSequence(), "destroy", text, "there is no such container");
  }
  auto found = containers.find(checked.get<ContainerId>());
  auto container = kj::mv(found->second);
  containers.erase(found);
  beginDestroy(kj::mv(container), request.getSequence());
}

void Broker::beginDestroy(kj::Own<Container> container, kj::Maybe<uint64_t> sequence) {
  // The end of its first process is the end of all (pid_namespaces(7)). How long that takes is up
  // to the kernel and what they did; nobody waits for it here.
  beginFaultyOperation("destroy");
  endPoint("remove record");
  container->beginEnd();
  endPoint("wshd is signalled");
  countOut(*container);
  ContainerId id = container->id();
  auto peer = log.peer().map([](const AuditPeer& peer) { return peer; });
  dying.emplace(id, Dying{kj::mv(container), sequence, kj::mv(peer), monotonicUs()});
}

bool Broker::isGone(Dying& entry) {
  uint64_t now = monotonicUs();
  if (entry.endedUs == 0) {
    if (!entry.container->wshd().waitExit(0)) return false;
    entry.endedUs = now;
  }
  endPoint("processes have ended");
  // Killed processes leave their cgroup a moment later; another's may not leave at all.
  bool busy = !entry.container->cgroups().tryRemove() && now < entry.endedUs + BUSY_US;
  retrySoon |= busy;
  return entry.container->network().isGone() && !busy;
}

bool Broker::isSlotLost(uint32_t slot) const {
  // A frontend knows which containers are there, but not what an earlier one has left.
  for (auto& [id, entry] : leftovers) {
    for (uint32_t lost : entry.slots)
      if (lost == slot) return true;
  }
  for (auto& [id, entry] : dying) {
    if (entry.container->slot() == slot && entry.sequence == nullptr) return true;
  }
  return false;
}

bool Broker::isNetworkLost(uint32_t network) const {
  for (auto& [id, entry] : leftovers) {
    KJ_IF_MAYBE (lost, entry.network) {
      if (*lost == network) return true;
    }
  }
  for (auto& [id, entry] : dying) {
    if (entry.container->network().index() == network && entry.sequence == nullptr) return true;
  }
  return false;
}

void Broker::reapDying() {
  retrySoon = false;
  for (auto i = dying.begin(); i != dying.end();) {
    Dying& entry = i->second;
    if (!isGone(entry)) {
      ++i;
      continue;
    }
    networkInUse[entry.container->network().index()] = false;
    slotInUse[entry.container->slot()] = false;
    endPoint("remove the rest");
    kj::runCatchingExceptions([&] { entry.container = nullptr; });
    endPoint("all is removed");
    auto left = whatIsLeftOf(i->first);
    AuditLog::OnBehalf behalf(log, kj::mv(entry.peer));
    log.record("destroy", i->first.text(), left == nullptr ? Outcome::DONE : Outcome::FAILED, left,
               monotonicUs() - entry.startedUs);
    // It has ended, and its slot is free.
    if (left != nullptr) removeLater(i->first, {});
    KJ_IF_MAYBE (sequence, entry.sequence) {
      capnp::MallocMessageBuilder message;
      auto answer = message.initRoot<schema::HelperReply>();
      answer.setSequence(*sequence);
      answer.setDone();
      reply(message);
    }
    endPoint("answered");
    endFaultyOperation();
    i = dying.erase(i);
  }
}

kj::StringPtr Broker::whatIsLeftOf(const ContainerId& id) const {
  if (host.cgroups.has(id)) return "a cgroup cannot be removed";
  if (host.depot.has(id)) return "its directory cannot be moved away";
  return nullptr;
}

schema::Dying::Cause Broker::causeOf(const ContainerId& id, const Dying& entry) const {
  if (entry.endedUs == 0) return schema::Dying::Cause::PROCESSES;
  return host.cgroups.has(id) ? schema::Dying::Cause::CGROUP : schema::Dying::Cause::NETWORK;
}

void Broker::listDying(schema::Containers::Builder all) const {
  uint64_t now = monotonicUs();
  size_t count = kj::min(dying.size() + leftovers.size(), size_t(schema::Containers::MAX_DYING));
  auto list = all.initDying(count);
  size_t next = 0;
  auto add = [&](const ContainerId& id, uint64_t sinceUs, schema::Dying::Cause cause) {
    auto out = list[next++];
    out.setId(id.text());
    out.setSeconds((now - sinceUs) / 1'000'000);
    out.setCause(cause);
    return out;
  };
  for (auto& [id, entry] : dying) {
    if (next == count) return;
    add(id, entry.startedUs, causeOf(id, entry)).setOwnerUid(entry.container->owner());
  }
  for (auto& [id, entry] : leftovers) {
    if (next == count) return;
    add(id, entry.sinceUs, entry.cause);
  }
}

void Broker::removeLater(const ContainerId& id, kj::Vector<uint32_t> slots,
                         kj::Maybe<uint32_t> network) {
  uint64_t now = monotonicUs();
  leftovers.emplace(
      id, Leftover{.slots = kj::mv(slots), .network = network, .sinceUs = now, .nextUs = now});
}

uint64_t Broker::nextRemovalUs() const {
  uint64_t next = retrySoon ? monotonicUs() + RETRY_US : NEVER_US;
  for (auto& [id, entry] : leftovers)
    next = kj::min(next, entry.nextUs);
  return next;
}

void Broker::removeLeftovers() {
  // One a turn: others are served in between.
  uint64_t now = monotonicUs();
  for (auto i = leftovers.begin(); i != leftovers.end(); ++i) {
    if (i->second.nextUs > now) continue;
    if (removeNow(i->first, i->second)) leftovers.erase(i);
    return;
  }
}

bool Broker::removeNow(const ContainerId& id, Leftover& entry) {
  bool ended = host.cgroups.killOnce(id, !entry.tried);
  entry.tried = true;
  if (ended) {
    entry.slots.clear();
    entry.network = nullptr;
    entry.cause =
        host.cgroups.has(id) ? schema::Dying::Cause::CGROUP : schema::Dying::Cause::DIRECTORY;
  }
  // The tree of one that lives stays: by it the next start tells whose ids it has.
  bool removed = ended && host.cgroups.removeOnce(id) && host.depot.discard(id);
  uint64_t now = monotonicUs(), age = now - entry.sinceUs;
  if (removed) {
    log.record("remove stale", id.text(), Outcome::DONE, nullptr, age);
    return true;
  }
  if (age >= TELL_US && !entry.told) {
    entry.told = true;
    log.record("remove stale", id.text(), Outcome::FAILED,
               ended ? whatIsLeftOf(id) : "its processes do not end"_kj, age);
  }
  entry.nextUs = now + kj::max(RETRY_US, kj::min(age / 4, LONGEST_RETRY_US));
  return false;
}

}  // namespace warden::privhelper
