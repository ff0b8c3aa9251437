#pragma once
// All containers, by handle; their making and their end; and the connections that keep them alive.

#include <deque>
#include <map>
#include <set>
#include <string>

#include "frontend/container.h"
#include "frontend/core-figures.h"
#include "frontend/requester.h"
#include "frontend/turn-queue.h"

namespace warden::frontend {

using ConnectionNumber = uint64_t;

class Registry final : private kj::TaskSet::ErrorHandler {
  // Creates and destroys run to their end here, whether or not the client that asked for them
  // waits.

 public:
  Registry(const Services& services, Fd imageDirectory, std::string hostResolvConf);
  ~Registry() noexcept(false);

  ConnectionNumber connectionOpened();
  // References every container that exists: none of them is destroyed by its grace time now.
  void connectionClosed(ConnectionNumber connection);

  kj::Promise<kj::Own<Container>> create(ConnectionNumber by, const Requester& requester,
                                         const CreateRequest& request);
  // Rejects with an error for the client; then the handle and all else are free again. `requester`
  // and `request` outlive the promise. Dropped while it waits for its turn, nothing has happened.

  kj::Own<Container> find(ConnectionNumber by, const Requester& requester,
                          const std::string& handle);
  // Throws "unknown handle", also for a container that is not the requester's business. The
  // connection references the container from now on.

  kj::Promise<void> destroy(kj::Own<Container> container);
  // Resolves when nothing is left, also for a second caller. Rejects with an error for the client
  // when that takes longer than PATIENCE; it goes on all the same. Dropped while it waits for its
  // turn, nothing has happened.

  static constexpr auto PATIENCE = 15 * kj::SECONDS;

  std::vector<std::string> handles(const Requester& requester) const;
  // Of active and stopped containers that are its business.

  kj::Promise<ListResponse> describeAll(const Requester& requester);
  // All that there is, in whatever state, and what the helper has still to remove.

  RegistryFigures figures() const;

  bool isRecovering() const { return recovering; }
  kj::Promise<void> whenRecovered() { return recovery.addBranch(); }
  // Until then nobody can know which handles, networks and ports are taken.

  uint32_t nextJobId() { return ++lastJobId; }
  ScriptFiles& scripts() { return scriptFiles; }

  void holdGraceTimes();
  kj::Promise<void> shutdown();
  // See Core::prepareToDrain, Core::shutdown.

 private:
  struct Entry {
    kj::Own<Container> container;
    uint64_t born;                       // on the same clock as connections
    std::set<ConnectionNumber> namedBy;  // of the connections that were there before it
    kj::Maybe<kj::TimePoint> unreferencedSince;
    kj::Maybe<kj::ForkedPromise<void>> destroying;
  };

  const Services& services;
  ImageFacts image;
  std::string hostResolvConf;
  SlotPool slots;
  NetworkPool networks;
  ContainerIdGenerator ids;
  uint32_t lastJobId = 0;
  ScriptFiles scriptFiles;
  TurnQueue turns;
  bool recovering = true;
  uint64_t clock = 0;
  bool shuttingDown = false;
  bool graceTimesHeld = false;
  std::set<ConnectionNumber> connections;
  std::map<std::string, Entry> entries;
  kj::Maybe<kj::TimePoint> graceAlarm;  // when `graceTask` looks next
  kj::Promise<void> graceTask = nullptr;
  std::string lastAsked;  // the handle
  kj::Promise<void> watching;
  kj::TaskSet tasks;
  kj::ForkedPromise<void> recovery;

  kj::Promise<void> recover();
  kj::Promise<void> recoverNext(std::deque<ContainerId>& waiting);
  kj::Promise<void> recoverOne(const ContainerId& id);
  void forget(const ContainerId& id);
  kj::Own<Container> enter(const ContainerId& id, const ContainerSnapshot& snapshot,
                           const AdoptedContainer& adopted);
  ContainerResources takeAgain(const AdoptedContainer& adopted);

  kj::Promise<kj::Own<Container>> createNow(ConnectionNumber by, const Requester& requester,
                                            const CreateRequest& request, kj::Own<HostFiles> files,
                                            Turn turn);
  void requireRoom() const;
  Entry& reserve(const Requester& requester, const CreateRequest& request);
  ContainerResources takeResources(const Requester& requester, const CreateRequest& request);
  kj::Promise<void> build(int client, Container& container, const HostFiles& files, bool anyNetwork,
                          uint32_t otherSlots);
  // Tries so many other slots where one is lost (HelperClient::create); and with each another
  // network, where it may be any.
  kj::Promise<void> buildOnce(int client, Container& container, const HostFiles& files);
  Entry& entryOf(const Container& container);
  Entry* findEntry(const Container& container);
  void destroyNow(Container& container, Turn turn);
  kj::Promise<void> whenDestroyed(Entry& entry);
  bool isReferenced(const Entry& entry) const;
  void considerGrace(Entry& entry);
  void setGraceAlarm(kj::TimePoint when);
  void graceAlarmRings();
  kj::Promise<void> watch();
  void destroyUnreferenced(Container& container, Turn turn);

  void taskFailed(kj::Exception&& exception) override;
};

}  // namespace warden::frontend
