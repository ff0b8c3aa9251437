#include "wshd/request.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

namespace warden {

namespace {

constexpr uint32_t UNCHANGED_ID = 0xffffffff;
constexpr int LAST_SIGNAL = 64;

bool hasNul(capnp::Data::Reader text) {
  return memchr(text.begin(), '\0', text.size()) != nullptr;
}

bool isAssignment(capnp::Data::Reader text) {
  if (text.size() == 0 || text[0] == '=' || hasNul(text)) return false;
  return memchr(text.begin(), '=', text.size()) != nullptr;
}

bool isPath(capnp::Data::Reader text) {
  return text.size() > 0 && text.size() < PATH_MAX && text[0] == '/' && !hasNul(text);
}

template <typename Plan>
kj::Maybe<Failure> readGroups(capnp::List<uint32_t>::Reader groups, Plan& plan) {
  auto result = kj::heapArray<gid_t>(groups.size());
  for (uint32_t i = 0; i < groups.size(); ++i) {
    if (groups[i] == UNCHANGED_ID) return Failure{"check the groups", EINVAL};
    result[i] = groups[i];
  }
  plan.groups = kj::mv(result);
  return nullptr;
}

kj::Maybe<Failure> readEnvironment(capnp::List<capnp::Data>::Reader environment, SpawnPlan& plan) {
  size_t length = 0;
  for (auto assignment : environment) {
    if (!isAssignment(assignment)) return Failure{"check the environment", EINVAL};
    length += assignment.size() + 1;
  }
  plan.environmentText = kj::heapArray<char>(length);
  plan.environment = kj::heapArray<char*>(environment.size() + 1);
  char* end = plan.environmentText.begin();
  for (uint32_t i = 0; i < environment.size(); ++i) {
    auto assignment = environment[i];
    plan.environment[i] = end;
    memcpy(end, assignment.begin(), assignment.size());
    end += assignment.size();
    *end++ = '\0';
  }
  plan.environment.back() = nullptr;
  return nullptr;
}

kj::Maybe<Failure> readLimits(capnp::List<schema::ResourceLimit>::Reader limits, SpawnPlan& plan) {
  if (limits.size() > RLIM_NLIMITS) return Failure{"check the limits", EINVAL};
  uint32_t seen = 0;
  auto result = kj::heapArrayBuilder<Limit>(limits.size());
  for (auto limit : limits) {
    uint8_t resource = limit.getResource();
    if (resource >= RLIM_NLIMITS || (seen & (1u << resource)) != 0) {
      return Failure{"check the limits", EINVAL};
    }
    seen |= 1u << resource;
    // RLIM_INFINITY is the all-ones value of the schema.
    result.add(Limit{resource, limit.getValue(), limit.getClamp()});
  }
  plan.limits = result.finish();
  return nullptr;
}

}  // namespace

kj::OneOf<SpawnPlan, Failure> planSpawn(schema::SpawnJob::Reader job) {
  SpawnPlan plan;
  plan.jobId = job.getJobId();
  plan.uid = job.getUid();
  plan.gid = job.getGid();
  plan.privileged = job.getPrivileged();
  plan.replyMayWait = job.getReplyMayWait();
  if (plan.uid == UNCHANGED_ID || plan.gid == UNCHANGED_ID) {
    return Failure{"check the user id", EINVAL};
  }
  auto home = job.getHome();
  if (!isPath(home)) return Failure{"check the home directory", EINVAL};
  plan.home = kj::heapString(home.asChars().begin(), home.size());

  KJ_IF_MAYBE (failure, readGroups(job.getGroups(), plan)) return *failure;
  KJ_IF_MAYBE (failure, readEnvironment(job.getEnvironment(), plan)) return *failure;
  KJ_IF_MAYBE (failure, readLimits(job.getLimits(), plan)) return *failure;
  return kj::mv(plan);
}

kj::OneOf<CopyPlan, Failure> planCopy(schema::CopyFiles::Reader copy) {
  CopyPlan plan;
  plan.uid = copy.getUid();
  plan.gid = copy.getGid();
  plan.pack = copy.isPack();
  if (plan.uid == UNCHANGED_ID || plan.gid == UNCHANGED_ID) {
    return Failure{"check the user id", EINVAL};
  }
  if (plan.uid == 0) return Failure{"check the user id: root copies nothing", EPERM};
  auto home = copy.getHome();
  if (!isPath(home)) return Failure{"check the home directory", EINVAL};
  auto path = copy.getPath();
  if (path.size() == 0 || hasNul(path)) return Failure{"check the path", EINVAL};
  plan.path = path[0] == '/' ? kj::heapString(path.asChars())
                             : kj::str(home.asChars(), '/', path.asChars());
  if (plan.path.size() >= PATH_MAX) return Failure{"check the path", ENAMETOOLONG};
  KJ_IF_MAYBE (failure, readGroups(copy.getGroups(), plan)) return *failure;
  return kj::mv(plan);
}

bool hasPrivilege(const SpawnPlan& plan) {
  bool inGroup = plan.gid == 0;
  for (gid_t group : plan.groups)
    inGroup |= group == 0;
  return plan.privileged || plan.uid == 0 || inGroup;
}

bool isSignal(int number) {
  return number >= 1 && number <= LAST_SIGNAL;
}

}  // namespace warden
