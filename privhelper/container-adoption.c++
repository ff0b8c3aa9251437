// Containers that an earlier server has made: found again by their records, with what the kernel
// says held against these.

#include <errno.h>
#include <kj/debug.h>
#include <signal.h>

#include "privhelper/container.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

Pidfd findProcess(const ContainerHost& host, const ContainerFacts& facts) {
  constexpr char STEP[] = "find wshd";
  Pidfd process;
  try {
    KJ_IF_MAYBE (kept, host.kept.take(facts.id, facts.wshd.pid)) {
      process = kj::mv(*kept);
    } else {
      process = Pidfd::open(facts.wshd.pid);
    }
  } catch (const kj::Exception&) {
    throw StepError(STEP, ESRCH, "its first process has ended");
  }
  ProcessFacts found = factsOf(process);
  // The number may have passed on to a process that has nothing to do with the container.
  if (found.startTime != facts.wshd.startTime || found.inode != facts.wshd.inode) {
    throw StepError(STEP, ESRCH, "its first process has ended, and another has its number");
  }
  if (!host.cgroups.hasEverywhere(facts.id, process.pid())) {
    throw StepError(STEP, 0, "its first process is not in its cgroups");
  }
  return process;
}

}  // namespace

Container::Container(const ContainerHost& host, ContainerRecord record)
    : containerId(record.facts().id),
      slotNumber(record.facts().slot),
      ownerUid(record.facts().owner),
      cgroupsPart(host.cgroups, containerId, ContainerCgroups::Adopted{record.cpuShares()}),
      networkPart(host.network, containerId, record.facts().network),
      process(host.launcher),
      directory(host.depot, containerId) {
  KJ_ON_SCOPE_FAILURE(leave());
  process.adopt(findProcess(host, record.facts()));
  directory.adopt(record.facts().disk, record.diskLimits());
  networkPart.adopt({record.ports(), record.rules(), record.bandwidth()});
  recordPart = kj::mv(record);
}

void Container::beginEnd() {
  ContainerRecord::remove(directory.fd());
  endPoint("signal wshd");
  directory.disk().abandon();
  process.pidfd().signal(SIGKILL);
}

void Container::change(const Policy& policy, StateChange change, kj::FunctionParam<void()> make) {
  ContainerRecord::Change recorded(record(), directory.fd(), policy, kj::mv(change));
  make();
  recorded.made();
}

void Container::writeRecord(const ContainerHost& host, const CreateOrder& order) {
  auto& record = recordPart.emplace(ContainerFacts{.id = containerId,
                                                   .slot = slotNumber,
                                                   .network = order.network,
                                                   .owner = ownerUid,
                                                   .privilegedJobs = order.privilegedJobs,
                                                   .wshd = factsOf(process.pidfd()),
                                                   .disk = directory.disk().facts()},
                                    diskLimitsOf(order));
  record.write(directory.fd(), host.policy);
}

}  // namespace warden::privhelper
