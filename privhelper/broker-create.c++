// The part of the broker that makes containers, and finds and counts those that live.

#include <errno.h>
#include <kj/debug.h>

#include "privhelper/broker.h"

namespace warden::privhelper {

void Broker::create(schema::HelperRequest::Reader request) {
  auto parameters = request.getCreate();
  auto checked = checkCreate(parameters, host.policy);
  if (checked.is<Refusal>()) {
    return refuse(request.getSequence(), "create", parameters.getId(),
                  checked.get<Refusal>().reason);
  }
  auto& order = checked.get<CreateOrder>();
  KJ_IF_MAYBE (reason, reasonAgainst(order)) {
    return refuse(request.getSequence(), "create", order.id.text(), *reason);
  }
  KJ_IF_MAYBE (reason, reasonAgainstAnother(KJ_ASSERT_NONNULL(asking).uid, &Grant::containers,
                                            &Use::containers)) {
    return refuse(request.getSequence(), "create", order.id.text(), *reason);
  }
  auto& grant = host.policy.access.grantOf(KJ_ASSERT_NONNULL(asking));
  order.owner = KJ_ASSERT_NONNULL(asking).uid;
  order.ownerGid = KJ_ASSERT_NONNULL(asking).gid;
  order.privilegedJobs = grant.privileged;
  order.profile = host.policy.profileOf(grant);
  if (grant.memory) order.memory = *grant.memory;
  if (grant.disk) order.disk = *grant.disk;
  if (isSlotLost(order.slot)) {
    auto detail = kj::str("slot ", order.slot, " belongs to a container that does not end");
    return fail(request.getSequence(), "create", order.id,
                StepError(*schema::SLOT_LOST_STEP, EBUSY, detail));
  }
  if (isNetworkLost(order.network)) {
    auto detail = kj::str("network ", order.network, " belongs to a container that does not end");
    return fail(request.getSequence(), "create", order.id,
                StepError(*schema::SLOT_LOST_STEP, EBUSY, detail));
  }
  KJ_IF_MAYBE (reason, reasonAgainstHostFiles(order)) {
    return refuse(request.getSequence(), "create", order.id.text(), *reason);
  }
  if (order.bindMounts.size() > 0) return prepare(request.getSequence(), kj::mv(order));
  build(request.getSequence(), order);
}

kj::Maybe<kj::String> Broker::reasonAgainst(const CreateOrder& order) const {
  if (containers.count(order.id) > 0 || dying.count(order.id) > 0 ||
      preparing.count(order.id) > 0 || leftovers.count(order.id) > 0) {
    return kj::str("there is a container with this id");
  }
  // A copy ends in its own time when its container has gone.
  if (isPorting(order.id)) return kj::str("a container with this id has files of the host open");
  if (slotInUse[order.slot] && !isSlotLost(order.slot)) {
    return kj::str("slot ", order.slot, " is in use");
  }
  if (networkInUse[order.network] && !isNetworkLost(order.network)) {
    return kj::str("network ", order.network, " is in use");
  }
  return nullptr;
}

kj::Vector<Fd> Broker::describe(Container& container, Fd connection,
                                schema::Created::Builder created) {
  created.setWshdPid(container.wshd().pid());
  created.setRootUid(host.policy.rootUid(container.slot()));
  created.setVcapUid(host.policy.vcapUid(container.slot()));
  kj::Vector<Fd> fds;
  fds.add(duplicate(container.wshd().fd()));
  fds.add(kj::mv(connection));
  fds.add(container.openState());
  auto statistics = container.cgroups().openStatistics();
  auto kinds = created.initStatistics(statistics.size());
  for (size_t i = 0; i < statistics.size(); ++i) {
    kinds.set(i, statistics[i].kind);
    fds.add(kj::mv(statistics[i].file));
  }
  return fds;
}

void Broker::build(uint64_t sequence, const CreateOrder& order) {
  uint64_t started = monotonicUs();
  // What somebody else has put there, by which this create fails, is not its own to remove.
  bool isForeign = whatIsLeftOf(order.id) != nullptr;
  auto failed = [&](const StepError& error) {
    if (!isForeign) removeRestOf(order);
    fail(sequence, "create", order.id, error, monotonicUs() - started);
  };
  try {
    beginFaultyOperation("create");
    KJ_DEFER(endFaultyOperation());
    auto container = kj::heap<Container>(host, order);
    capnp::MallocMessageBuilder message;
    auto answer = message.initRoot<schema::HelperReply>();
    answer.setSequence(sequence);
    auto fds = describe(*container, container->takeConnection(), answer.initCreated());
    faultPoint("answer");
    countIn(kj::mv(container));
    log.record("create", order.id.text(), Outcome::DONE, nullptr, monotonicUs() - started);
    reply(message, kj::mv(fds));
  } catch (const StepError& e) {
    failed(e);
  } catch (const kj::Exception& e) {
    failed(StepError("create", 0, e.getDescription()));
  }
}

void Broker::removeRestOf(const CreateOrder& order) {
  // What could not be removed at once. Its processes may live, with the host ids of the slot.
  if (containers.count(order.id) > 0 || whatIsLeftOf(order.id) == nullptr) return;
  kj::Vector<uint32_t> slots;
  slots.add(order.slot);
  removeLater(order.id, kj::mv(slots), order.network);
}

Container* Broker::find(const ContainerId& id) {
  auto found = containers.find(id);
  if (found == containers.end()) return nullptr;
  KJ_IF_MAYBE (peer, asking) {
    if (!host.policy.access.mayTouch(*peer, found->second->owner())) return nullptr;
  }
  return found->second;
}

kj::Maybe<kj::String> Broker::reasonAgainstAnother(uid_t owner,
                                                   std::optional<uint32_t> Grant::*quota,
                                                   uint32_t Use::*used) const {
  auto& peer = KJ_ASSERT_NONNULL(asking);
  auto& grant = host.policy.access.grantOf(peer);
  auto found = uses.find(owner);
  uint32_t count = found == uses.end() ? 0 : found->second.*used;
  if (!(grant.*quota) || count < *(grant.*quota)) return nullptr;
  return kj::str("uid ", owner, " has the ", count, " that ", grant.source, " grants");
}

void Broker::countIn(kj::Own<Container> container) {
  slotInUse[container->slot()] = true;
  networkInUse[container->network().index()] = true;
  auto& use = uses[container->owner()];
  use.containers += 1;
  use.ports += container->network().mappedPorts();
  ContainerId id = container->id();
  host.kept.keep(id, container->wshd());
  highestId.saw(id);
  containers.emplace(id, kj::mv(container));
}

void Broker::countOut(const Container& container) {
  host.kept.forget(container.id());
  auto use = uses.find(container.owner());
  use->second.containers -= 1;
  use->second.ports -= container.network().mappedPorts();
  if (use->second.containers == 0) uses.erase(use);
}

}  // namespace warden::privhelper
