#pragma once
// <depot>/<id>: a container's files on disk (design of the layout: docs/ARCHITECTURE.md).

#include <kj/vector.h>

#include "base/fd.h"
#include "privhelper/disk.h"
#include "privhelper/request-check.h"

namespace warden::privhelper {

class Depot {
  // The directory of all containers. Trees that are done with are moved to one place in it, at once
  // and whatever their size, and removed by the sweeper.

 public:
  static constexpr kj::StringPtr REMOVED = ".removed"_kj;

  Depot(kj::StringPtr path, const DiskBackend& disk, Fd wakeSweeper);
  // `path` as this process sees it; `wakeSweeper` is written a byte for each tree that is moved.

  kj::StringPtr path() const { return pathName; }
  int fd() const { return directory; }
  const DiskBackend& disk() const { return diskBackend; }

  kj::Vector<ContainerId> ids() const;
  bool has(const ContainerId& id) const noexcept;
  Fd open(const ContainerId& id) const;
  // Its directory. Throws StepError.
  kj::Maybe<uid_t> rootUidOf(const ContainerId& id) const;
  // Of the container whose tree it is, on the host; none where there is no layer.

  bool discard(const ContainerId& id) const noexcept;
  // Moves <depot>/<id> away, under a name that is not in use there. False: it could not be moved (a
  // full disk, say), or holds what the sweeper cannot remove; it stays, and is removed at the next
  // start.

 private:
  kj::String pathName;
  const DiskBackend& diskBackend;
  Fd directory;
  Fd removed;
  Fd wakeSweeper;
  mutable uint64_t discarded = 0;

  bool releaseDisk(const ContainerId& id) const noexcept;
};

class ContainerDirectory {
  // Makes the tree; the destructor discards it.
  //
  //     helper.state      root only (container-record.h)
  //     snapshot.json     a link to state/snapshot.json
  //     state/            owner: the frontend, who may write here and nowhere else
  //     run/wshd.sock     wshd's listening socket, root:frontend 0660
  //     run/wshd.pid
  //     tmp/              root only: setuid files of the container must not be reachable on the
  //     host tmp/rootfs        the container's own layer tmp/work          overlayfs's work
  //     directory

 public:
  ContainerDirectory(const Depot& depot, const CreateOrder& order, const Policy& policy);
  ContainerDirectory(const Depot& depot, const ContainerId& id);
  // Of nothing yet, for adopt().
  ~ContainerDirectory() noexcept(false);
  KJ_DISALLOW_COPY(ContainerDirectory);

  void adopt(const DiskFacts& facts, const DiskLimits& limits);
  // The tree of a container that lives on. Throws StepError; then it is as it was.

  void leave();
  // The destructor then discards nothing.

  int fd() const { return directory; }

  kj::String layerPath() const;
  kj::String workPath() const;
  ContainerDisk& disk() { return *containerDisk; }
  const ContainerDisk& disk() const { return *containerDisk; }
  Fd openState() const;
  Fd listen(const Policy& policy) const;
  Fd connect() const;
  // To wshd. Does not wait; throws StepError.
  void writePid(pid_t pid);
  // The last file in run/: its descriptor is closed.

 private:
  const Depot& depot;
  ContainerId id;
  bool made = false;
  Fd directory;
  Fd run;
  kj::Own<ContainerDisk> containerDisk;

  void makeTree(const CreateOrder& order, const Policy& policy);
  void fillLayer(int layer, const CreateOrder& order, const Policy& policy);
};

}  // namespace warden::privhelper
