// Project quotas (quotactl(2); Documentation/filesystems/ext4, "project"; xfs_quota(8)). Everything
// that is made in a container's layer inherits the project id of the directory that it is made in.

#include <errno.h>
#include <fcntl.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <atomic>

#include "privhelper/disk.h"
#include "privhelper/policy.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr uint32_t GET = QCMD(Q_GETQUOTA, PRJQUOTA);
constexpr uint32_t SET = QCMD(Q_SETQUOTA, PRJQUOTA);

int quotactlFd(int fd, uint32_t command, uint32_t id, void* data) {
  return static_cast<int>(syscall(SYS_quotactl_fd, fd, command, id, data));
}

bool isEnforced(int depot) {
  fs_quota_statv state{};
  state.qs_version = FS_QSTATV_VERSION1;
  if (quotactlFd(depot, QCMD(Q_XGETQSTATV, PRJQUOTA), 0, &state) < 0) return false;
  constexpr uint16_t NEEDED = FS_QUOTA_PDQ_ACCT | FS_QUOTA_PDQ_ENFD;
  return (state.qs_flags & NEEDED) == NEEDED;
}

if_dqblk readQuota(int depot, uint32_t project) {
  if_dqblk quota{};
  step("read disk quota", [&] {
    int result = quotactlFd(depot, GET, project, &quota);
    // xfs keeps nothing of an id that has never had files or limits (xfs_qm_scall_getquota).
    return result < 0 && errno == ENOENT ? 0 : result;
  });
  return quota;
}

int writeLimits(int depot, uint32_t project, const DiskLimits& limits) {
  if_dqblk quota{};
  quota.dqb_bsoftlimit = limits.blocksSoft;
  quota.dqb_bhardlimit = limits.blocksHard;
  quota.dqb_isoftlimit = limits.inodesSoft;
  quota.dqb_ihardlimit = limits.inodesHard;
  quota.dqb_valid = QIF_LIMITS;
  return quotactlFd(depot, SET, project, &quota);
}

uint64_t notAbove(uint64_t soft, uint64_t hard) {
  return hard == 0 ? soft : kj::min(soft, hard);
}

constexpr kj::StringPtr PROJECT = "project"_kj;

class ProjectDisk final : public ContainerDisk {
 public:
  ProjectDisk(int depot, uint32_t project, int containerDirectory)
      : depot(depot), project(project), root(makeDiskDirectory(containerDirectory)) {
    // What a container before had; of one that a dead server left behind, perhaps.
    step("reset disk quota", [&] { return writeLimits(depot, project, {}); });
    fsxattr attributes{};
    step("set project id", [&] { return ioctl(root, FS_IOC_FSGETXATTR, &attributes); });
    attributes.fsx_projid = project;
    attributes.fsx_xflags |= FS_XFLAG_PROJINHERIT;
    step("set project id", [&] { return ioctl(root, FS_IOC_FSSETXATTR, &attributes); });
  }

  ProjectDisk(int depot, Fd root) : depot(depot), root(kj::mv(root)) {
    // Of one that lives: limits and use are the kernel's, and the id is its directory's.
    fsxattr attributes{};
    step("read project id", [&] { return ioctl(this->root, FS_IOC_FSGETXATTR, &attributes); });
    project = attributes.fsx_projid;
  }

  ~ProjectDisk() noexcept(false) {
    if (left) return;
    // Without limits and, when the sweeper is done, without files, the kernel forgets the id.
    writeLimits(depot, project, {});
  }

  int directory() const override { return root; }
  uint32_t projectId() const { return project; }

  void setLimits(const DiskLimits& wanted) override {
    checkRange(wanted);
    // xfs passes over a soft limit above the hard one; it could never be met anyhow.
    DiskLimits limits = wanted;
    limits.blocksSoft = notAbove(limits.blocksSoft, limits.blocksHard);
    limits.inodesSoft = notAbove(limits.inodesSoft, limits.inodesHard);
    step("limit disk", [&] { return writeLimits(depot, project, limits); });
  }

