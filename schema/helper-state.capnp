@0x957196ad8548fe5c;
# <depot>/<id>/helper.state: what the helper knows of a container, for the helper that comes after it. Root's alone;
# the frontend neither reads nor writes it.
#
# The file is one StateEntry after the other, as capnp::messageToFlatArray writes them: first `created`, then what has
# changed since, each appended before it is done and taken back where it fails. An entry that is not whole, the
# last, was never begun. Where many have been superseded, a new file takes the place of the old.
#
# Nothing is flushed to the disk: no container survives the end of the kernel that holds it. A file of another
# boot, or of none, stands for a container that is to be removed.

using Cxx = import "/capnp/c++.capnp";
using Helper = import "privhelper.capnp";
$Cxx.namespace("warden::schema");

const stateVersion :UInt32 = 1;
# Raised with each change that an older helper would misread. A container of another version is not adopted: it is
# ended.

struct StateEntry {
  union {
    created @0 :CreatedState;
    portMapped @1 :Helper.Adopted.MappedPort;
    outAllowed @2 :Helper.AllowOut;
    # Without its id.
    bandwidth @3 :BandwidthState;
    cpuShares @4 :UInt64;
    diskLimits @5 :Helper.DiskLimits;
  }
}

struct CreatedState {
  # Written at the end of create, before it is answered: a container without it was never whole.

  version @0 :UInt32;
  bootId @1 :Text;
  # As /proc/sys/kernel/random/boot_id (random(4)).

  id @2 :Text;
  slot @3 :UInt32;
  network @4 :UInt32;
  # As in CreateContainer.
  rootUid @5 :UInt32;
  vcapUid @6 :UInt32;
  address @7 :UInt32;
  # What slot and network stood for: a configuration that says otherwise cannot adopt it.
  ownerUid @8 :UInt32;
  privilegedJobs @9 :Bool;

  wshd @10 :ProcessState;
  disk @11 :DiskState;

  struct ProcessState {
    # Which process is meant by a number, that may have passed on to another.
    pid @0 :Int32;
    startTime @1 :UInt64;  # as the 22nd field of /proc/PID/stat: ticks since the boot
    inode @2 :UInt64;      # of a pidfd: its own from Linux 6.9 on; before that the same for all
  }

  struct DiskState {
    backend @0 :Text;      # privhelper/disk.h
    loopDevice @1 :UInt32;  # loop: its number
    freeBlocks @2 :UInt64;  # loop: of the empty file system, of 4096 bytes
    freeInodes @3 :UInt64;
  }
}

struct BandwidthState {
  rate @0 :UInt64;   # bytes a second
  burst @1 :UInt64;  # bytes
  generation @2 :UInt32;
  # How often it was set (privhelper/links.h, shape).
  complete @3 :Bool;
  # False: it was about to be set, and what there is of it is anybody's guess. Followed by the same with true.
}
