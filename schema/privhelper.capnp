@0x9a1a63f40d2bb147;
# What the frontend may ask of the privileged helper, and what the helper answers.
#
# Transport: a SOCK_SEQPACKET socket pair; one packet is one message with at most eight descriptors
# (base/packet.h). What the helper touches it derives from a validated container id and from its own
# root-owned configuration; but for paths of the host that a client asks for, which a process opens that has
# become the client's user. The helper checks every field as if an attacker had written it; a field that
# fails is answered with `refused` and logged as an attack.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("warden::schema");

const protocolVersion :UInt32 = 5;

struct HelperRequest {
  # Frontend -> helper. Requests are executed in the order of their arrival; a destroy may be
  # answered after requests that came later.

  sequence @0 :UInt64;
  # Echoed in the reply. Chosen by the frontend; the helper attaches no meaning to it.

  union {
    hello @1 :Hello;
    create @2 :CreateContainer;
    destroy @3 :DestroyContainer;
    limitMemory @4 :LimitMemory;
    limitCpu @5 :LimitCpu;
    limitDisk @6 :LimitDisk;
    limitBandwidth @7 :LimitBandwidth;
    mapPort @8 :MapPort;
    allowOut @9 :AllowOut;
    copyIn @11 :Copy;
    copyOut @12 :Copy;
    openImage @13 :OpenImage;
    listContainers @14 :Void;
    # Answered with `containers`.
    adopt @15 :AdoptContainer;
  }

  hasClient @10 :Bool;
  # True: descriptor 0 is the client's socket, as it was accepted from warden.sock, and the request is held against
  # what the access rules grant to the user that the kernel says has connected it (unix(7),
  # SO_PEERCRED and SO_PEERGROUPS). False: the server itself asks, which hello, destroy, listContainers,
  # adopt and what only reads a limit may be.
  #
  # Refused when: descriptor 0 is not a socket that was accepted from the server's listener; its peer has closed
  # it; the user may not make this request, or the container belongs to another and the user is
  # neither root nor an administrator.
}

struct Handover {
  # Helper -> frontend, and the first packet of all, where the frontend is a service of its own and has
  # connected to the helper's socket (privhelper/frontend-service.h). Where the helper starts the frontend, these are
  # arguments of the program.
  #
  # Descriptors: 0 the listening client socket; 1 the configuration, sealed; 2 the image, O_PATH; 3 the depot, O_PATH;
  # 4 a connection for the audit trail (schema/audit.capnp); then, if `hasLog`, the log file; then, if `hasHealth`, the
  # listening TCP socket of health_check_server.port.

  configName @0 :Text;
  # Path of the configuration, for messages.

  hasLog @1 :Bool;
  hasHealth @2 :Bool;
}

struct Hello {
  # First request on a connection. Refused when the versions differ; no other request is accepted
  # before it.

  version @0 :UInt32;
}

struct CreateContainer {
  # Builds a container and starts wshd in it. All or nothing: after any other answer than `created`
  # no kernel object and no directory of the container exists.
  #
  # Refused when: the id is malformed or in use; the slot is out of the pool or in use; an image id
  # is 0 or above 65535; a file is over maxEtcFileBytes; a target has more than
  # maxTargetComponents; a container that is gone, and had the same id,
  # has a copy that goes on; the container limit is reached; the network is
  # out of the pool or in use; the access rules do not grant the image or a bind mount; there are
  # other descriptors than the client's socket.

  const maxEtcFileBytes :UInt32 = 24576;
  const maxTargetComponents :UInt32 = 64;
  # Of the target of a bind mount: what its slashes separate.

  id @0 :Text;
  # 11 characters of [0-9a-v].

  slot @1 :UInt32;
  # Index into the pool of user ids, 0 .. user.pool_size - 1. It fixes all host ids of the container:
  # vcap is user.pool_start_uid + slot, in the container and on the host; ids 0..65535 of the
  # container, but for vcap's, are privhelper.id_range_start + slot * 65536 + id.

  imageVcapUid @2 :UInt32;
  imageVcapGid @3 :UInt32;
  # Who owns vcap's files in the image on disk (1..65535); 0xffffffff: the image has no vcap. Files
  # of these owners belong to vcap in the container.

