#pragma once
// Verifying an audit trail (base/audit-trail.h) that may be in use meanwhile.

#include <stdint.h>

#include <string>
#include <vector>

namespace warden {

std::vector<std::string> auditFiles(const std::string& path);
// The files of the trail, oldest first: PATH.N .. PATH.1 and PATH, as far as they are there.

struct AuditFinding {
  std::string file;
  uint64_t line;  // counted from 1; 0: the file as a whole
  std::string what;
};

struct AuditReport {
  std::vector<AuditFinding> findings;  // empty: the trail is whole; at most MOST_AUDIT_FINDINGS
  uint64_t records = 0;
  uint64_t firstSeq = 0;
  uint64_t lastSeq = 0;
};
constexpr size_t MOST_AUDIT_FINDINGS = 100;

AuditReport verifyAuditTrail(const std::string& path, bool fromOldest = false);
// Finds each line that was changed, taken out (also the first ones or the last), put in, moved or
// cut, over all files of the trail. `fromOldest`: files older than the oldest one may be gone.
// Whoever may write all files and the head can make a trail that is whole; that shows only by
// comparing with a copy kept elsewhere. Throws kj::Exception when there is no such file, or it
// cannot be read.

}  // namespace warden
