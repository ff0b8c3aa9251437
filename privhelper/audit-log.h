#pragma once
// The helper's audit trails: of what it did, refused, and failed to do itself; and of clients'
// requests, as the frontend tells.

#include <kj/string.h>
#include <kj/time.h>

#include "base/audit-trail.h"
#include "base/fd.h"
#include "schema/audit.capnp.h"

namespace warden::privhelper {

enum class Outcome { DONE, REFUSED, FAILED };

struct AuditPeer {
  // The client for whom something is done.

  pid_t pid;
  uid_t uid;
  gid_t gid;
  std::string executable;  // empty: not known
  std::string unit;        // empty: not known, or none
};

class AuditLog {
 public:
  explicit AuditLog(Fd output);
  // Both trails on one stream, such as stderr: no file, and nothing waits for it to be writable.

  AuditLog(AuditTrail operations, AuditTrail requests,
           AuditOptions::WhenUnwritable whenUnwritable = AuditOptions::WhenUnwritable::REFUSE);

  void record(kj::StringPtr operation, kj::StringPtr container, Outcome outcome,
              kj::StringPtr cause = nullptr, uint64_t durationUs = 0, kj::StringPtr path = nullptr);
  // `container`: the id as requested, which may be anything: it is escaped. Empty: none. `path`: of
  // the host, likewise. The line names the peer of the present OnBehalf.

  void recordRequest(schema::RequestRecord::Reader request, const AuditPeer* peer = nullptr);
  // `peer`: what the helper knows of the client. Null: nothing, and the record says that the
  // frontend's word is all there is. Throws kj::Exception for a message that cannot be walked;
  // nothing has been written then.

  void note(kj::StringPtr message);
  // What the operator should know: start, end, a frontend that died.

  kj::Maybe<AuditProblem> reasonToRefuse();
  // Why no operation may begin that has to leave a record: one of the trails cannot be written.
  // Never with `audit.when_unwritable: continue`.

  class OnBehalf {
    // As long as it lives, records name this peer; afterwards the one before.

   public:
    OnBehalf(AuditLog& log, kj::Maybe<AuditPeer> peer);
    ~OnBehalf() noexcept(false);
    KJ_DISALLOW_COPY(OnBehalf);

   private:
    AuditLog& log;
    kj::Maybe<AuditPeer> before;
  };

  const kj::Maybe<AuditPeer>& peer() const { return present; }
  // Whom records name now; for what is recorded later.

 private:
  AuditTrail operations;
  AuditTrail requests;
  AuditOptions::WhenUnwritable whenUnwritable;
  kj::Maybe<AuditPeer> present;
};

}  // namespace warden::privhelper
