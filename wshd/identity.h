#pragma once
// Becoming the user of a job or copy, for good. Each function reads the state back from the kernel.
// Async-signal-safe (signal-safety(7)): a job's child shares wshd's memory.

#include <kj/array.h>
#include <stdint.h>
#include <sys/types.h>

namespace warden {

enum IdentityStep : uint8_t {
  BOUNDING_SET,
  GROUPS,
  GID,
  UID,
  CAPABILITIES,
  NO_NEW_PRIVS,
  VERIFY_IDS,
  VERIFY_CAPABILITIES,
  IDENTITY_STEPS
};

constexpr const char* IDENTITY_STEP_NAMES[IDENTITY_STEPS] = {"drop the bounding set",
                                                             "setgroups",
                                                             "setresgid",
                                                             "setresuid",
                                                             "capset",
                                                             "no_new_privs",
                                                             "verify the ids",
                                                             "verify the capabilities"};

struct IdentityFailure {
  uint8_t step = IDENTITY_STEPS;  // IDENTITY_STEPS: none
  int error = 0;

  explicit operator bool() const { return step != IDENTITY_STEPS; }
};

IdentityFailure dropBoundingSet(uint64_t dropped);
// Sets of capabilities have bit n for capability n. Needs CAP_SETPCAP, and so comes before
// takeIds().

IdentityFailure takeIds(uid_t uid, gid_t gid, kj::ArrayPtr<const gid_t> groups);

IdentityFailure keepCapabilities(uint64_t kept);
// Of those that are permitted. None is effective until a program is executed. Sets no_new_privs.

}  // namespace warden