  etcFiles :group {
    # Written as /etc/NAME in the container's own layer, mode 0644, owned by the container's root.
    # The helper does not interpret them. Absent (null): the image's file stays.
    passwd @4 :Data;
    group @5 :Data;
    hosts @6 :Data;
    resolvConf @7 :Data;
    hostname @8 :Data;
  }

  network @9 :UInt32;
  # Index into the pool of networks, 0 .. network.pool_size - 1. It fixes the container's addresses:
  # the /30 at network.pool_start_address + 4 * network, of which the host has the first address
  # (interface w-<id>-0) and the container the second (w-<id>-1).

  image @10 :UInt32;
  # 0: the image of the configuration. Otherwise the `image` of an answer to openImage for the same
  # client; it is used up.

  bindMounts @11 :List(BindMount);
  # At most maxBindMounts, mounted in this order.

  const maxBindMounts :UInt32 = 64;
}

struct BindMount {
  # A directory or regular file of the host that a container sees. The source is opened once, as the
  # client's user, inside the prefixes that the access rules grant. The target is made inside the
  # container, without following a link out of it.

  source @0 :Data;
  # Absolute path on the host; no NUL.
  target @1 :Data;
  # Absolute path in the container; no NUL.
  writable @2 :Bool;
  # False: recursively read-only.
}

struct Copy {
  # Copies between the host and a tar stream; the frontend connects the stream to a process in the
  # container. Descriptor 1: one end of a connected AF_UNIX SOCK_STREAM pair. A worker that has become the
  # client's user opens the host path inside the prefixes that the access rules grant. copyIn: it
  # writes the archive of what is at `path` to the stream. copyOut: it unpacks the stream at `path`. Answered
  # when the worker has ended: `done`, or `failed` with the step and cause of what it could not do; what
  # was copied before stays. Shutting the stream down ends the copy.
  #
  # Refused when the id is malformed or unknown; the path is not absolute, has a NUL or is longer than
  # 4095 bytes; the access rules do not grant the path.

  id @0 :Text;
  path @1 :Data;
  # On the host; absolute. A trailing slash has its meaning for rsync(1).
  owner @2 :Text;
  # Only copyOut: USER:GROUP of the host that is to own the files; empty: the client's user.
}

struct OpenImage {
  # Opens a directory of the host as the client's user, inside the image prefixes that the access
  # rules grant, for a create that follows. Answered with `image`. Of one client's at most 16 are kept,
  # of all at most 128, and each for a minute; then the oldest is forgotten.
  #
  # Refused when the path is not absolute, has a NUL, or is not granted.

  path @0 :Data;
}

struct AdoptContainer {
  # Asks for a container that an earlier frontend, or an earlier helper, has made, and for the
  # descriptors that its create answered. Answered with `adopted`. May be asked again: each answer has
  # a new connection to wshd, which ends the one before when wshd takes it. Whether wshd answers is for the frontend
  # to ask (`ping`): the helper waits for no container. Fails when wshd takes no more connections.
  # Refused when the id is malformed or unknown.

  id @0 :Text;
}

struct DestroyContainer {
  # Kills every process of the container and removes everything that create made. Answered with
  # `done` when its processes have ended and the rest is removed; what cannot be removed is in the
  # helper's log, is `dying` in the answer to listContainers, and is tried again until it is gone. Goes on when
  # the frontend that asked is gone. Refused when the id is malformed or unknown, or its destroy is under way.

  id @0 :Text;
}

struct LimitMemory {
  # Limits memory, and memory and swap together, to the same amount; or asks for the limit in force.
  # Answered with `memoryLimit`. Fails, changing nothing, when the kernel cannot bring the usage
  # below the limit, or has not within 5 seconds or before another limit is asked for (EBUSY), or has
  # no memory controller (ENOTSUP).
  # Refused when the id is malformed or unknown.

  id @0 :Text;
  union {
    read @1 :Void;
    bytes @2 :UInt64;
    # Rounded down to whole pages. What is above the largest the kernel knows is unlimited.
  }
}

struct LimitCpu {
  # Sets the container's weight when cpu time is short, or asks for it. Answered with `cpuShares`.
  # Fails with ENOTSUP when there is no cpu controller. Refused when the id is malformed or unknown.

