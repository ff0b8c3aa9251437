#pragma once
// What wshd reads off a spawn request, checked in full before anything is done with it. No system
// call is made here.

#include <kj/array.h>
#include <kj/one-of.h>
#include <kj/string.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "schema/wshd.capnp.h"

namespace warden {

struct Failure {
  // As JobFailure of schema/wshd.capnp.

  kj::StringPtr step;  // static text
  int error;           // errno(3)
};

struct Limit {
  int resource;  // RLIMIT_*
  rlim_t value;
  bool clamp;
};

struct SpawnPlan {
  // A job, laid out such that a forked child needs no memory allocation to become it.

  uint32_t jobId = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  kj::Array<gid_t> groups;
  bool privileged = false;
  bool replyMayWait = false;
  kj::String home;
  kj::Array<char> environmentText;  // NUL-terminated assignments, one after the other
  kj::Array<char*> environment;     // into environmentText; ends with a null pointer
  kj::Array<Limit> limits;          // each resource at most once
};

kj::OneOf<SpawnPlan, Failure> planSpawn(schema::SpawnJob::Reader job);
// Fails with EINVAL when an id is the one that means "unchanged" to the kernel (setresuid(2)), home
// is not an absolute path, an assignment is malformed, or a resource is unknown or named twice.
// Throws a kj::Exception when the message itself is malformed.

struct CopyPlan {
  uid_t uid = 0;
  gid_t gid = 0;
  kj::Array<gid_t> groups;
  kj::String path;  // absolute
  bool pack = false;
};

kj::OneOf<CopyPlan, Failure> planCopy(schema::CopyFiles::Reader copy);
// Fails with EINVAL as planSpawn() does, and when the path is empty or has a NUL; EPERM: for root;
// ENAMETOOLONG: the path is longer than 4095 bytes with the home directory before it.

bool hasPrivilege(const SpawnPlan& plan);
// Whether the job would be root of the container, in root's group, or have capabilities.

bool isSignal(int number);
// True for what kill(2) delivers: 1 .. 64.

}  // namespace warden
