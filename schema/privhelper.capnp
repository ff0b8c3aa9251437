@0x9a1a63f40d2bb147;
# What the frontend may ask of the privileged helper, and what the helper answers.
#
# Transport: a SOCK_SEQPACKET socket pair; one packet is one message with at most eight descriptors
# (base/packet.h). Nothing here carries a path: what the helper touches it derives from a validated
# container id and from its own root-owned configuration. The helper checks every field as if an
# attacker had written it; a field that fails is answered with `refused` and logged as an attack.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("warden::schema");

const protocolVersion :UInt32 = 1;

struct HelperRequest {
  # Frontend -> helper. Requests are executed in the order of their arrival; a destroy may be
  # answered after requests that came later.

  sequence @0 :UInt64;
  # Echoed in the reply. Chosen by the frontend; the helper attaches no meaning to it.

  union {
    hello @1 :Hello;
    create @2 :CreateContainer;
    destroy @3 :DestroyContainer;
  }
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
  # is 0 or above 65535; a file is over maxEtcFileBytes; the container limit is reached;
  # any descriptor is attached.

  const maxEtcFileBytes :UInt32 = 24576;

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
}

struct DestroyContainer {
  # Kills every process of the container and removes everything that create made. Answered with
  # `done` when its processes have ended and the rest is removed; what cannot be removed is in the
  # helper's log, and is removed at its next start. Refused when the id is malformed or unknown, or its destroy is
  # under way.

  id @0 :Text;
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
  }
}

struct Created {
  # Descriptors, in this order:
  #   0  pidfd of wshd: readable when the container's last process has ended
  #   1  SOCK_SEQPACKET connection to wshd (schema/wshd.capnp)
  #   2  <depot>/<id>/state, an O_DIRECTORY descriptor; owner: the frontend's user

  wshdPid @0 :Int32;
  # As the host sees it; for information only.

  rootUid @1 :UInt32;
  vcapUid @2 :UInt32;
  # Host ids of the container's root and of vcap.
}

const slotLostStep :Text = "take slot";
# Failure.step of a create whose slot belongs to a container of an earlier frontend or server that
# does not end. Another slot may be free.

struct Failure {
  step @0 :Text;
  # The step of create or destroy that failed, in words: "mount overlay".
  errno @1 :Int32;
  # As errno(3); 0 when no system call failed.
  detail @2 :Text;
  # Step and cause in words: "mount overlay: No space left on device". May be shown to the client.
}
