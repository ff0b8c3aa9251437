#pragma once
// The broker: takes the frontend's requests, holds each against the policy, and carries it out.
// Parses what an attacker may have written, so it can neither fork nor execute anything.

#include <kj/vector.h>

#include <deque>
#include <map>
#include <vector>

#include "base/packet.h"
#include "privhelper/audit-log.h"
#include "privhelper/container.h"
#include "privhelper/frontend-process.h"
#include "schema/privhelper.capnp.h"

namespace warden::privhelper {

class Broker {
 public:
  Broker(const ContainerHost& host, AuditLog& log, FrontendProcess& frontend, Fd signals,
         const Pidfd& sweeper);
  // `signals`: a signalfd for TERM, INT and USR2.

  bool run();
  // Serves until told to end by a signal; then the frontend has ended and no container is left.
  // False: a container could not be ended in time. Throws when it cannot go on (the launcher has
  // died).

 private:
  struct Reply {
    kj::Array<capnp::word> words;
    kj::Vector<Fd> fds;
  };
  struct Dying {
    kj::Own<Container> container;
    kj::Maybe<uint64_t> sequence;  // of the destroy to be answered
    uint64_t startedUs;
    kj::Maybe<uint64_t> endedUs = nullptr;  // its last process; its cgroups are still to be removed
  };
  using Handler = void (Broker::*)(schema::HelperRequest::Reader request);
  struct Permitted {
    schema::HelperRequest::Which which;
    const char* name;
    Handler handler;
  };
  static const Permitted PERMITTED[];

  const ContainerHost& host;
  AuditLog& log;
  FrontendProcess& frontend;
  Fd signals;
  const Pidfd& sweeper;
  std::vector<bool> slotInUse;
  std::map<ContainerId, kj::Own<Container>> containers;
  std::map<ContainerId, Dying> dying;
  std::deque<Reply> unsent;  // while the frontend does not read, it is not listened to
  bool greeted = false;
  bool stopping = false;
  uint64_t waitForDyingUntilUs =
      0;  // for a new frontend, or the end; what does not die is not waited for

  void removeStale();
  bool hasFinished() const;
  uint64_t frontendStartUs() const;
  void startFrontend();
  void waitForEvents();
  int timeoutMs() const;
  void handleSignals();
  void handleFrontendEnd();
  void receiveRequests();
  void dispatch(Packet& packet);
  void reapDying();
  static bool hasEnded(Dying& entry);

  void hello(schema::HelperRequest::Reader request);
  void create(schema::HelperRequest::Reader request);
  void destroy(schema::HelperRequest::Reader request);

  void build(uint64_t sequence, const CreateOrder& order);
  void beginDestroy(kj::Own<Container> container, kj::Maybe<uint64_t> sequence);
  void destroyAll();
  kj::Maybe<kj::String> reasonAgainst(const CreateOrder& order) const;

  void refuse(uint64_t sequence, const char* operation, kj::StringPtr container,
              kj::StringPtr reason);
  void reply(capnp::MessageBuilder& message, kj::Vector<Fd> fds = {});
  void sendUnsent();
};

}  // namespace warden::privhelper
