// A btrfs subvolume for each container, limited by its qgroup (btrfs(5), btrfs-quota(8),
// btrfs-ioctl in linux/btrfs.h). Bytes only: btrfs does not count inodes.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <kj/vector.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <deque>
#include <memory>

#include "privhelper/disk.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr uint64_t NO_LIMIT = UINT64_MAX;  // takes a limit away (btrfs_qgroup_limit)
constexpr size_t REMOVALS_A_TIME = 8;

int destroySubvolume(int parent) {
  btrfs_ioctl_vol_args arguments{};
  strcpy(arguments.name, DISK_DIRECTORY);
  return ioctl(parent, BTRFS_IOC_SNAP_DESTROY, &arguments);
}

int removeQgroup(int depot, uint64_t id) {
  btrfs_ioctl_qgroup_create_args arguments{};
  arguments.qgroupid = id;
  return ioctl(depot, BTRFS_IOC_QGROUP_CREATE, &arguments);
}

bool subvolumeExists(int depot, uint64_t id) {
  btrfs_ioctl_search_args arguments{};
  auto& key = arguments.key;
  key.tree_id = BTRFS_ROOT_TREE_OBJECTID;
  key.min_objectid = key.max_objectid = id;
  key.min_type = key.max_type = BTRFS_ROOT_ITEM_KEY;
  key.max_offset = key.max_transid = UINT64_MAX;
  key.nr_items = 1;
  // What cannot be looked up is taken to exist.
  return ioctl(depot, BTRFS_IOC_TREE_SEARCH, &arguments) < 0 || key.nr_items > 0;
}

constexpr kj::StringPtr BTRFS = "btrfs"_kj;

class Qgroups {
  // The qgroups of the file system; /sys/fs/btrfs/UUID/qgroups/0_ID has what counts against a limit
  // at this moment, which the quota tree on disk has only after the next commit.

