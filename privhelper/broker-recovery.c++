// The part of the broker that takes over what an earlier server, or an earlier frontend, has left.

#include <kj/debug.h>

#include <set>

#include "privhelper/broker.h"

namespace warden::privhelper {

void Broker::recover() {
  // All that there is traces of: trees, and cgroups, which a create makes first and a destroy
  // removes last.
  std::set<ContainerId> ids;
  for (auto& id : host.cgroups.stale())
    ids.insert(id);
  for (auto& id : host.depot.ids())
    ids.insert(id);
  for (auto& id : ids) {
    KJ_IF_MAYBE (reason, reasonAgainstRecovery(id)) {
      log.record("recover", id.text(), Outcome::FAILED, *reason);
      host.kept.forget(id);
      host.network.endInterfacesOf(id);
      removeLater(id, slotsOf(id));
    }
  }
  host.kept.forgetOthers();
  host.network.start();
  if (!containers.empty()) {
    log.note(kj::str(containers.size(), " containers of an earlier server live on"));
  }
}

kj::Maybe<kj::String> Broker::reasonAgainstRecovery(const ContainerId& id) {
  // Recovers it, unless there is a reason not to.
  try {
    auto record = ContainerRecord::read(host.depot.open(id), id, host.policy);
    auto& facts = record.facts();
    if (slotInUse[facts.slot]) return kj::str("slot ", facts.slot, " is another's");
    if (networkInUse[facts.network]) return kj::str("network ", facts.network, " is another's");
    bool limited = record.diskLimits().blocksHard != 0 || record.diskLimits().inodesHard != 0;
    countIn(kj::heap<Container>(host, kj::mv(record)));
    // Those that were about to be set when the server ended are not in force yet.
    if (limited) diskOrders.push_back(Settling{id, nullptr, nullptr, monotonicUs(), false});
    return nullptr;
  } catch (const StepError& e) {
    return kj::str(e.detail());
  } catch (const kj::Exception& e) {
    return kj::str(e.getDescription());
  }
}

kj::Vector<uint32_t> Broker::slotsOf(const ContainerId& id) const {
  // No new container may have the host ids of one that lives. The ids say which slot it was, or
  // which two, where the configuration has been changed meanwhile.
  kj::Vector<uint32_t> slots;
  KJ_IF_MAYBE (uid, host.depot.rootUidOf(id)) {
    for (uint32_t slot = 0; slot < host.policy.slotCount; ++slot) {
      uint64_t first = host.policy.rootUid(slot);
      if (*uid < first + IDS_PER_CONTAINER && first < uint64_t(*uid) + IDS_PER_CONTAINER) {
        slots.add(slot);
      }
    }
  }
  return slots;
}

void Broker::listContainers(schema::HelperRequest::Reader request) {
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::HelperReply>();
  answer.setSequence(request.getSequence());
  auto all = answer.initContainers();
  auto whole = all.initWhole(containers.size());
  size_t next = 0;
  for (auto& [id, container] : containers)
    whole.set(next++, id.number());
  listDying(all);
  all.setHighestId(highestId.number());
  KJ_IF_MAYBE (problem, log.reasonToRefuse()) {
    all.setTrailErrno(problem->error);
  }
  reply(message);
}

void Broker::adopt(schema::HelperRequest::Reader request) {
  constexpr char OPERATION[] = "adopt";
  uint64_t sequence = request.getSequence();
  auto text = request.getAdopt().getId();
  auto checked = checkId(text);
  if (checked.is<Refusal>()) {
    return refuse(sequence, OPERATION, text, checked.get<Refusal>().reason);
  }
  Container* container = find(checked.get<ContainerId>());
  if (container == nullptr) {
    return refuse(sequence, OPERATION, text, "there is no such container");
  }
  try {
    capnp::MallocMessageBuilder message;
    auto answer = message.initRoot<schema::HelperReply>();
    answer.setSequence(sequence);
    auto adopted = answer.initAdopted();
    auto fds = describe(*container, container->connectAgain(), adopted.initCreated());
    tellRecord(container->record(), adopted);
    log.record(OPERATION, text, Outcome::DONE);
    reply(message, kj::mv(fds));
  } catch (const StepError& e) {
    fail(sequence, OPERATION, container->id(), e);
  }
}

void Broker::tellRecord(const ContainerRecord& record, schema::Adopted::Builder adopted) {
  auto& facts = record.facts();
  adopted.setSlot(facts.slot);
  adopted.setNetwork(facts.network);
  adopted.setOwnerUid(facts.owner);
  adopted.setPrivilegedJobs(facts.privilegedJobs);
  auto ports = adopted.initPorts(record.ports().size());
  for (size_t i = 0; i < ports.size(); ++i) {
    ports[i].setHostPort(record.ports()[i].hostPort);
    ports[i].setContainerPort(record.ports()[i].containerPort);
  }
  auto rules = adopted.initRules(record.rules().size());
  for (size_t i = 0; i < rules.size(); ++i)
    put(rules[i], record.rules()[i]);
  KJ_IF_MAYBE (present, record.bandwidth()) {
    auto bandwidth = adopted.initBandwidth();
    bandwidth.setRate(present->rate);
    bandwidth.setBurst(present->burst);
  }
}

}  // namespace warden::privhelper
