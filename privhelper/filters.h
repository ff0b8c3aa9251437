#pragma once
// The system call filters: of containers, and of the helper's own processes.

#include "base/profile.h"
#include "base/seccomp-filter.h"

namespace warden::privhelper {

SeccompFilter containerFilter(const Profile& profile = {});
// What a process in a container may call: the native ABI, no mount, no namespaces, no kernel
// keyrings, no tracing of the kernel. Calls that are known and refused answer EPERM, calls that are
// unknown answer ENOSYS, so that programs fall back to older ones. What the profile says more, and
// less, goes first.

SeccompFilter argumentFilter();
// What containerFilter's list of names cannot say: calls that are refused for some arguments only
// (terminal injection, rare socket families). The launcher installs it on itself, so that every
// container has it without installing anything.

SeccompFilter launcherFilter(const std::vector<Profile>& profiles);
// Inherited by everything that the launcher starts, so at least what containerFilter allows; and
// what it takes to set a container up.

SeccompFilter brokerFilter();
// No exec, no fork, no new sockets but unix ones.

SeccompFilter porterFilter();
// Forking, becoming users, cloning mounts; and what its workers need, which inherit it.

SeccompFilter porterWorkerFilter();
// Files only: no other process, no other user, no mount.

SeccompFilter observerFilter();
// Reading where links lead, and nothing that opens a file.

SeccompFilter sweeperFilter();
// Reading directories and unlinking.

}  // namespace warden::privhelper