 public:
  explicit Qgroups(int depotParam) : depot(duplicate(depotParam)) {
    btrfs_ioctl_fs_info_args info{};
    step("look at btrfs", [&] { return ioctl(depot, BTRFS_IOC_FS_INFO, &info); });
    kj::String uuid = kj::str("/sys/fs/btrfs/");
    for (size_t i = 0; i < sizeof(info.fsid); ++i) {
      const char* dash = i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "";
      uuid = kj::str(uuid, dash, kj::hex(uint8_t(info.fsid[i] >> 4)),
                     kj::hex(uint8_t(info.fsid[i] & 15)));
    }
    auto path = kj::str(uuid, "/qgroups");
    // A mount of its own: nothing else of sysfs can be reached from it.
    sysfs = Fd(step("open btrfs qgroups", [&] {
      return open_tree(AT_FDCWD, path.cStr(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    }));
  }

  ~Qgroups() noexcept(false) { removeUnused(SIZE_MAX); }

  void limit(uint64_t id, uint64_t bytes) const {
    btrfs_ioctl_qgroup_limit_args arguments{};
    arguments.qgroupid = id;
    arguments.lim.flags = BTRFS_QGROUP_LIMIT_MAX_RFER;
    arguments.lim.max_rfer = bytes == 0 ? NO_LIMIT : bytes;
    step("limit disk", [&] { return ioctl(depot, BTRFS_IOC_QGROUP_LIMIT, &arguments); });
  }

  uint64_t read(uint64_t id, const char* counter) const {
    char path[64];
    snprintf(path, sizeof(path), "0_%" PRIu64 "/%s", id, counter);
    Fd file(step("read disk usage", [&] { return openat(sysfs, path, O_RDONLY | O_CLOEXEC); }));
    char text[32] = {};
    step("read disk usage", [&] { return ::read(file, text, sizeof(text) - 1); });
    return strtoull(text, nullptr, 10);
  }

  void removeLater(uint64_t id) {
    unused.push_back(id);
    removeUnused(REMOVALS_A_TIME);
  }

  void removeUnused(size_t most) {
    // EBUSY until the subvolume's contents are gone, in the background; newer kernels remove the
    // qgroup themselves.
    for (size_t n = kj::min(most, unused.size()); n > 0; --n) {
      uint64_t id = unused.front();
      unused.pop_front();
      if (removeQgroup(depot, id) < 0 && errno == EBUSY) unused.push_back(id);
    }
  }

  void removeStale() {
    // Of subvolumes that exist no more: their ids are never used again.
    int raw = openat(sysfs, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    std::unique_ptr<DIR, int (*)(DIR*)> list(raw < 0 ? nullptr : fdopendir(raw), closedir);
    if (list == nullptr) return;
    while (dirent* entry = readdir(list.get())) {
      unsigned level;
      uint64_t id;
      if (sscanf(entry->d_name, "%u_%" SCNu64, &level, &id) != 2 || level != 0) continue;
      if (id >= BTRFS_FIRST_FREE_OBJECTID && !subvolumeExists(depot, id)) unused.push_back(id);
    }
    removeUnused(SIZE_MAX);
  }

 private:
  Fd depot;
  Fd sysfs;
  std::deque<uint64_t> unused;
};

class BtrfsDisk final : public ContainerDisk {
 public:
  BtrfsDisk(Qgroups& qgroups, int containerDirectory)
      : qgroups(qgroups), parent(containerDirectory) {
    btrfs_ioctl_vol_args arguments{};
    strcpy(arguments.name, DISK_DIRECTORY);
    // The mode of a new subvolume is what umask leaves of 0777.
    mode_t mask = umask(077);
    KJ_DEFER(umask(mask));
    step("make subvolume", [&] { return ioctl(parent, BTRFS_IOC_SUBVOL_CREATE, &arguments); });
    KJ_ON_SCOPE_FAILURE(destroySubvolume(parent));
    open();
  }

  BtrfsDisk(Qgroups& qgroups, int containerDirectory, const DiskLimits& limits)
      : qgroups(qgroups), parent(containerDirectory) {
    // Of a container that lives.
    open();
    setLimits(limits);
  }

  ~BtrfsDisk() noexcept(false) {
    if (left) return;
    root = nullptr;
    // What fails here is tried again by release().
    destroySubvolume(parent);
    qgroups.removeLater(id);
  }

  int directory() const override { return root; }

  void setLimits(const DiskLimits& wanted) override {
    checkRange(wanted);
    if (wanted.inodesSoft != 0 || wanted.inodesHard != 0) {
      throw StepError("limit inodes", ENOTSUP, "btrfs counts bytes only");
    }
    qgroups.limit(id, wanted.blocksHard * BLOCK_BYTES);
    blocks = wanted.blocksHard;
  }

  DiskLimits limits() const override {
    return {.blocksSoft = blocks, .blocksHard = blocks, .inodesSoft = 0, .inodesHard = 0};
  }

  DiskUsage usage() const override {
    // Data that was written and has not reached the disk is reserved.
    return {.bytes = qgroups.read(id, "referenced") + qgroups.read(id, "rsv_data"), .inodes = 0};
  }

  DiskFacts facts() const override { return {.backend = kj::str(BTRFS)}; }

  void leave() override { left = true; }

 private:
  Qgroups& qgroups;
  int parent;
  Fd root;
  uint64_t id = 0;
  uint64_t blocks = 0;
  bool left = false;

  void open() {
    root = Fd(step("open subvolume", [&] {
      return openat(parent, DISK_DIRECTORY, O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    }));
    btrfs_ioctl_get_subvol_info_args info{};
    step("look at subvolume", [&] { return ioctl(root, BTRFS_IOC_GET_SUBVOL_INFO, &info); });
    id = info.treeid;
  }
};

class BtrfsBackend final : public DiskBackend {
 public:
  explicit BtrfsBackend(int depot) : qgroups(depot) { qgroups.removeStale(); }

  kj::StringPtr name() const override { return BTRFS; }
  kj::String reason() const override { return kj::str("the depot's file system is btrfs"); }

  kj::Own<ContainerDisk> make(uint32_t, int containerDirectory) const override {
    return kj::heap<BtrfsDisk>(qgroups, containerDirectory);
  }

  kj::Own<ContainerDisk> adopt(const DiskFacts&, const DiskLimits& limits,
                               int containerDirectory) const override {
    return kj::heap<BtrfsDisk>(qgroups, containerDirectory, limits);
  }

  bool release(int containerDirectory) const noexcept override {
    if (destroySubvolume(containerDirectory) == 0) return true;
    // A plain directory: made under another backend.
    return errno == ENOENT || errno == EINVAL;
  }

  void permit(SeccompFilter& filter) const override {
    filter.allow({"pread64"});
    for (uint32_t request :
         {BTRFS_IOC_SUBVOL_CREATE, BTRFS_IOC_SNAP_DESTROY, BTRFS_IOC_QGROUP_LIMIT,
          BTRFS_IOC_QGROUP_CREATE, BTRFS_IOC_GET_SUBVOL_INFO}) {
      permitIoctl(filter, request);
    }
  }

 private:
  mutable Qgroups qgroups;
};

}  // namespace

kj::Maybe<kj::Own<DiskBackend>> tryBtrfsBackend(int depot) {
  struct statfs status;
  step("look at depot", [&] { return fstatfs(depot, &status); });
  if (status.f_type != BTRFS_SUPER_MAGIC) return nullptr;
  // Nothing changes where quotas are on already.
  btrfs_ioctl_quota_ctl_args arguments{};
  arguments.cmd = BTRFS_QUOTA_CTL_ENABLE;
  step("enable btrfs quotas", [&] { return ioctl(depot, BTRFS_IOC_QUOTA_CTL, &arguments); });
  // Where they were not, the kernel counts what is there first.
  step("count btrfs quotas", [&] { return ioctl(depot, BTRFS_IOC_QUOTA_RESCAN_WAIT); });
  kj::Own<DiskBackend> backend = kj::heap<BtrfsBackend>(depot);
  return kj::mv(backend);
}

}  // namespace warden::privhelper
