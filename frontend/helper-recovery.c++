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
          bandwidth};
}

}  // namespace

kj::Promise<kj::Array<ContainerId>> HelperClient::listContainers() {
  return ask(NO_CLIENT, [](auto root) { root.setListContainers(); }).then([](Packet packet) {
    auto reply = packet.getRoot<schema::HelperReply>();
    if (!reply.isContainers()) kj::throwFatalException(failureOf("list containers", reply));
    auto whole = reply.getContainers().getWhole();
    auto ids = kj::heapArrayBuilder<ContainerId>(whole.size());
    for (auto text : whole)
      ids.add(KJ_REQUIRE_NONNULL(ContainerId::parse(text), "the helper's container has no id"));
    return ids.finish();
  });
}

kj::Promise<AdoptedContainer> HelperClient::adopt(const ContainerId& id) {
  auto adopted = ask(NO_CLIENT, [&](auto root) { root.initAdopt().setId(id.text()); });
  return adopted.then([](Packet packet) { return readAdopted(kj::mv(packet)); });
}

}  // namespace warden::frontend
