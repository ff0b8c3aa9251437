#include "wshd/identity.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wshd/init.h"

namespace warden {

IdentityFailure dropBoundingSet(uint64_t dropped) {
  for (int cap = 0; cap < 64; ++cap) {
    if ((dropped >> cap & 1) == 0) continue;
    if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) return {BOUNDING_SET, errno};
  }
  return {};
}

// By the raw system calls: glibc's wrappers would look for other threads.
IdentityFailure takeIds(uid_t uid, gid_t gid, kj::ArrayPtr<const gid_t> groups) {
  if (syscall(SYS_setgroups, groups.size(), groups.begin()) < 0) return {GROUPS, errno};
  if (syscall(SYS_setresgid, gid, gid, gid) < 0) return {GID, errno};
  if (syscall(SYS_setresuid, uid, uid, uid) < 0) return {UID, errno};
  // A change of ids sets what fs.suid_dumpable says (proc(5)), and the memory is wshd's.
  hideFromContainer();

  uid_t u[3];
  gid_t g[3];
  if (getresuid(&u[0], &u[1], &u[2]) < 0) return {VERIFY_IDS, errno};
  if (getresgid(&g[0], &g[1], &g[2]) < 0) return {VERIFY_IDS, errno};
  for (int i = 0; i < 3; ++i) {
    if (u[i] != uid || g[i] != gid) return {VERIFY_IDS, EPERM};
  }
  if (getgroups(0, nullptr) != static_cast<int>(groups.size())) return {VERIFY_IDS, EPERM};
  return {};
}

IdentityFailure keepCapabilities(uint64_t kept) {
  // The permitted set only: root's exec makes all of it effective, and no_new_privs adds nothing
  // (capabilities(7)).
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) < 0) return {CAPABILITIES, errno};
  uint64_t permitted = (data[0].permitted | uint64_t(data[1].permitted) << 32) & kept;
  for (int i = 0; i < 2; ++i) {
    uint32_t part = permitted >> 32 * i;
    data[i] = {0, part, 0};
  }
  if (syscall(SYS_capset, &header, data) < 0) return {CAPABILITIES, errno};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return {NO_NEW_PRIVS, errno};

  if (syscall(SYS_capget, &header, data) < 0) return {VERIFY_CAPABILITIES, errno};
  for (int i = 0; i < 2; ++i) {
    uint32_t part = permitted >> 32 * i;
    if (data[i].permitted != part || data[i].effective != 0 || data[i].inheritable != 0) {
      return {VERIFY_CAPABILITIES, EPERM};
    }
  }
  if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return {VERIFY_CAPABILITIES, EPERM};
  return {};
}

}  // namespace warden
