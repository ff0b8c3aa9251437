// The part of the registry that takes over the containers of an earlier frontend.

#include <kj/debug.h>
#include <spdlog/spdlog.h>

#include "frontend/registry.h"
#include "frontend/snapshot.h"

namespace warden::frontend {

namespace {

constexpr size_t RECOVERIES_AT_ONCE = 16;

template <typename T>
T require(kj::Maybe<T>&& resource, kj::StringPtr what) {
  KJ_IF_MAYBE (taken, resource) {
    return kj::mv(*taken);
  }
  KJ_FAIL_REQUIRE("cannot be had again", what);
}

}  // namespace

kj::Promise<void> Registry::recover() {
  return services.helper.listContainers()
      .then([this](WholeContainers all) {
        auto& found = all.ids;
        auto waiting = kj::heap<std::deque<ContainerId>>(found.begin(), found.end());
        uint64_t highest = all.highestId;
        for (auto& id : found)
          highest = kj::max(highest, id.number());
        ids = ContainerIdGenerator(highest);
        kj::Vector<kj::Promise<void>> lanes;
        for (size_t i = 0; i < kj::min(RECOVERIES_AT_ONCE, found.size()); ++i)
          lanes.add(recoverNext(*waiting));
        return kj::joinPromises(lanes.releaseAsArray()).attach(kj::mv(waiting));
      })
      .then([this]() {
        recovering = false;
        if (!entries.empty()) {
          spdlog::info("{} containers of an earlier frontend are served again", entries.size());
        }
        for (auto& [handle, entry] : entries)
          considerGrace(entry);
      });
}

kj::Promise<void> Registry::recoverNext(std::deque<ContainerId>& waiting) {
  if (waiting.empty()) return kj::READY_NOW;
  auto id = waiting.front();
  waiting.pop_front();
  return recoverOne(id).then([this, &waiting]() { return recoverNext(waiting); });
}

kj::Promise<void> Registry::recoverOne(const ContainerId& id) {
  return services.helper.adopt(id)
      .then([this, id](AdoptedContainer adopted) -> kj::Promise<void> {
        auto snapshot = require(readSnapshot(adopted.created.stateDirectory), "its snapshot");
        auto container = enter(id, snapshot, adopted);
        auto done = container->recover(kj::mv(snapshot), kj::mv(adopted));
        return done.then([this, container = kj::mv(container)]() {
          lastJobId = kj::max(lastJobId, container->highestJobId());
        });
      })
      .catch_([this, id](kj::Exception&& reason) -> kj::Promise<void> {
        // It lives on, for the next frontend: this one ends, and must not say before that there is
        // no such container.
        if (services.helper.isLost()) return kj::NEVER_DONE;
        // Nobody could use it: its handle, its owner's wishes and its jobs are not known.
        spdlog::error(
            "container {} of an earlier frontend is destroyed, as it cannot be served: {}",
            id.text().cStr(), reason.getDescription().cStr());
        return services.helper.destroy(id)
            .catch_([id](kj::Exception&& failure) {
              spdlog::error("container {} could not be destroyed: {}", id.text().cStr(),
                            failure.getDescription().cStr());
            })
            .then([this, id]() { forget(id); });
      });
}

void Registry::forget(const ContainerId& id) {
  for (auto entry = entries.begin(); entry != entries.end(); ++entry) {
    if (entry->second.container->id() == id) {
      entries.erase(entry);
      return;
    }
  }
}

kj::Own<Container> Registry::enter(const ContainerId& id, const ContainerSnapshot& snapshot,
                                   const AdoptedContainer& adopted) {
  KJ_REQUIRE(snapshot.id == id.text().cStr(), "the snapshot is another container's",
             snapshot.id.c_str());
  KJ_REQUIRE(entries.count(snapshot.handle) == 0, "its handle is another's");
  Entry entry;
  entry.container =
      kj::refcounted<Container>(services, id, snapshot.handle, adopted.owner, takeAgain(adopted),
                                services.descriptors.owe(Container::DESCRIPTORS));
  // Older than every connection: all reference it.
  entry.born = 0;
  entry.container->setGraceTime(snapshot.graceTime);
  auto container = kj::addRef(*entry.container);
  entries.emplace(snapshot.handle, kj::mv(entry));
  return container;
}

ContainerResources Registry::takeAgain(const AdoptedContainer& adopted) {
  auto& users = services.users;
  auto address = networks.addressesOf(adopted.network).host;
  ContainerResources resources{
      require(slots.take(adopted.slot), "its slot"),
      require(networks.acquire(address), "its network"),
      {},
      require(users.take(adopted.owner, &UserUse::containers, std::nullopt), "its place"),
      {}};
  for (auto& mapping : adopted.ports) {
    resources.ports.add(require(services.ports.take(mapping.hostPort), "its port"));
    resources.portShares.add(
        require(users.take(adopted.owner, &UserUse::ports, std::nullopt), "its port"));
  }
  return resources;
}

}  // namespace warden::frontend
