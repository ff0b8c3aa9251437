#pragma once
// What limits the disk use of containers. A container's own layer and overlayfs's work directory
// lie in <depot>/<id>/tmp, which one of these backends prepares:
//
//     project   ext4 or xfs with project quotas: a project id for each container
//     btrfs     a subvolume for each container, limited by its qgroup
//     loop      any other file system: an ext4 image file for each container
//     none      quotas are off in the configuration: a plain directory
//
// What is outside of tmp/, the frontend's spool in state/ above all, is not counted.

#include <kj/memory.h>
#include <kj/string.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/config.h"
#include "base/fd.h"
#include "base/seccomp-filter.h"
#include "privhelper/orders.h"

namespace warden::privhelper {

constexpr char DISK_DIRECTORY[] = "tmp";  // in a container's directory

struct DiskUsage {
  // Of everything in DISK_DIRECTORY: what the container wrote, and some twenty files and
  // directories that the server itself puts there.
  uint64_t bytes = 0;
  uint64_t inodes = 0;  // 0 where the file system does not count them
};

struct DiskFacts {
  // By which a later helper finds a container's disk again.
  kj::String backend;  // DiskBackend::name()
  uint32_t loopDevice = 0;
  uint64_t freeBlocks = 0;  // of the empty file system, of IMAGE_BLOCK bytes
  uint64_t freeInodes = 0;
};

class ContainerDisk {
  // One container's. The destructor undoes what DiskBackend::make did, but for the removal of plain
  // files and directories, which is the sweeper's.

 public:
  virtual ~ContainerDisk() noexcept(false) {}

  virtual int directory() const = 0;
  // Opened for reading, as DISK_DIRECTORY is from now on: root's, 0700, empty.

  virtual void setLimits(const DiskLimits& limits) = 0;
  // Up or down; below the present use, nothing more can be written. Throws StepError: ENOTSUP for
  // what the backend cannot limit, ERANGE for what the kernel cannot count.

  virtual bool settle();
  // To be called after setLimits until it answers true: only then all limits are in force. Each
  // call takes some milliseconds at most. Throws StepError.

  virtual DiskLimits limits() const = 0;
  // In force, when settled.

  virtual DiskUsage usage() const = 0;

  virtual void show(pid_t firstProcess);
  // Called when the container's first process is there. Where the layer lies in a file system that
  // the host does not see, <depot>/<id>/tmp/rootfs becomes a link to the container's root, for the
  // programs of the host's root that read containers' files there. Throws StepError.

  virtual bool losesWrites() const { return false; }
  // Whether what was written may be lost when the depot is full, and fsync(2) says so: overlayfs
  // must then not be volatile, or it would answer one such failure to every fsync that follows, for
  // as long as it is mounted (Documentation/filesystems/overlayfs, "volatile").

  virtual void abandon() {}
  // Nothing that it holds is wanted any more: called when the container's processes are about to
  // be killed, so that the end of their mounts need not wait for what has not been written.

  virtual DiskFacts facts() const = 0;

  virtual void leave() = 0;
  // To the next helper: the destructor then undoes nothing.
};

class DiskBackend {
 public:
  static kj::Own<DiskBackend> choose(const Config& config, int depot);
  // Looks at the file system that holds `depot`, an open directory, and prepares what the backend
  // needs. Called with all of root's rights, before the broker enters its sandbox. Throws
  // ConfigError when quotas are on and cannot be had.

  virtual ~DiskBackend() noexcept(false) {}

  virtual kj::StringPtr name() const = 0;
  virtual kj::String reason() const = 0;  // why this one, for the log

  virtual kj::Own<ContainerDisk> make(uint32_t slot, int containerDirectory) const = 0;
  // Makes DISK_DIRECTORY in the open directory of a container, which must stay open as long as the
  // answer lives. One descriptor is kept for each container. Throws StepError; then nothing
  // that an ordinary removal of the tree cannot remove is left.

  virtual kj::Own<ContainerDisk> adopt(const DiskFacts& facts, const DiskLimits& limits,
                                       int containerDirectory) const = 0;
  // That of a container that lives on, which make() of an earlier helper has made; as make()
  // otherwise. `limits`: those that were set last, in force or not: they are to be settled. Throws
  // StepError, and nothing has been undone.

  virtual bool release(int containerDirectory) const noexcept;
  // Undoes, in the tree of a container that has none any more, what the sweeper could not: that of
  // a dead server, or what a ContainerDisk's destructor could not undo. False: it cannot be undone
  // now.

  virtual void permit(SeccompFilter& filter) const;
  // Adds the system calls of make(), release() and of ContainerDisk.
};

// Each answers none where it is not the one for this file system.
kj::Own<DiskBackend> makePlainBackend();
kj::Maybe<kj::Own<DiskBackend>> tryProjectBackend(const Config& config, int depot);
kj::Maybe<kj::Own<DiskBackend>> tryBtrfsBackend(int depot);
kj::Own<DiskBackend> makeLoopBackend(int depot);
// Throws StepError where there are no loop devices, or the kernel lacks ext4.

// For the implementations.

Fd makeDiskDirectory(int containerDirectory);
Fd openDiskDirectory(int containerDirectory);

void checkRange(const DiskLimits& limits);
// Throws StepError(ERANGE) for more bytes than a file system has.

void permitIoctl(SeccompFilter& filter, uint32_t request);

}  // namespace warden::privhelper
