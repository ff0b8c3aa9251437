#include "privhelper/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr kj::StringPtr PLAIN = "none"_kj;

class PlainDisk final : public ContainerDisk {
 public:
  explicit PlainDisk(Fd root) : root(kj::mv(root)) {}

  int directory() const override { return root; }
  void setLimits(const DiskLimits&) override { fail(); }
  DiskLimits limits() const override { fail(); }
  DiskUsage usage() const override { fail(); }
  DiskFacts facts() const override { return {.backend = kj::str(PLAIN)}; }
  void leave() override {}

 private:
  Fd root;

  [[noreturn]] static void fail() {
    throw StepError("limit disk", ENOTSUP, "disk quotas are off in the server's configuration");
  }
};

class PlainBackend final : public DiskBackend {
 public:
  kj::StringPtr name() const override { return PLAIN; }
  kj::String reason() const override { return kj::str("server.quota.disk_quota_enabled is false"); }
  kj::Own<ContainerDisk> make(uint32_t, int containerDirectory) const override {
    return kj::heap<PlainDisk>(makeDiskDirectory(containerDirectory));
  }
  kj::Own<ContainerDisk> adopt(const DiskFacts&, const DiskLimits&,
                               int containerDirectory) const override {
    return kj::heap<PlainDisk>(openDiskDirectory(containerDirectory));
  }
};

}  // namespace

kj::Own<DiskBackend> makePlainBackend() {
  return kj::heap<PlainBackend>();
}

kj::Own<DiskBackend> DiskBackend::choose(const Config& config, int depot) {
  if (!config.server.diskQuotaEnabled) return makePlainBackend();
  try {
    KJ_IF_MAYBE (backend, tryProjectBackend(config, depot)) {
      return kj::mv(*backend);
    }
    KJ_IF_MAYBE (backend, tryBtrfsBackend(depot)) {
      return kj::mv(*backend);
    }
    return makeLoopBackend(depot);
  } catch (const StepError& e) {
    throw ConfigError(
        "server.quota.disk_quota_enabled: the disk use of containers cannot be limited on " +
        config.server.containerDepotPath + ": " + e.detail().cStr() +
        ": give the depot a file system with project quotas, or set this to false");
  }
}

bool ContainerDisk::settle() {
  return true;
}

void ContainerDisk::show(pid_t) {}

bool DiskBackend::release(int) const noexcept {
  return true;
}

void DiskBackend::permit(SeccompFilter&) const {}

Fd makeDiskDirectory(int containerDirectory) {
  // Closed to all but root: programs of the container that run as their owner must not be reachable
  // on the host.
  step("make layer directory", [&] { return mkdirat(containerDirectory, DISK_DIRECTORY, 0700); });
  return openDiskDirectory(containerDirectory);
}

Fd openDiskDirectory(int containerDirectory) {
  return Fd(step("open layer directory", [&] {
    return openat(containerDirectory, DISK_DIRECTORY,
                  O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  }));
}

void checkRange(const DiskLimits& limits) {
  // Offsets in files, and so the sizes of file systems, are signed.
  constexpr uint64_t MOST = INT64_MAX;
  if (limits.blocksSoft > MOST / BLOCK_BYTES || limits.blocksHard > MOST / BLOCK_BYTES ||
      limits.inodesSoft > MOST || limits.inodesHard > MOST) {
    throw StepError("limit disk", ERANGE);
  }
}

void permitIoctl(SeccompFilter& filter, uint32_t request) {
  filter.allowIf("ioctl", {SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, request)});
}

}  // namespace warden::privhelper
