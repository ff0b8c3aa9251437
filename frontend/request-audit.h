#pragma once
// Tells the helper of each request that a client made, for the audit trail (schema/audit.capnp): a
// layer between the edge and the core.

#include <kj/async-unix.h>
#include <kj/timer.h>
#include <kj/vector.h>
#include <sys/types.h>

#include <string>

#include "frontend/packet-link.h"
#include "frontend/session.h"
#include "schema/audit.capnp.h"

namespace warden::frontend {

struct RequestPeer {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  uint64_t connection = 0;  // the number that the kernel gives the socket (SO_COOKIE)
};

RequestPeer peerOfSocket(int socket);
// Who has connected it (unix(7), SO_PEERCRED).

struct RequestFacts {
  // What is recorded of a request, from the bytes that the client sent.

  std::string handle;        // at most RequestRecord::MAX_HANDLE_BYTES of it
  size_t handleBytes = 0;    // of all of it
  uint64_t job = 0;          // 0: none
  std::string scriptDigest;  // SHA-256, in 64 digits; empty: the request has no script
  size_t scriptBytes = 0;
};

RequestFacts factsOf(Message::Type type, kj::ArrayPtr<const kj::byte> request);
// Of bytes that are no such request, what can be read.

struct RequestResult {
  schema::RequestRecord::Outcome outcome;
  std::string cause;
};

class RequestAudit final : public SessionFactory {
 public:
  RequestAudit(kj::UnixEventPort& port, kj::Timer& timer, Fd helper, SessionFactory& sessions,
               bool recordReads = false);
  // `helper`: the connection for records. `recordReads`: also ping, echo, list and info, which
  // change nothing and may come by the thousand a second. The others are borrowed.
  ~RequestAudit() noexcept(false);
  KJ_DISALLOW_COPY(RequestAudit);

  kj::Own<Session> open(int clientSocket) override;
  // A session of `sessions` whose requests are recorded, when they have been answered or the client
  // has gone. Nothing waits for the helper: what it does not take in time is lost, counted, and the
  // count recorded.

  void introduce(int clientSocket);
  // Before the first record of it: the helper looks for itself who is on the other end.
  void goodbye(uint64_t connection);

  bool wants(Message::Type type) const;
  void record(const RequestPeer& peer, Message::Type type, const RequestFacts& facts,
              const RequestResult& result, uint64_t durationUs);
  uint64_t nowUs() const;

 private:
  PacketLink link;
  SessionFactory& sessions;
  bool recordReads;
  uint64_t lost = 0;

  bool send(kj::Own<capnp::MallocMessageBuilder> message, kj::ArrayPtr<const int> fds = nullptr);
  kj::Vector<kj::Own<capnp::MallocMessageBuilder>> waiting;
  kj::Promise<void> sending = nullptr;

  void sendWaiting();
};

}  // namespace warden::frontend
