#include "base/privilege.h"

#include <errno.h>
#include <grp.h>
#include <kj/debug.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <memory>

namespace warden {

namespace {

struct CapFree {
  void operator()(cap_t caps) const { cap_free(caps); }
};
using Caps = std::unique_ptr<std::remove_pointer_t<cap_t>, CapFree>;

bool contains(kj::ArrayPtr<const int> list, int wanted) {
  for (int item : list) {
    if (item == wanted) return true;
  }
  return false;
}

bool processHas(int capability, cap_flag_t set) {
  Caps caps(cap_get_proc());
  if (caps == nullptr) KJ_FAIL_SYSCALL("cap_get_proc", errno);
  cap_flag_value_t value;
  KJ_SYSCALL(cap_get_flag(caps.get(), capability, set, &value));
  return value == CAP_SET;
}

}  // namespace

void becomeUser(uid_t uid, gid_t gid, kj::ArrayPtr<const gid_t> groups) {
  uid_t before = getuid();
  KJ_SYSCALL(setgroups(groups.size(), groups.begin()));
  KJ_SYSCALL(setresgid(gid, gid, gid), gid);
  KJ_SYSCALL(setresuid(uid, uid, uid), uid);

  uid_t u[3];
  gid_t g[3];
  KJ_SYSCALL(getresuid(&u[0], &u[1], &u[2]));
  KJ_SYSCALL(getresgid(&g[0], &g[1], &g[2]));
  for (int i = 0; i < 3; ++i) {
    KJ_ASSERT(u[i] == uid && g[i] == gid, "ids were not dropped");
  }
  KJ_ASSERT(getgroups(0, nullptr) == static_cast<int>(groups.size()), "groups were not dropped");
  if (uid != 0 && before != uid) {
    KJ_ASSERT(setresuid(before, before, before) < 0, "the old user id can be taken back");
  }
}

void limitCapabilities(kj::ArrayPtr<const int> keep) {
  for (int cap = 0; cap <= cap_max_bits() - 1; ++cap) {
    if (!contains(keep, cap) && cap_get_bound(cap) == 1) {
      KJ_SYSCALL(cap_drop_bound(cap), cap);
    }
  }
  KJ_SYSCALL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));

  Caps caps(cap_init());
  if (caps == nullptr) KJ_FAIL_SYSCALL("cap_init", errno);
  for (int cap : keep) {
    if (!processHas(cap, CAP_PERMITTED)) continue;
    cap_value_t value = cap;
    KJ_SYSCALL(cap_set_flag(caps.get(), CAP_PERMITTED, 1, &value, CAP_SET));
    KJ_SYSCALL(cap_set_flag(caps.get(), CAP_EFFECTIVE, 1, &value, CAP_SET));
  }
  KJ_SYSCALL(cap_set_proc(caps.get()));

  for (int cap = 0; cap <= cap_max_bits() - 1; ++cap) {
    if (contains(keep, cap)) continue;
    KJ_ASSERT(!processHas(cap, CAP_PERMITTED) && !processHas(cap, CAP_EFFECTIVE) &&
                  !processHas(cap, CAP_INHERITABLE) && cap_get_bound(cap) != 1,
              "a capability was not dropped", cap);
  }
}

void dropAllCapabilities() {
  if (processHas(CAP_SETPCAP, CAP_EFFECTIVE)) {
    limitCapabilities(nullptr);
    return;
  }
  KJ_SYSCALL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
  Caps none(cap_init());
  if (none == nullptr) KJ_FAIL_SYSCALL("cap_init", errno);
  KJ_SYSCALL(cap_set_proc(none.get()));
  for (int cap = 0; cap <= cap_max_bits() - 1; ++cap) {
    KJ_ASSERT(!processHas(cap, CAP_PERMITTED) && !processHas(cap, CAP_INHERITABLE),
              "a capability was not dropped", cap);
  }
}

void emptyBoundingSet() {
  for (int cap = 0; cap <= cap_max_bits() - 1; ++cap) {
    if (cap_get_bound(cap) == 1) {
      KJ_SYSCALL(cap_drop_bound(cap), cap);
    }
    KJ_ASSERT(cap_get_bound(cap) != 1, "a capability is still in the bounding set", cap);
  }
}

void setNoNewPrivileges() {
  KJ_SYSCALL(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  KJ_ASSERT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
}

}  // namespace warden
