#pragma once
// The broker: takes the frontend's requests, holds each against the policy, and carries it out.
// Parses what an attacker may have written, so it can neither fork nor execute anything.

#include <kj/vector.h>

#include <deque>
#include <map>
#include <vector>

#include "base/packet.h"
#include "base/service-manager.h"
#include "privhelper/audit-log.h"
#include "privhelper/client-facts.h"
#include "privhelper/container.h"
#include "privhelper/frontend.h"
#include "privhelper/highest-id.h"
#include "privhelper/kept-images.h"
#include "privhelper/peer.h"
#include "privhelper/porter.h"
#include "privhelper/step.h"
#include "schema/privhelper.capnp.h"

namespace warden::privhelper {

class Broker {
 public:
  Broker(const ContainerHost& host, AuditLog& log, Frontend& frontend,
         const ListenerIdentity& listener, ClientFacts& clients, Fd signals, const Pidfd& sweeper,
         Porter& porter);
  // `signals`: a signalfd for TERM, INT and USR2. All references are borrowed.

  bool run(const ServiceManager& manager);
  // Tells the manager when it is ready: what an earlier server has left is known. Serves until told
  // to end by a signal; then the frontend has ended. Containers live on. False: a container that
  // was being destroyed could not be ended in time. Throws when it cannot go on (the launcher has
  // died).

  ~Broker() noexcept(false);
  KJ_DISALLOW_COPY(Broker);

 private:
  struct Reply {
    kj::Array<capnp::word> words;
    kj::Vector<Fd> fds;
  };
  struct Dying {
    kj::Own<Container> container;
    kj::Maybe<uint64_t> sequence;  // of the destroy to be answered
    kj::Maybe<AuditPeer> peer;     // who asked for it
    uint64_t startedUs;
    uint64_t endedUs = 0;  // when its processes had; what is left may take a moment longer
  };
  struct Settling {
    // A request about a container's disk. Is answered when the limits are in force.
    ContainerId container;
    kj::Maybe<uint64_t> sequence;  // none: nobody waits for it
    kj::Maybe<AuditPeer> peer;
    uint64_t startedUs;
    bool sets;
  };
  struct Limiting {
    // A request for a limit of memory, for which the kernel may have to reclaim.
    LimitOrder order;
    kj::Maybe<uint64_t> sequence;
    kj::Maybe<AuditPeer> peer;
    uint64_t startedUs;
  };
  struct Porting {
    // What the porter does for a client.
    const char* operation;
    uint64_t sequence;
    kj::Maybe<ContainerId> container;  // none: an image
    std::string path;
    PeerCredentials client;
    uint64_t startedUs;
  };
  struct Preparing {
    // A create whose sources of bind mounts are opened, one after the other.
    uint64_t sequence;
    CreateOrder order;
    PeerCredentials client;
    uint64_t startedUs;
    uint64_t awaits = 0;  // the porter's number of the source that is being opened
  };
  struct Leftover {
    // What an earlier server has left and cannot be adopted, or what could not be removed.
    kj::Vector<uint32_t> slots;   // that it has as long as its processes live
    kj::Maybe<uint32_t> network;  // likewise
    uint64_t sinceUs;
    uint64_t nextUs;     // when it is tried again
    bool tried = false;  // to end its processes
    bool told = false;
    schema::Dying::Cause cause = schema::Dying::Cause::PROCESSES;
  };
  using Handler = void (Broker::*)(schema::HelperRequest::Reader request);
  struct Permitted {
    schema::HelperRequest::Which which;
    const char* name;
    Handler handler;
    kj::Maybe<AccessRequest> access;  // what the access rules have to grant
    size_t descriptors = 0;           // beside the client's socket
    bool needsRecord = true;          // does not begin while the audit trail cannot be written
  };
  static const Permitted PERMITTED[];

  static constexpr uint64_t DYING_US = 10'000'000;
  // How long containers that are being destroyed may take before the server ends without them.

  const ContainerHost& host;
  AuditLog& log;
  Frontend& frontend;
  const ListenerIdentity& listener;
  ClientFacts& clients;
  Fd signals;
  const Pidfd& sweeper;
  Porter& porter;
  HighestId highestId;
  std::vector<bool> slotInUse;
  std::vector<bool> networkInUse;
  std::map<ContainerId, kj::Own<Container>> containers;
  std::map<ContainerId, Dying> dying;
  std::map<ContainerId, Leftover> leftovers;
  struct Use {
    // Of one user, in containers that live.
    uint32_t containers = 0;
    uint32_t ports = 0;
  };
  std::map<uid_t, Use> uses;
  std::map<uint64_t, Porting> porting;  // by the porter's number
  std::map<ContainerId, Preparing> preparing;
  KeptImages images;
  kj::Vector<Fd> carried;  // by the request that is being handled, beside the client's socket
  std::deque<Settling> diskOrders;
  std::deque<Limiting> memoryOrders;
  std::deque<Reply> unsent;           // while the frontend does not read, it is not listened to
  kj::Maybe<PeerCredentials> asking;  // the client whose request is being handled
  kj::Maybe<AuditPeer> audited;       // the same, as records name it
  bool greeted = false;
  bool stopping = false;
  uint64_t nextRecordsUs = 0;        // the audit connection is not looked at before; 0: it is
  bool retrySoon = false;            // a cgroup was busy
  uint64_t waitForDyingUntilUs = 0;  // at the end

