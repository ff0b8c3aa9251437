// The part of the broker that changes containers that exist: limits, ports, rules.

#include <errno.h>
#include <kj/debug.h>

#include "privhelper/broker.h"

namespace warden::privhelper {

namespace {

constexpr char LIMIT_MEMORY[] = "limit memory";
constexpr uint64_t RECLAIM_US = 5'000'000;

void write(schema::DiskState::Builder state, const ContainerDisk& disk) {
  DiskUsage used = disk.usage();
  put(state.initLimits(), disk.limits());
  state.setBytesUsed(used.bytes);
  state.setInodesUsed(used.inodes);
}

// Requests that only read happen often and change nothing: there is no line for those that succeed.
bool onlyReads(const LimitOrder& order) {
  return order.value == nullptr;
}

template <typename Order>
bool onlyReads(const Order&) {
  return false;
}

bool isWithin(const std::optional<uint64_t>& quota, const LimitOrder& order) {
  auto wanted = order.value.orDefault(0);
  return !quota || wanted <= *quota;
}

bool isWithin(const std::optional<uint64_t>& quota, const DiskOrder& order) {
  KJ_IF_MAYBE (limits, order.limits) {
    if (quota) return limits->blocksHard != 0 && limits->blocksHard <= *quota / BLOCK_BYTES;
  }
  return true;
}

}  // namespace

template <typename Order>
kj::Maybe<kj::String> Broker::reasonAgainstMore(const kj::OneOf<Order, Refusal>& checked,
                                                std::optional<uint64_t> Grant::*quota) const {
  if (checked.template is<Refusal>() || asking == nullptr) return nullptr;
  auto& grant = host.policy.access.grantOf(KJ_ASSERT_NONNULL(asking));
  if (isWithin(grant.*quota, checked.template get<Order>())) return nullptr;
  return kj::str(grant.source, " grants ", *(grant.*quota), " bytes");
}

template <typename Order, typename Carry>
void Broker::change(schema::HelperRequest::Reader request, const char* operation,
                    capnp::Text::Reader container, kj::OneOf<Order, Refusal> checked,
                    Carry&& carryOut) {
  uint64_t sequence = request.getSequence();
  if (checked.template is<Refusal>()) {
    return refuse(sequence, operation, container, checked.template get<Refusal>().reason);
  }
  auto& order = checked.template get<Order>();
  auto found = find(order.id);
  if (found == nullptr) {
    return refuse(sequence, operation, container, "there is no such container");
  }

  uint64_t started = monotonicUs();
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::HelperReply>();
  answer.setSequence(sequence);
  try {
    beginFaultyOperation(operation);
    KJ_DEFER(endFaultyOperation());
    carryOut(*found, order, answer);
  } catch (const StepError& e) {
    return fail(sequence, operation, order.id, e, monotonicUs() - started);
  } catch (const kj::Exception& e) {
    return fail(sequence, operation, order.id, StepError(operation, 0, e.getDescription()),
                monotonicUs() - started);
  }
  if (!onlyReads(order)) {
    log.record(operation, container, Outcome::DONE, nullptr, monotonicUs() - started);
  }
  reply(message);
}

void Broker::limitMemory(schema::HelperRequest::Reader request) {
  uint64_t sequence = request.getSequence();
  auto text = request.getLimitMemory().getId();
  auto checked = checkLimitMemory(request.getLimitMemory());
  if (checked.is<Refusal>()) {
    return refuse(sequence, LIMIT_MEMORY, text, checked.get<Refusal>().reason);
  }
  KJ_IF_MAYBE (reason, reasonAgainstMore(checked, &Grant::memory)) {
    return refuse(sequence, LIMIT_MEMORY, text, *reason);
  }
  auto& order = checked.get<LimitOrder>();
  if (find(order.id) == nullptr) {
    return refuse(sequence, LIMIT_MEMORY, text, "there is no such container");
  }
  if (!onlyReads(order)) stopLimiting(order.id);
  auto peer = log.peer().map([](const AuditPeer& peer) { return peer; });
  settleMemory(Limiting{kj::mv(order), sequence, kj::mv(peer), monotonicUs()});
}

void Broker::settleMemory(Limiting limiting) {
  // A little at a time: what the kernel reclaims the container may fill again, without end.
  auto& order = limiting.order;
  AuditLog::OnBehalf behalf(log, limiting.peer.map([](const AuditPeer& peer) { return peer; }));
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::HelperReply>();
  answer.setSequence(limiting.sequence.orDefault(uint64_t(0)));
  try {
    auto found = containers.find(order.id);
    if (found == containers.end()) {
      throw StepError(LIMIT_MEMORY, ESRCH, "it is being destroyed");
    }
    beginFaultyOperation(LIMIT_MEMORY);
    KJ_DEFER(endFaultyOperation());
    answer.setMemoryLimit(found->second->cgroups().limitMemory(order.value));
  } catch (const StepError& e) {
    bool reclaims = e.error() == EINTR;
    if (reclaims && monotonicUs() < limiting.startedUs + RECLAIM_US) {
      memoryOrders.push_back(kj::mv(limiting));
      return;
    }
    if (reclaims) return failLimiting(limiting, StepError(e.step(), EBUSY));
    return failLimiting(limiting, e);
  } catch (const kj::Exception& e) {
    return failLimiting(limiting, StepError(LIMIT_MEMORY, 0, e.getDescription()));
  }
  if (!onlyReads(order)) {
    log.record(LIMIT_MEMORY, order.id.text(), Outcome::DONE, nullptr,
               monotonicUs() - limiting.startedUs);
  }
  if (limiting.sequence != nullptr) reply(message);
}

void Broker::stopLimiting(const ContainerId& id) {
  for (auto i = memoryOrders.begin(); i != memoryOrders.end(); ++i) {
    if (i->order.id != id) continue;
    Limiting limiting = kj::mv(*i);
    memoryOrders.erase(i);
    AuditLog::OnBehalf behalf(log, limiting.peer.map([](const AuditPeer& peer) { return peer; }));
    return failLimiting(limiting, StepError(LIMIT_MEMORY, EBUSY, "another limit is asked for"));
  }
}

void Broker::failLimiting(const Limiting& limiting, const StepError& error) {
  uint64_t duration = monotonicUs() - limiting.startedUs;
  KJ_IF_MAYBE (sequence, limiting.sequence) {
    return fail(*sequence, LIMIT_MEMORY, limiting.order.id, error, duration);
  }
  log.record(LIMIT_MEMORY, limiting.order.id.text(), Outcome::FAILED, error.detail(), duration);
}

void Broker::limitCpu(schema::HelperRequest::Reader request) {
  auto order = request.getLimitCpu();
  change(
      request, "limit cpu", order.getId(), checkLimitCpu(order),
      [this](Container& container, const LimitOrder& order, schema::HelperReply::Builder answer) {
        KJ_IF_MAYBE (shares, order.value) {
          container.change(host.policy, CpuShares{ContainerCgroups::clampShares(*shares)},
                           [&] { container.cgroups().limitCpu(*shares); });
        }
        answer.setCpuShares(container.cgroups().limitCpu(nullptr));
      });
}

void Broker::limitBandwidth(schema::HelperRequest::Reader request) {
  auto order = request.getLimitBandwidth();
  change(request, "limit bandwidth", order.getId(), checkLimitBandwidth(order),
         [this](Container& container, const BandwidthOrder& order,
                schema::HelperReply::Builder answer) {
           auto& network = container.network();
           Bandwidth next = network.nextBandwidth(order.rate, order.burst);
           container.change(host.policy, next, [&] { network.limitBandwidth(next); });
           // Without this it is set again when the container is adopted.
           next.complete = true;
           kj::runCatchingExceptions([&] { container.change(host.policy, next, [] {}); });
           answer.setDone();
         });
}

void Broker::mapPort(schema::HelperRequest::Reader request) {
  auto order = request.getMapPort();
  auto checked = checkMapPort(order, host.policy);
  if (checked.is<PortOrder>()) {
    Container* container = find(checked.get<PortOrder>().id);
    if (container != nullptr) {
      KJ_IF_MAYBE (reason, reasonAgainstAnother(container->owner(), &Grant::ports, &Use::ports)) {
        return refuse(request.getSequence(), "map port", order.getId(), *reason);
      }
    }
  }
  change(request, "map port", order.getId(), kj::mv(checked),
         [this](Container& container, const PortOrder& order, schema::HelperReply::Builder answer) {
           auto& network = container.network();
           // What it would be refused for is not on record for a moment: it might be the last.
           network.requirePort(order.hostPort);
           MappedPort port{order.hostPort, order.containerPort};
           container.change(host.policy, port, [&] { network.mapPort(port); });
           uses[container.owner()].ports += 1;
           answer.setDone();
         });
}

void Broker::allowOut(schema::HelperRequest::Reader request) {
  auto order = request.getAllowOut();
  change(request, "allow out", order.getId(), checkAllowOut(order),
         [this](Container& container, const OutOrder& order, schema::HelperReply::Builder answer) {
           auto& network = container.network();
           network.requireRule();
           container.change(host.policy, order.rule, [&] { network.allowOut(order.rule); });
           answer.setDone();
         });
}

void Broker::limitDisk(schema::HelperRequest::Reader request) {
  constexpr char OPERATION[] = "limit disk";
  uint64_t sequence = request.getSequence();
  auto text = request.getLimitDisk().getId();
  auto checked = checkLimitDisk(request.getLimitDisk());
  if (checked.is<Refusal>()) {
    return refuse(sequence, OPERATION, text, checked.get<Refusal>().reason);
  }
  KJ_IF_MAYBE (reason, reasonAgainstMore(checked, &Grant::disk)) {
    return refuse(sequence, OPERATION, text, *reason);
  }
  auto& order = checked.get<DiskOrder>();
  auto found = find(order.id);
  if (found == nullptr) {
    return refuse(sequence, OPERATION, text, "there is no such container");
  }
  auto peer = log.peer().map([](const AuditPeer& peer) { return peer; });
  Settling settling{order.id, sequence, kj::mv(peer), monotonicUs(), order.limits != nullptr};
  try {
    KJ_IF_MAYBE (limits, order.limits) {
      found->change(host.policy, *limits, [&] { found->disk().setLimits(*limits); });
    }
  } catch (const StepError& e) {
    return fail(sequence, OPERATION, order.id, e, monotonicUs() - settling.startedUs);
  }
  settleDisk(settling);
}

void Broker::settleDisk(const Settling& order) {
  // A little at a time, so that nobody waits for one that takes long.
  AuditLog::OnBehalf behalf(log, order.peer.map([](const AuditPeer& peer) { return peer; }));
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::HelperReply>();
  answer.setSequence(order.sequence.orDefault(uint64_t(0)));
  try {
    auto found = containers.find(order.container);
    if (found == containers.end()) throw StepError("limit disk", ESRCH, "it is being destroyed");
    ContainerDisk& disk = found->second->disk();
    if (!disk.settle()) {
      diskOrders.push_back(order);
      return;
    }
    write(answer.initDisk(), disk);
  } catch (const StepError& e) {
    uint64_t duration = monotonicUs() - order.startedUs;
    KJ_IF_MAYBE (sequence, order.sequence) {
      return fail(*sequence, "limit disk", order.container, e, duration);
    }
    return log.record("limit disk", order.container.text(), Outcome::FAILED, e.detail(), duration);
  }
  if (order.sets) {
    log.record("limit disk", order.container.text(), Outcome::DONE, nullptr,
               monotonicUs() - order.startedUs);
  }
  if (order.sequence != nullptr) reply(message);
}

}  // namespace warden::privhelper
