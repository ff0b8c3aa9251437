#pragma once
// Giving up privilege, and proving that it is gone. Each function reads the state back from the
// kernel and fails if it is not what was asked for.

#include <kj/array.h>
#include <sys/types.h>

namespace warden {

void becomeUser(uid_t uid, gid_t gid, kj::ArrayPtr<const gid_t> groups = nullptr);
// Sets real, effective, saved and filesystem ids and the supplementary groups, for good: fails if
// the old user id can be taken back.

void limitCapabilities(kj::ArrayPtr<const int> keep);
// Permitted, effective and bounding sets become `keep` (CAP_* of capabilities(7)) as far as the
// process has them, inheritable and ambient sets become empty. Needs CAP_SETPCAP while the bounding
// set shrinks; it may be absent from `keep`.

void dropAllCapabilities();
// As limitCapabilities with nothing to keep. Works without CAP_SETPCAP when the process has no
// capability at all; then the bounding set stays, and no_new_privs makes it moot.

void emptyBoundingSet();
// Needs CAP_SETPCAP, and so comes before becomeUser().

void setNoNewPrivileges();

}  // namespace warden