  bool hasFinished() const;
  void startFrontend();
  void waitForEvents();
  int timeoutMs() const;
  void handleSignals();
  void handleFrontendEnd();
  void receiveRequests();
  bool receiveRecords(int most);  // all there were
  void dispatch(Packet& packet);
  kj::Maybe<kj::String> reasonAgainstClient(const Permitted& permitted, Packet& packet);

  void hello(schema::HelperRequest::Reader request);

  // In broker-create.c++: what makes containers, finds and counts them.
  void create(schema::HelperRequest::Reader request);
  void build(uint64_t sequence, const CreateOrder& order);
  void removeRestOf(const CreateOrder& order);
  kj::Maybe<kj::String> reasonAgainst(const CreateOrder& order) const;
  void countIn(kj::Own<Container> container);
  void countOut(const Container& container);
  kj::Vector<Fd> describe(Container& container, Fd connection, schema::Created::Builder created);
  Container* find(const ContainerId& id);
  // One that the client may touch. Null: to the frontend there is none.
  kj::Maybe<kj::String> reasonAgainstAnother(uid_t owner, std::optional<uint32_t> Grant::*quota,
                                             uint32_t Use::*used) const;

  // In broker-recovery.c++: what an earlier server or frontend has left.
  void recover();
  kj::Maybe<kj::String> reasonAgainstRecovery(const ContainerId& id);
  kj::Vector<uint32_t> slotsOf(const ContainerId& id) const;
  void listContainers(schema::HelperRequest::Reader request);
  void adopt(schema::HelperRequest::Reader request);
  static void tellRecord(const ContainerRecord& record, schema::Adopted::Builder adopted);

  // In broker-destroy.c++: what ends, and is removed.
  void destroy(schema::HelperRequest::Reader request);
  void beginDestroy(kj::Own<Container> container, kj::Maybe<uint64_t> sequence);
  bool isGone(Dying& entry);
  void reapDying();
  kj::StringPtr whatIsLeftOf(const ContainerId& id) const;
  void removeLater(const ContainerId& id, kj::Vector<uint32_t> slots,
                   kj::Maybe<uint32_t> network = nullptr);
  void removeLeftovers();
  bool removeNow(const ContainerId& id, Leftover& entry);
  uint64_t nextRemovalUs() const;
  void listDying(schema::Containers::Builder all) const;
  schema::Dying::Cause causeOf(const ContainerId& id, const Dying& entry) const;
  bool isSlotLost(uint32_t slot) const;
  bool isNetworkLost(uint32_t network) const;

  // In broker-limits.c++: what changes a container that exists.
  void limitMemory(schema::HelperRequest::Reader request);
  void limitCpu(schema::HelperRequest::Reader request);
  void limitDisk(schema::HelperRequest::Reader request);
  void limitBandwidth(schema::HelperRequest::Reader request);
  void mapPort(schema::HelperRequest::Reader request);
  void allowOut(schema::HelperRequest::Reader request);
  template <typename Order, typename Carry>
  void change(schema::HelperRequest::Reader request, const char* operation,
              capnp::Text::Reader container, kj::OneOf<Order, Refusal> checked, Carry&& carryOut);
  void settleDisk(const Settling& order);
  void settleMemory(Limiting limiting);
  void stopLimiting(const ContainerId& id);
  // What waits for its memory to be reclaimed fails: another limit is asked for.
  void failLimiting(const Limiting& limiting, const StepError& error);

  // In broker-porter.c++: what needs files of the host that are a client's business.
  void copyIn(schema::HelperRequest::Reader request);
  void copyOut(schema::HelperRequest::Reader request);
  void copy(uint64_t sequence, const char* operation, schema::Copy::Reader parameters, HostUse use);
  void openImage(schema::HelperRequest::Reader request);
  kj::Maybe<kj::String> reasonAgainstHostFiles(CreateOrder& order);
  void prepare(uint64_t sequence, CreateOrder order);
  void openNextSource(Preparing& create);
  void handlePorter();
  void settlePorting(Packet packet);
  void imageOpened(const Porting& order, schema::OpenedPath::Reader opened, Packet& packet);
  void sourceOpened(Preparing& create, schema::OpenedPath::Reader opened, Packet& packet);
  void failPorting(uint64_t number, const Porting& order,
                   schema::PorterAnswer::Failed::Reader failed);
  Preparing* findPreparing(uint64_t number, const Porting& order);
  // The create that waits for this answer of the porter; null: none does.
  bool isPorting(const ContainerId& id) const;
  void failTooMany(uint64_t sequence, const char* operation, kj::StringPtr container);
  void forgetPorting();
  void stopPreparing(const ContainerId& id);

  kj::Maybe<AuditPeer> auditedPeer() const;
  template <typename Order>
  kj::Maybe<kj::String> reasonAgainstMore(const kj::OneOf<Order, Refusal>& checked,
                                          std::optional<uint64_t> Grant::*quota) const;
  // Of a limit above what the client's grant says.

  void fail(uint64_t sequence, const char* operation, const ContainerId& id, const StepError& error,
            uint64_t durationUs = 0);
  void failUnrecorded(uint64_t sequence, const char* operation, const AuditProblem& problem);
  void refuse(uint64_t sequence, const char* operation, kj::StringPtr container,
              kj::StringPtr reason);
  void reply(capnp::MessageBuilder& message, kj::Vector<Fd> fds = {});
  void sendUnsent();
};

}  // namespace warden::privhelper
