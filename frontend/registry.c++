#include "frontend/registry.h"

#include <kj/debug.h>
#include <spdlog/spdlog.h>

#include "frontend/client-error.h"

namespace warden::frontend {

namespace {

// What does not end in this time keeps others waiting no longer.
constexpr auto TURN_OF_DESTROY = 1 * kj::SECONDS;

// With PATIENCE, less than the helper gives a frontend to end.
constexpr auto LAST_WAIT = 10 * kj::SECONDS;

}  // namespace

Registry::Registry(const Services& services, Fd imageDirectory, std::string hostResolvConf)
    : services(services),
      image(kj::mv(imageDirectory)),
      hostResolvConf(std::move(hostResolvConf)),
      slots(services.config.user.poolSize),
      networks(services.config.network, services.timer),
      turns(services.config.frontend.maxWaiting),
      watching(watch().eagerlyEvaluate(nullptr)),
      tasks(*this),
      recovery(recover().fork()) {
  tasks.add(recovery.addBranch());
}

Registry::~Registry() noexcept(false) {}

void Registry::taskFailed(kj::Exception&& exception) {
  spdlog::warn("{}", exception.getDescription().cStr());
}

Registry::Entry& Registry::entryOf(const Container& container) {
  auto* found = findEntry(container);
  KJ_ASSERT(found != nullptr);
  return *found;
}

Registry::Entry* Registry::findEntry(const Container& container) {
  auto found = entries.find(container.handle());
  if (found == entries.end() || found->second.container.get() != &container) return nullptr;
  return &found->second;
}

kj::Own<Container> Registry::find(ConnectionNumber by, const Requester& requester,
                                  const std::string& handle) {
  auto found = entries.find(handle);
  if (found == entries.end() || !requester.mayTouch(found->second.container->owner())) {
    kj::throwFatalException(clientErrorOf("unknown handle"));
  }
  auto& entry = found->second;
  if (by < entry.born && connections.count(by) > 0) {
    entry.namedBy.insert(by);
    entry.unreferencedSince = nullptr;
  }
  return kj::addRef(*entry.container);
}

// -- create

ContainerResources Registry::takeResources(const Requester& requester,
                                           const CreateRequest& request) {
  auto& grant = requester.grant();
  auto share = services.users.take(requester.peer().uid, &UserUse::containers, grant.containers);
  if (share == nullptr) {
    kj::throwFatalException(clientErrorOf(
        PERMISSION_DENIED, "you have the ", *grant.containers, " containers that ", grant.source,
        ".quotas.containers of the server's configuration grants; destroy one first"));
  }
  auto slot = slots.acquire();
  if (slot == nullptr) {
    kj::throwFatalException(
        clientErrorOf("all ", services.config.user.poolSize,
                      " containers that user.pool_size allows exist; destroy one first"));
  }
  // The network last: what is given back rests first.
  auto network = request.has_network() ? networks.acquire(readCreateNetwork(request.network()))
                                       : networks.acquire();
  if (network == nullptr && request.has_network()) {
    auto& text = request.network();
    kj::throwFatalException(
        clientErrorOf("Could not acquire network: ", kj::heapString(text.data(), text.size())));
  }
  if (network == nullptr) {
    auto& config = services.config.network;
    kj::throwFatalException(clientErrorOf(
        "all ", config.poolSize, " networks that network.pool_size allows are in use, or rest for ",
        config.releaseDelay,
        " seconds (network.release_delay) after use; destroy a container, "
        "wait, or configure a larger pool"));
  }
  return {kj::mv(KJ_ASSERT_NONNULL(slot)),
          kj::mv(KJ_ASSERT_NONNULL(network)),
          {},
          kj::mv(KJ_ASSERT_NONNULL(share)),
          {}};
}

void Registry::requireRoom() const {
  if (shuttingDown)
    kj::throwFatalException(
        clientErrorOf("the server is shutting down; try again when it serves again"));
  auto most = services.config.frontend.maxContainers;
  if (entries.size() < most) return;
  kj::throwFatalException(clientErrorOf("all ", most,
                                        " containers that frontend.max_containers allows exist; "
                                        "destroy one first"));
}

Registry::Entry& Registry::reserve(const Requester& requester, const CreateRequest& request) {
  requireRoom();
  auto id = ids.next();
  while (!request.has_handle() && entries.count(id.text().cStr()) > 0)
    id = ids.next();
  std::string handle = request.has_handle() ? request.handle() : id.text().cStr();
  if (entries.count(handle) > 0) {
    kj::throwFatalException(
        clientErrorOf("container with handle: ", kj::heapString(handle.data(), handle.size()),
                      " already exists."));
  }
  auto descriptors = services.descriptors.take(Container::DESCRIPTORS);
  if (descriptors == nullptr) {
    kj::throwFatalException(clientErrorOf(
        "could not create the container: the jobs and containers there are hold all descriptors "
        "that the server has for them; link jobs that have ended, destroy a container, or raise "
        "the server's limit on open files"));
  }
  Entry entry;
  entry.container = kj::refcounted<Container>(services, id, handle, requester.peer().uid,
                                              takeResources(requester, request),
                                              kj::mv(KJ_ASSERT_NONNULL(descriptors)));
  entry.born = ++clock;
  entry.container->setGraceTime(
      request.has_grace_time() ? request.grace_time() : services.config.server.containerGraceTime);
  return entries.emplace(handle, kj::mv(entry)).first->second;
}

kj::Promise<kj::Own<Container>> Registry::create(ConnectionNumber by, const Requester& requester,
                                                 const CreateRequest& request) {
  auto files = kj::heap<HostFiles>(readHostFiles(request, requester, services.config));
  KJ_IF_MAYBE (turn, turns.takeAtOnce(requester.peer().uid)) {
    return createNow(by, requester, request, kj::mv(files), kj::mv(*turn));
  }
  return turns.wait(requester.peer().uid)
      .then([this, by, &requester, &request, files = kj::mv(files)](Turn turn) mutable {
        return createNow(by, requester, request, kj::mv(files), kj::mv(turn));
      });
}

kj::Promise<kj::Own<Container>> Registry::createNow(ConnectionNumber by, const Requester& requester,
                                                    const CreateRequest& request,
                                                    kj::Own<HostFiles> files, Turn turn) {
  auto& entry = reserve(requester, request);
  if (connections.count(by) > 0) entry.namedBy.insert(by);
  auto container = kj::addRef(*entry.container);
  auto& reference = *container;

  auto client = requester.forHelper();
  int socket = client;
  auto built =
      build(socket, reference, *files, !request.has_network(), services.config.user.poolSize)
          .attach(kj::mv(client), kj::mv(files), kj::mv(turn))
          .then(
              [this, &reference]() {
                spdlog::info("container {} created", reference.id().text().cStr());
                considerGrace(entryOf(reference));
              },
              [this, &reference](kj::Exception&& reason) {
                spdlog::warn("container {} could not be created: {}", reference.id().text().cStr(),
                             reason.getDescription().cStr());
                reference.releaseResources();
                entries.erase(reference.handle());
                kj::throwFatalException(kj::mv(reason));
              })
          .fork();
  tasks.add(built.addBranch().catch_([](kj::Exception&&) {}).attach(kj::addRef(reference)));
  return built.addBranch().then(
      [container = kj::mv(container)]() mutable { return kj::mv(container); });
}

kj::Promise<void> Registry::build(int client, Container& container, const HostFiles& files,
                                  bool anyNetwork, uint32_t otherSlots) {
  return kj::evalNow([&]() { return buildOnce(client, container, files); })
      .catch_([this, client, &container, &files, anyNetwork,
               otherSlots](kj::Exception&& reason) -> kj::Promise<void> {
        // A container that an earlier frontend made does not end and keeps its slot and
        // network. The next ones are taken before these are given back, and so are others.
        bool slotIsLost =
            isClientError(reason) && reason.getType() == kj::Exception::Type::OVERLOADED;
        if (!slotIsLost || otherSlots == 0) return kj::mv(reason);
        KJ_IF_MAYBE (slot, slots.acquire()) {
          kj::Maybe<Network> network;
          if (anyNetwork) network = networks.acquire();
          container.moveTo(kj::mv(*slot), kj::mv(network));
          return build(client, container, files, anyNetwork, otherSlots - 1);
        }
        return kj::mv(reason);
      });
}

kj::Promise<void> Registry::buildOnce(int client, Container& container, const HostFiles& files) {
  auto start = [this, client, &container, &files](ImageFacts& facts) {
    auto vcapId = services.config.user.poolStartUid + container.slotIndex();
    auto setup = setUpContainer(facts, container.id(), vcapId, container.addresses(),
                                services.config.network, hostResolvConf);
    return container.create(client, kj::mv(setup), files.bindMounts);
  };
  if (files.rootfs.empty()) return start(image);
  return services.helper.openImage(client, files.rootfs).then([start](OpenedImage opened) {
    ImageFacts facts(kj::mv(opened));
    return start(facts);
  });
}

// -- destroy

kj::Promise<void> Registry::destroy(kj::Own<Container> container) {
  auto* entry = findEntry(*container);
  if (entry == nullptr) return clientErrorOf("unknown handle");
  if (entry->destroying != nullptr) return whenDestroyed(*entry);
  // One whose destroy has failed can be tried again.
  if (container->state() != Container::State::DESTROYED) container->requireActiveOrStopped();
  KJ_IF_MAYBE (turn, turns.takeAtOnce(container->owner())) {
    destroyNow(*container, kj::mv(*turn));
    return whenDestroyed(*entry);
  }
  return turns.wait(container->owner())
      .then([this, container = kj::mv(container)](Turn turn) mutable -> kj::Promise<void> {
        // Another may have had its turn before.
        auto* entry = findEntry(*container);
        if (entry == nullptr) return kj::READY_NOW;
        if (entry->destroying == nullptr) destroyNow(*container, kj::mv(turn));
        return whenDestroyed(*entry);
      });
}

void Registry::destroyNow(Container& container, Turn turn) {
  auto gone = kj::evalNow([&]() { return container.destroy(); })
                  .then(
                      [this, &container]() {
                        spdlog::info("container {} destroyed", container.id().text().cStr());
                        entries.erase(container.handle());
                      },
                      [this, &container](kj::Exception&& reason) {
                        spdlog::error("container {} could not be destroyed: {}",
                                      container.id().text().cStr(), reason.getDescription().cStr());
                        entryOf(container).destroying = nullptr;
                        kj::throwFatalException(kj::mv(reason));
                      })
                  .attach(kj::addRef(container))
                  .fork();
  tasks.add(gone.addBranch().catch_([](kj::Exception&&) {}));
  tasks.add(gone.addBranch()
                .catch_([](kj::Exception&&) {})
                .exclusiveJoin(services.timer.afterDelay(TURN_OF_DESTROY))
                .attach(kj::mv(turn)));
  entryOf(container).destroying = kj::mv(gone);
}

kj::Promise<void> Registry::whenDestroyed(Entry& entry) {
  auto tooLong = services.timer.afterDelay(PATIENCE).then([]() -> kj::Promise<void> {
    return clientErrorOf(
        "the container has not ended yet: it is being destroyed in the background, and gone from "
        "the list of all containers (warden list --all) when it is; what holds it up is on the "
        "host: a file system that does not answer, or processes that somebody has frozen");
  });
  return KJ_ASSERT_NONNULL(entry.destroying).addBranch().exclusiveJoin(kj::mv(tooLong));
}

kj::Promise<void> Registry::shutdown() {
  shuttingDown = true;
  holdGraceTimes();
  watching = nullptr;
  // What does not end in this time the helper ends without us.
  auto tooLong = services.timer.afterDelay(LAST_WAIT);
  return tasks.onEmpty().exclusiveJoin(kj::mv(tooLong)).then([this]() {
    for (auto& [handle, entry] : entries)
      entry.container->prepareForSuccessor();
  });
}

}  // namespace warden::frontend