  DiskLimits limits() const override {
    if_dqblk quota = readQuota(depot, project);
    return {quota.dqb_bsoftlimit, quota.dqb_bhardlimit, quota.dqb_isoftlimit, quota.dqb_ihardlimit};
  }

  DiskUsage usage() const override {
    if_dqblk quota = readQuota(depot, project);
    return {quota.dqb_curspace, quota.dqb_curinodes};
  }

  DiskFacts facts() const override { return {.backend = kj::str(PROJECT)}; }

  void leave() override { left = true; }

 private:
  int depot;
  uint32_t project;
  Fd root;
  bool left = false;
};

class ProjectBackend final : public DiskBackend {
 public:
  ProjectBackend(const Config& config, Fd depot)
      : firstProject(config.privhelper.idRangeStart),
        projectCount(config.user.poolSize * IDS_PER_CONTAINER),
        depot(kj::mv(depot)) {}

  kj::StringPtr name() const override { return PROJECT; }
  kj::String reason() const override {
    return kj::str("project quotas are on in the depot's file system");
  }

  kj::Own<ContainerDisk> make(uint32_t slot, int containerDirectory) const override {
    return kj::heap<ProjectDisk>(depot, unusedProject(slot), containerDirectory);
  }

  kj::Own<ContainerDisk> adopt(const DiskFacts&, const DiskLimits& limits,
                               int containerDirectory) const override {
    auto disk = kj::heap<ProjectDisk>(depot, openDiskDirectory(containerDirectory));
    KJ_ON_SCOPE_FAILURE(disk->leave());
    if (!isOurs(disk->projectId())) throw StepError("read project id", EINVAL);
    disk->setLimits(limits);
    return kj::mv(disk);
  }

  bool release(int containerDirectory) const noexcept override {
    // Only the limits of a dead server's container; its files go with the tree.
    int raw =
        openat(containerDirectory, DISK_DIRECTORY, O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (raw < 0) return true;
    Fd directory(raw);
    fsxattr attributes{};
    if (ioctl(directory, FS_IOC_FSGETXATTR, &attributes) < 0) return true;
    if (isOurs(attributes.fsx_projid)) {
      writeLimits(depot, attributes.fsx_projid, {});
    }
    return true;
  }

  void permit(SeccompFilter& filter) const override {
    for (uint32_t command : {GET, SET}) {
      filter.allowIf("quotactl_fd", {SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, command)});
    }
    permitIoctl(filter, FS_IOC_FSGETXATTR);
    permitIoctl(filter, FS_IOC_FSSETXATTR);
  }

 private:
  uint32_t firstProject;
  uint32_t projectCount;
  Fd depot;
  mutable uint32_t next = 0;

  bool isOurs(uint32_t project) const { return project - firstProject < projectCount; }

  uint32_t unusedProject(uint32_t slot) const {
    // A slot has as many project ids as host ids, which no other server on this machine has. The
    // one that was used last may have files still, which the sweeper is removing.
    for (uint32_t tries = 0; tries < IDS_PER_CONTAINER; ++tries) {
      uint32_t project = firstProject + slot * IDS_PER_CONTAINER + next++ % IDS_PER_CONTAINER;
      if_dqblk quota = readQuota(depot, project);
      if (quota.dqb_curinodes == 0 && quota.dqb_curspace == 0) return project;
    }
    throw StepError("choose project id", EBUSY, "all have files");
  }
};

}  // namespace

kj::Maybe<kj::Own<DiskBackend>> tryProjectBackend(const Config& config, int depot) {
  if (!isEnforced(depot)) return nullptr;
  kj::Own<DiskBackend> backend = kj::heap<ProjectBackend>(config, duplicate(depot));
  return kj::mv(backend);
}

}  // namespace warden::privhelper
