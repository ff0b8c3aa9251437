#pragma once
// The process that keeps the containers' unit of systemd alive, and with it the delegated cgroup: a
// unit without a process has no cgroup.

namespace warden::privhelper {

[[noreturn]] void keepCgroup();
// Moves into a cgroup of its own below the unit's, which may then have children with controllers
// (cgroups(7), "no internal processes"), tells the service manager, gives up all capabilities, and
// sleeps until it is killed.

}  // namespace warden::privhelper
