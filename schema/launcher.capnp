@0x9248ceb0ba1cfa83;
# Inside the privileged helper: what its broker asks of its launcher, and of the process that becomes a
# container's wshd. Every peer here is the same program; nothing of it is reachable from outside.
#
# Transport: SOCK_SEQPACKET pairs, one packet a message (base/packet.h).

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("warden::schema");

struct LauncherRequest {
  # Broker -> launcher. Answered in order.

  union {
    launch @0 :UInt32;
    # Clones a process into new user, pid, mount, network, ipc and uts namespaces, with the system call
    # filter of the profile that has this place in the configuration. It waits for
    # SetupMessages on the first descriptor. The second descriptor, where there is one, is the
    # cgroup v2 directory that it is born into (CLONE_INTO_CGROUP).

    holdUserNamespace @1 :Void;
    # Clones a process that only keeps a new user namespace alive until it is killed.

    startFrontend @2 :StartFrontend;
  }
}

struct StartFrontend {
  # Starts the frontend as its unprivileged user. The descriptors become 3, 4, 5, ... of it.

  arguments @0 :List(Text);
  # With the program's name as the first.
  environment @1 :List(Text);
}

struct LauncherReply {
  # Launcher -> broker.

  union {
    started @0 :Int32;
    # The pid; descriptor 0 is the pidfd.
    failed @1 :StepReport;
  }
}

struct SetupMessage {
  # Broker -> the process that becomes wshd.

  union {
    join @0 :Void;
    # Descriptors: the "tasks" files of its cgroups v1, opened for writing.

    build @1 :Build;
    # Descriptors: 0 the root file system, 1 the /dev file system (both detached mounts),
    # 2 wshd's connection to the frontend, 3 wshd's listening socket.

    connected @3 :Void;
    # Its end of the network interface is there. It is made while the process mounts its file systems.

    bindMounts @4 :List(BindTarget);
    # The next ones, at most eight. Descriptors: one detached mount for each.
  }

  faultAt @2 :UInt32;
  # In the build with fault points: the step, counted from 1, that fails. 0: none.
}

struct Build {
  hostname @0 :Text;

  vcapGid @1 :UInt32;
  # In the container.

  interface @2 :Text;
  # Its end of the network interface, whose index is PEER_INDEX (privhelper/links.h).
  address @3 :UInt32;
  gateway @4 :UInt32;
  # IPv4, in host byte order, of one /30.
  allowIpv6 @5 :Bool;

  privilegedJobs @6 :Bool;
  # False: wshd refuses them, and the capabilities that only they have are in nobody's bounding set.

  bindMounts @7 :UInt32;
  # How many will follow.

  capabilities @8 :UInt64;
  # Of privileged jobs, by their numbers as bits. wshd has its own besides.

  apparmor @9 :Text;
  # The profile of AppArmor that wshd and all jobs are confined by. Empty: none.
}

struct BindTarget {
  path @0 :Data;
  # Absolute, in the container. What is missing of it is made.
  isDirectory @1 :Bool;
  # What the mount is; otherwise it is a file.
}

struct StepReport {
  # The process that becomes wshd -> broker, when a step has failed. Success is the end of the
  # connection by exec.

  step @0 :Text;
  errno @1 :Int32;
  detail @2 :Text;
  # More of the cause, where there is more.
}
