@0xd0a3d5b6f5ab0c67;
# Inside the privileged helper: what its broker asks of its porter, which touches the host's files on behalf
# of clients' users. Both are the same program; nothing of it is reachable from outside.
#
# Transport: SOCK_SEQPACKET pairs, one packet a message (base/packet.h).

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("warden::schema");

struct PorterRequest {
  # Broker -> porter.

  union {
    order @0 :PorterOrder;
    # Answered with the same number, in any order, and always.
    endAll @1 :Void;
    # Ends all workers; what they were to do is not answered. Not answered itself.
  }
}

struct PorterOrder {
  # Something that a worker does as this user, who the kernel has said is the client.

  number @0 :UInt64;
  # Chosen by the broker, and new each time.

  uid @1 :UInt32;
  gid @2 :UInt32;
  groups @3 :List(UInt32);
  # Supplementary.

  prefix @4 :Data;
  # Absolute and plain, from the configuration. Resolved without any link.
  path @5 :Data;
  # Relative to the prefix; empty: the prefix. Must not lead out of it by any link, or "..". No NUL.

  union {
    image @6 :Void;
    # A directory that becomes a root file system. Answered with `opened`, with the content of passwd and group.
    source @7 :Void;
    # A directory or regular file for a bind mount. Answered with `opened`.
    copyIn @8 :Void;
    # Packs what is there into the stream, descriptor 0, an AF_UNIX SOCK_STREAM socket. Answered with `done`.
    copyOut @9 :Text;
    # Unpacks the stream, descriptor 0. The text: USER:GROUP to whom files are given; empty: they are the user's.
  }
}

struct PorterAnswer {
  # Porter -> broker. A worker answers its porter likewise, with the opened file in place of the mount.

  number @0 :UInt64;

  union {
    opened @1 :OpenedPath;
    done @2 :Void;
    failed @3 :Failed;
  }

  struct Failed {
    step @0 :Text;
    errno @1 :Int32;
    # As errno(3); 0 when no system call failed.
    detail @2 :Text;
    # Step and cause in words: "open image: No such file or directory".
  }
}

struct OpenedPath {
  # Descriptor 0: a detached mount of what was opened, with all that is mounted beneath it; nothing propagates to it or
  # from it; nosuid, nodev. Then, for an image, for each of these that is a regular file, a sealed memfd with its
  # content: no descriptor of the client's file systems that waits when it is closed.

  isDirectory @0 :Bool;
  ownedByRoot @1 :Bool;
  # And writable by nobody else.
  hasPasswd @2 :Bool;
  hasGroup @3 :Bool;
  hasRootHome @4 :Bool;
  # /root is a directory in it,
  mayEnterRootHome @5 :Bool;
  # and the user may enter it.
}