  id @0 :Text;
  union {
    read @1 :Void;
    shares @2 :UInt64;
    # Relative to 1024 of a new container; clamped to 2 .. 262144. On cgroup v2, cpu.weight is
    # shares * 100 / 1024, in 1 .. 10000.
  }
}

struct DiskLimits {
  # Of the container's own layer. 0 is unlimited. Where the depot's file system has no soft limits,
  # those in force equal the hard ones.

  blocksSoft @0 :UInt64;  # of 1024 bytes
  blocksHard @1 :UInt64;
  inodesSoft @2 :UInt64;
  inodesHard @3 :UInt64;
}

struct LimitDisk {
  # Limits what the container may write to its own layer, or asks for limits and usage. Answered with
  # `disk`. Fails with ENOTSUP when quotas are off in the configuration, or inodes are limited where
  # the depot's file system cannot do it. Refused when the id is malformed or unknown.

  id @0 :Text;
  union {
    read @1 :Void;
    limits @2 :DiskLimits;
  }
}

struct LimitBandwidth {
  # Shapes what the container sends and what it receives, each to `rate`. Replaces what a call before
  # has set. Answered with `done`. Refused when the id is malformed or unknown; rate or burst is 0.

  id @0 :Text;
  rate @1 :UInt64;   # bytes a second
  burst @2 :UInt64;  # bytes
}

struct MapPort {
  # Maps a tcp port of the host's external address to one of the container. Answered with `done`.
  # Fails with EADDRINUSE when the port is mapped already, to whichever container and port (also for
  # the same mapping again); with ENOSPC when the container has maxPorts mappings.
  # Refused when the id is malformed or unknown; a port is 0; the host's port is below
  # privhelper.lowest_host_port.

  const maxPorts :UInt32 = 1024;  # of one container

  id @0 :Text;
  hostPort @1 :UInt16;
  containerPort @2 :UInt16;
}

struct AllowOut {
  # Lets the container open connections. Rules add up and last as long as the container. Answered with
  # `done`. Fails with ENOSPC when the container has maxRules rules.
  # Refused when the id is malformed or unknown; a range is reversed; ports are given with another
  # protocol than tcp or udp; an icmp type or code with another protocol than icmp.

  const maxRules :UInt32 = 1024;  # of one container

  id @0 :Text;
  firstAddress @1 :UInt32;
  lastAddress @2 :UInt32 = 0xffffffff;
  # IPv4, in host byte order, both included.
  protocol @3 :Protocol;
  firstPort @4 :UInt16 = 0;
  lastPort @5 :UInt16 = 65535;
  # Both included; 0 .. 65535 is any.
  icmpType @6 :Int16 = -1;
  icmpCode @7 :Int16 = -1;
  # 0 .. 255; -1 is any.
  log @8 :Bool;
  # The kernel logs each new connection that this rule lets pass, with the container's id as prefix.
}

enum Protocol {
  tcp @0;
  udp @1;
  icmp @2;
  all @3;
}

struct HelperReply {
  # Helper -> frontend, exactly one for each request.

  sequence @0 :UInt64;

  union {
    done @1 :Void;

    created @2 :Created;

    refused @3 :Text;
    # The request is outside the policy; nothing was done. The text says which rule, for the log.

    failed @4 :Failure;
    # The system did not do it; all steps before were undone.

    memoryLimit @5 :UInt64;
    # Bytes; 9223372036854771712 when unlimited.

    cpuShares @6 :UInt64;

    disk @7 :DiskState;

    image @8 :Image;

    containers @9 :Containers;

    adopted @10 :Adopted;
  }
}

struct Containers {
  # What there is, of whichever frontend and helper, in no order.

  whole @0 :List(UInt64);
  # Ids, as numbers (base/container-id.h), of those that can be adopted, or destroyed. Numbers, so that one packet has
  # all that a configuration allows (Config::MAX_CONTAINERS).

  dying @1 :List(Dying);
  # Those that are being ended or removed, with or without a request for it, as often as it takes: their
  # processes do not end, or something of them is busy. Neither adopt nor destroy knows them, and their ids cannot be
  # used. One whose create has no answer yet is in neither list: requests are executed in order. Of more than
  # maxDying, so many.

  const maxDying :UInt32 = 1024;

  trailErrno @2 :Int32;
  # Why the audit trail cannot be written, for which operations that have to leave a record are not begun now; 0:
  # they are.

