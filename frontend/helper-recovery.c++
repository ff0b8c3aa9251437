// The part of the connection to the helper that takes over containers of an earlier frontend.

#include <kj/debug.h>

#include "frontend/created-container.h"
#include "frontend/helper-client.h"
#include "frontend/helper-failure.h"

namespace warden::frontend {

namespace {

// Of the descriptors of `created`.
constexpr size_t FIRST_STATISTICS_FD = 3;

}  // namespace

CreatedContainer takeCreated(Packet& packet, schema::Created::Reader created) {
  auto kinds = created.getStatistics();
  KJ_REQUIRE(kinds.size() <= Statistics::MAX_FILES, "too many statistics", kinds.size());
  auto statistics = kj::heapArrayBuilder<StatisticsFile>(kinds.size());
  for (size_t i = 0; i < kinds.size(); ++i)
    statistics.add(StatisticsFile{kinds[i], packet.takeFd(FIRST_STATISTICS_FD + i)});
  Pidfd wshd(created.getWshdPid(), packet.takeFd(0));
  auto socket = packet.takeFd(1);
  return {kj::mv(wshd),         kj::mv(socket),       packet.takeFd(2),
          created.getRootUid(), created.getVcapUid(), statistics.finish()};
}

namespace {

kj::Array<OutRule> readRules(capnp::List<schema::AllowOut>::Reader list) {
  auto rules = kj::heapArrayBuilder<OutRule>(list.size());
  for (auto rule : list) {
    rules.add(OutRule{{rule.getFirstAddress(), rule.getLastAddress()},
                      rule.getProtocol(),
                      rule.getFirstPort(),
                      rule.getLastPort(),
                      rule.getIcmpType(),
                      rule.getIcmpCode(),
                      rule.getLog()});
  }
  return rules.finish();
}

AdoptedContainer readAdopted(Packet&& packet) {
  auto reply = packet.getRoot<schema::HelperReply>();
  if (!reply.isAdopted()) kj::throwFatalException(failureOf("adopt the container", reply));
  auto adopted = reply.getAdopted();
  auto mapped = adopted.getPorts();
  auto ports = kj::heapArrayBuilder<PortMapping>(mapped.size());
  for (auto port : mapped)
    ports.add(PortMapping{port.getHostPort(), port.getContainerPort()});
  kj::Maybe<Bandwidth> bandwidth;
  if (adopted.hasBandwidth()) {
    bandwidth = Bandwidth{adopted.getBandwidth().getRate(), adopted.getBandwidth().getBurst()};
  }
  return {takeCreated(packet, adopted.getCreated()),
          adopted.getSlot(),
          adopted.getNetwork(),
          adopted.getOwnerUid(),
          ports.finish(),
          bandwidth,
          readRules(adopted.getRules())};
}

schema::Containers::Reader readContainers(Packet& packet) {
  auto reply = packet.getRoot<schema::HelperReply>();
  if (!reply.isContainers()) kj::throwFatalException(failureOf("list containers", reply));
  return reply.getContainers();
}

ContainerId readId(capnp::Text::Reader text) {
  return KJ_REQUIRE_NONNULL(ContainerId::parse(text), "the helper's container has no id");
}

kj::StringPtr inWords(schema::Dying::Cause cause) {
  switch (cause) {
    case schema::Dying::Cause::PROCESSES:
      return "its processes do not end";
    case schema::Dying::Cause::CGROUP:
      return "a cgroup cannot be removed";
    case schema::Dying::Cause::DIRECTORY:
      return "its directory cannot be moved away";
    case schema::Dying::Cause::NETWORK:
      return "its network interface has not gone";
  }
  return "it is not known";
}

DyingContainer readDying(schema::Dying::Reader entry) {
  DyingContainer container{readId(entry.getId()), nullptr, entry.getSeconds(), entry.getCause(),
                           inWords(entry.getCause())};
  if (entry.getOwnerUid() != UINT32_MAX) container.owner = entry.getOwnerUid();
  return container;
}

}  // namespace

kj::Promise<WholeContainers> HelperClient::listContainers() {
  return ask(NO_CLIENT, [](auto root) { root.setListContainers(); }).then([](Packet packet) {
    auto containers = readContainers(packet);
    auto whole = containers.getWhole();
    auto ids = kj::heapArrayBuilder<ContainerId>(whole.size());
    for (uint64_t number : whole)
      ids.add(ContainerId::fromNumber(number));
    return WholeContainers{ids.finish(), containers.getHighestId()};
  });
}

kj::Promise<HelperState> HelperClient::askState() {
  return ask(NO_CLIENT, [](auto root) { root.setListContainers(); }).then([](Packet packet) {
    auto containers = readContainers(packet);
    auto list = containers.getDying();
    auto dying = kj::heapArrayBuilder<DyingContainer>(list.size());
    for (auto entry : list)
      dying.add(readDying(entry));
    return HelperState{dying.finish(), containers.getTrailErrno()};
  });
}

kj::Promise<AdoptedContainer> HelperClient::adopt(const ContainerId& id) {
  auto adopted = ask(NO_CLIENT, [&](auto root) { root.initAdopt().setId(id.text()); });
  return adopted.then([](Packet packet) { return readAdopted(kj::mv(packet)); });
}

}  // namespace warden::frontend
