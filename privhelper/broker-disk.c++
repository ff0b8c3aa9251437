// LimitDisk.

#include <errno.h>

#include "privhelper/broker.h"

namespace warden::privhelper {

namespace {

DiskLimits readLimits(schema::DiskLimits::Reader limits) {
  return {limits.getBlocksSoft(), limits.getBlocksHard(), limits.getInodesSoft(),
          limits.getInodesHard()};
}

void writeDiskState(schema::DiskState::Builder state, const ContainerDisk& disk) {
  DiskLimits inForce = disk.limits();
  DiskUsage used = disk.usage();
  auto limits = state.initLimits();
  limits.setBlocksSoft(inForce.blocksSoft);
  limits.setBlocksHard(inForce.blocksHard);
  limits.setInodesSoft(inForce.inodesSoft);
  limits.setInodesHard(inForce.inodesHard);
  state.setBytesUsed(used.bytes);
  state.setInodesUsed(used.inodes);
}

}  // namespace

void Broker::limitDisk(schema::HelperRequest::Reader request) {
  auto order = request.getLimitDisk();
  auto text = order.getId();
  auto checked = checkId(text);
  if (checked.is<Refusal>()) {
    return refuse(request.getSequence(), "limit disk", text, checked.get<Refusal>().reason);
  }
  auto found = containers.find(checked.get<ContainerId>());
  if (found == containers.end()) {
    return refuse(request.getSequence(), "limit disk", text, "there is no such container");
  }
  DiskOrder limiting{found->first, request.getSequence(), monotonicUs(), order.isLimits()};
  try {
    if (order.isLimits()) found->second->disk().setLimits(readLimits(order.getLimits()));
  } catch (const StepError& e) {
    return failLimitDisk(limiting, e);
  }
  settleDisk(limiting);
}

void Broker::settleDisk(const DiskOrder& order) {
  // A little at a time, so that nobody waits for one that takes long.
  try {
    auto found = containers.find(order.container);
    if (found == containers.end()) throw StepError("limit disk", ESRCH, "it is being destroyed");
    ContainerDisk& disk = found->second->disk();
    if (!disk.settle()) {
      diskOrders.push_back(order);
      return;
    }
    answerLimitDisk(order, disk);
  } catch (const StepError& e) {
    failLimitDisk(order, e);
  }
}

void Broker::answerLimitDisk(const DiskOrder& order, const ContainerDisk& disk) {
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::HelperReply>();
  answer.setSequence(order.sequence);
  writeDiskState(answer.initDisk(), disk);
  // Reading changes nothing, and happens often: no line for it.
  if (order.sets) {
    log.record("limit disk", order.container.text(), Outcome::DONE, nullptr,
               monotonicUs() - order.startedUs);
  }
  reply(message);
}

void Broker::failLimitDisk(const DiskOrder& order, const StepError& error) {
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::HelperReply>();
  answer.setSequence(order.sequence);
  auto failure = answer.initFailed();
  failure.setStep(error.step());
  failure.setErrno(error.error());
  failure.setDetail(error.detail());
  log.record("limit disk", order.container.text(), Outcome::FAILED, error.detail(),
             monotonicUs() - order.startedUs);
  reply(message);
}

}  // namespace warden::privhelper