  highestId @3 :UInt64;
  # The number of the highest id that a container of this depot has had (base/container-id.h), as far as is known; new
  # ones are to be higher.
}

struct Dying {
  id @0 :Text;
  ownerUid @1 :UInt32 = 0xffffffff;
  # For whom it was made; 0xffffffff: what an earlier server has left and nobody knows the owner of.
  seconds @2 :UInt32;
  # Since its end has begun, or since the server's start.
  cause @3 :Cause;
  # What holds it up.

  enum Cause {
    processes @0;  # do not end
    cgroup @1;     # cannot be removed
    directory @2;  # cannot be moved away
    network @3;    # its interface has not gone
  }
}

struct Adopted {
  # What the helper knows of a container, by its own record.

  created @0 :Created;
  # With the same descriptors as a create's answer.

  slot @1 :UInt32;
  network @2 :UInt32;
  # As in CreateContainer.
  ownerUid @3 :UInt32;
  # The user of the host for whom it was made.
  privilegedJobs @4 :Bool;
  ports @5 :List(MappedPort);
  bandwidth @6 :LimitBandwidth;
  # What is in force; null: unlimited.
  rules @7 :List(AllowOut);
  # In the order in which they were made, without the id.

  struct MappedPort {
    hostPort @0 :UInt16;
    containerPort @1 :UInt16;
  }
}

struct Image {
  # Descriptors: one for each of `files`, a sealed memfd with its content, positioned at its start.

  const maxFileBytes :UInt32 = 1048576;
  # An image of which one of these files is larger is not opened (EFBIG).

  image @0 :UInt32;
  # For CreateContainer.image. Never 0.
  files @1 :List(File);
  # Those that are regular files, resolved inside the image.

  rootHome @2 :Bool;
  # /root is a directory in it, which the container's root may enter.

  enum File {
    passwd @0;
    group @1;
  }
}

struct Created {
  # Descriptors, in this order:
  #   0  pidfd of wshd: readable when the container's last process has ended
  #   1  SOCK_SEQPACKET connection to wshd (schema/wshd.capnp)
  #   2  <depot>/<id>/state, an O_DIRECTORY descriptor; owner: the frontend's user
  #   3  and on: one for each of `statistics`, in that order, open for reading at offset 0; a pread at
  #      offset 0 reads the present values

  wshdPid @0 :Int32;
  # As the host sees it; for information only.

  rootUid @1 :UInt32;
  vcapUid @2 :UInt32;
  # Host ids of the container's root and of vcap.

  statistics @3 :List(Statistics);
  # Those that the host's cgroups have. At most five: a packet carries eight descriptors.

  enum Statistics {
    # cgroup v1 (Documentation/admin-guide/cgroup-v1)
    memoryEventV1 @0;       # an eventfd: out of memory; also fires when the cgroup is removed
    memoryOomControlV1 @1;  # memory.oom_control: its oom_kill counts processes that were killed
    memoryStatV1 @2;        # memory.stat
    cpuUsageV1 @3;          # cpuacct.usage, ns
    cpuStatV1 @4;           # cpuacct.stat, user and system in USER_HZ

    # cgroup v2 (Documentation/admin-guide/cgroup-v2.rst)
    memoryEventsV2 @5;      # memory.events: its oom_kill; POLLPRI when it changes
    memoryStatV2 @6;        # memory.stat
    memoryMaxV2 @7;         # memory.max
    memorySwapV2 @8;        # memory.swap.current
    cpuStatV2 @9;           # cpu.stat, us
  }
}

struct DiskState {
  limits @0 :DiskLimits;
  bytesUsed @1 :UInt64;
  inodesUsed @2 :UInt64;
}

const slotLostStep :Text = "take slot";
# Failure.step of a create whose slot belongs to a container of an earlier frontend or server that
# does not end. Another slot may be free.

const auditStep :Text = "write the audit trail";
# Failure.step of a request that was not begun, because there would be no record of it.

struct Failure {
  step @0 :Text;
  # The step of create or destroy that failed, in words: "mount overlay".
  errno @1 :Int32;
  # As errno(3); 0 when no system call failed.
  detail @2 :Text;
  # Step and cause in words: "mount overlay: No space left on device". May be shown to the client.
  bindMount @3 :Int32 = -1;
  # Of a create: the one of its bind mounts whose source could not be opened.
}
