// An ext4 file system in a sparse file for each container: where the depot's own file system cannot
// limit what a part of it takes.
//
// Bytes are limited by the file system's reserve (/sys/fs/ext4/DEVICE/reserved_clusters;
// Documentation/ABI/testing/sysfs-fs-ext4), which nobody may use for data, root included: free
// space beyond the limit becomes reserve. Inodes are limited by ballast (inode-ballast.h). Both act
// at once and in both directions. What goes beyond is refused with ENOSPC.

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "privhelper/disk-image.h"
#include "privhelper/disk.h"
#include "privhelper/inode-ballast.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr kj::StringPtr LOOP = "loop"_kj;

constexpr char IMAGE_FILE[] = "disk.img";  // in a container's directory

// The mount of a larger one takes noticeably longer, and more of the kernel's memory.
constexpr uint64_t LARGEST_IMAGE = uint64_t(1) << 40;

// The most that a container can have: each that a limit takes away costs some microseconds.
constexpr uint32_t IMAGE_INODES = 131072;

constexpr uint64_t INODES_A_TIME = 128;  // some milliseconds

constexpr unsigned CONTROL_MINOR = 237;  // Documentation/admin-guide/devices.txt

constexpr int ATTEMPTS = 64;  // to get a device that another program does not take first

// Ends all writing, and drops what has not reached the disk (linux/fs/ext4/ext4.h,
// EXT4_IOC_SHUTDOWN and EXT4_GOING_FLAGS_NOLOGFLUSH).
constexpr uint32_t SHUTDOWN = _IOR('X', 125, uint32_t);
constexpr uint32_t WITHOUT_FLUSH = 2;

uint64_t roundUp(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

class LoopDevices {
  // Nodes of loop devices in a tmpfs that is mounted nowhere.

 public:
  LoopDevices() : minorShift(readMinorShift()) {
    Fd context(step("make loop nodes", [] { return fsopen("tmpfs", FSOPEN_CLOEXEC); }));
    step("make loop nodes",
         [&] { return fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0); });
    nodes = Fd(step("make loop nodes", [&] {
      return fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    }));
    control = openNode("loop-control", S_IFCHR, makedev(MISC_MAJOR, CONTROL_MINOR));
  }

  struct Device {
    int number;
    Fd fd;
  };

  Device attach(int image) const {
    // The device lets go of the file by itself when nobody has it open or mounted any more, so that
    // none outlives this process and its containers, however they end.
    // No direct I/O: the kernel would write the file to the disk first, and the broker would wait
    // for it.
    faultPoint("attach loop device");
    loop_config config{};
    config.fd = static_cast<uint32_t>(image);
    config.block_size = IMAGE_BLOCK;
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
    KJ_DEFER(suspendFaults(false));
    for (int i = 0; i < ATTEMPTS; ++i) {
      int number = step("find loop device", [&] { return ioctl(control, LOOP_CTL_GET_FREE); });
      Fd device = open(number);
      if (ioctl(device, LOOP_CONFIGURE, &config) == 0) return {number, kj::mv(device)};
      if (errno != EBUSY) throw StepError("attach loop device", errno);
      suspendFaults(true);
    }
    throw StepError("attach loop device", EBUSY);
  }

  Device reopen(int number, int image) const {
    // One that is attached to this file.
    Device device{number, open(number)};
    loop_info64 info{};
    step("look at loop device", [&] { return ioctl(device.fd, LOOP_GET_STATUS64, &info); });
    struct stat status;
    step("look at loop device", [&] { return fstat(image, &status); });
    if (info.lo_device != status.st_dev || info.lo_inode != status.st_ino) {
      throw StepError("look at loop device", 0, "it belongs to another file");
    }
    return device;
  }

 private:
  int minorShift;
  Fd nodes;
  Fd control;

  static int readMinorShift() {
    // Partitions of loop devices take minors, as many as the module's parameter asks for, rounded
    // up to a power of two less one.
    int raw = ::open("/sys/module/loop/parameters/max_part", O_RDONLY | O_CLOEXEC);
    if (raw < 0) return 0;
    Fd file(raw);
    char text[16] = {};
    if (pread(file, text, sizeof(text) - 1, 0) < 0) return 0;
    int shift = 0;
    for (long most = strtol(text, nullptr, 10); most > 0; most >>= 1)
      ++shift;
    return shift;
  }

  Fd open(int number) const {
    char name[16];
    snprintf(name, sizeof(name), "loop%d", number);
    return openNode(name, S_IFBLK, makedev(LOOP_MAJOR, number << minorShift));
  }

  Fd openNode(const char* name, mode_t type, dev_t device) const {
    step("open loop device", [&] { return mknodat(nodes, name, type | 0600, device); });
    KJ_DEFER(unlinkat(nodes, name, 0));
    return Fd(step("open loop device", [&] { return openat(nodes, name, O_RDWR | O_CLOEXEC); }));
  }
};

class ImageMount {
  // The image's file system; the destructor drops it, and with it the loop device.

 public:
  explicit ImageMount(const LoopDevices::Device& device) {
    auto source = kj::str("/proc/self/fd/", device.fd.get());
    Fd context(step("open image", [] { return fsopen("ext4", FSOPEN_CLOEXEC); }));
    step("configure image",
         [&] { return fsconfig(context, FSCONFIG_SET_STRING, "source", source.cStr(), 0); });
    // What files give back, the image gives back to the depot: without this the file would grow
    // beyond what its file system uses. Nothing needs to survive a crash.
    // When the depot is full, what cannot be written is lost, and the file system goes on: the
    // kernel keeps the tables and lists that it could not write, and writes them with their next
    // change. A journal would end all writing for good.
    for (const char* option : {"discard", "nobarrier", "noauto_da_alloc"}) {
      step("configure image",
           [&] { return fsconfig(context, FSCONFIG_SET_FLAG, option, nullptr, 0); });
    }
    step("configure image",
         [&] { return fsconfig(context, FSCONFIG_SET_STRING, "errors", "continue", 0); });
    step("create image mount",
         [&] { return fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0); });
    mount = Fd(
        step("mount image", [&] { return fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV); }));
    root = Fd(step("open image root",
                   [&] { return openat(mount, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC); }));
  }

  ~ImageMount() noexcept(false) {
    if (root != nullptr && !left) abandon();
    if (attached) umount2(kj::str("/proc/self/fd/", root.get()).cStr(), MNT_DETACH);
  }
  KJ_DISALLOW_COPY(ImageMount);

  int directory() const { return root; }
  void leave() { left = true; }

  void abandon() {
    // Without this the end would wait until everything has been written that is about to be
    // removed.
    uint32_t flags = WITHOUT_FLUSH;
    ioctl(root, SHUTDOWN, &flags);
  }

  void attach(int target) {
    step("attach image", [&] {
      return move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
    });
    mount = nullptr;
    attached = true;
  }

 private:
  Fd mount;  // until it is attached
  Fd root;   // keeps the mount after that
  bool attached = false;
  bool left = false;
};

Fd makeImageFile(const DiskImage& image, int containerDirectory) {
  Fd file(step("make image file", [&] {
    return openat(containerDirectory, IMAGE_FILE,
                  O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  }));
  image.write(file);
  return file;
}

Fd openImageFile(int containerDirectory) {
  return Fd(step("open image file", [&] {
    return openat(containerDirectory, IMAGE_FILE, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  }));
}

class LoopDisk final : public ContainerDisk {
 public:
  LoopDisk(const LoopDevices& devices, const DiskImage& image, int ext4, int containerDirectory)
      : LoopDisk(devices.attach(makeImageFile(image, containerDirectory)), ext4) {
    step("close image root", [&] { return fchmod(this->image.directory(), 0700); });
    ballast.make();
    struct statfs empty = readStatus();
    freeBlocks = empty.f_bfree;
    freeInodes = empty.f_ffree;
    setReserve();
    place = makeDiskDirectory(containerDirectory);
    this->image.attach(place);
  }

  LoopDisk(const LoopDevices& devices, const DiskFacts& facts, const DiskLimits& limits, int ext4,
           int containerDirectory)
      : LoopDisk(devices.reopen(facts.loopDevice, openImageFile(containerDirectory)), ext4) {
    // Of a container that lives: its file system is mounted already, and this is another mount of
    // the same.
    KJ_ON_SCOPE_FAILURE(leave());
    ballast.countAll();
    freeBlocks = facts.freeBlocks;
    freeInodes = facts.freeInodes;
    want(limits);
    image.attach(openDiskDirectory(containerDirectory));
  }

  int directory() const override { return image.directory(); }

  void setLimits(const DiskLimits& limits) override {
    checkRange(limits);
    faultPoint("limit disk");
    want(limits);
    setReserve();
  }

  bool settle() override {
    bool settled = ballast.resize(wantedBallast(), INODES_A_TIME);
    growing = !settled;
    setReserve();
    return settled;
  }

  DiskLimits limits() const override { return wanted; }

  DiskFacts facts() const override {
    return {.backend = kj::str(LOOP),
            .loopDevice = device,
            .freeBlocks = freeBlocks,
            .freeInodes = freeInodes};
  }

  void leave() override { image.leave(); }
  void abandon() override { image.abandon(); }
  bool losesWrites() const override { return true; }

  void show(pid_t firstProcess) override {
    // Under the mount, which only this process's mount namespace has.
    auto root = kj::str("/proc/", firstProcess, "/root");
    step("show layer", [&] { return symlinkat(root.cStr(), place, "rootfs"); });
    place = nullptr;
  }

  DiskUsage usage() const override {
    struct statfs now = readStatus();
    uint64_t blocks = freeBlocks - kj::min(freeBlocks, now.f_bfree + ballastBlocks());
    return {blocks * IMAGE_BLOCK, freeInodes - kj::min(freeInodes, now.f_ffree + ballast.inodes())};
  }

 private:
  Fd place;  // where it is attached; until it is shown
  uint32_t device;
  ImageMount image;
  InodeBallast ballast;
  int ext4;                 // /sys/fs/ext4
  kj::String reserve;       // the file there
  uint64_t freeBlocks = 0;  // of IMAGE_BLOCK, in the empty file system
  uint64_t freeInodes = 0;
  DiskLimits wanted;
  bool growing = false;  // the ballast, perhaps, which takes blocks

  void want(const DiskLimits& limits) {
    wanted.blocksHard = roundUp(limits.blocksHard, IMAGE_BLOCK / BLOCK_BYTES);
    wanted.inodesHard = limits.inodesHard;
    wanted.blocksSoft = wanted.blocksHard;
    wanted.inodesSoft = wanted.inodesHard;
    growing = true;
  }

  LoopDisk(LoopDevices::Device device, int ext4)
      : device(device.number),
        image(device),
        ballast(image.directory()),
        ext4(ext4),
        reserve(kj::str("loop", device.number, "/reserved_clusters")) {}

  struct statfs readStatus() const {
    struct statfs status;
    step("read disk usage", [&] { return fstatfs(image.directory(), &status); });
    return status;
  }

  uint64_t ballastBlocks() const {
    return roundUp(ballast.blocks() * 512, IMAGE_BLOCK) / IMAGE_BLOCK;
  }

  uint64_t wantedBallast() const {
    uint64_t limit = wanted.inodesHard;
    return limit == 0 || limit >= freeInodes ? 0 : freeInodes - limit;
  }

  void setReserve() {
    // Everything beyond the limit; but what the ballast takes is not the container's.
    uint64_t used = wanted.blocksHard * BLOCK_BYTES / IMAGE_BLOCK + ballastBlocks();
    uint64_t more = wantedBallast();
    if (growing && more > ballast.inodes())
      used += InodeBallast::mostBlocks(more - ballast.inodes()) / (IMAGE_BLOCK / 512);
    uint64_t clusters = wanted.blocksHard == 0 || used >= freeBlocks ? 0 : freeBlocks - used;
    char text[24];
    int length = snprintf(text, sizeof(text), "%llu", static_cast<unsigned long long>(clusters));
    Fd file(step("limit disk", [&] { return openat(ext4, reserve.cStr(), O_WRONLY | O_CLOEXEC); }));
    step("limit disk", [&] { return pwrite(file, text, length, 0); });
  }
};

class LoopBackend final : public DiskBackend {
 public:
  explicit LoopBackend(uint64_t bytes) : image(bytes, IMAGE_INODES) {
    ext4 = Fd(step("open /sys/fs/ext4", [] {
      // A mount of its own: nothing else of sysfs can be reached from it.
      return open_tree(AT_FDCWD, "/sys/fs/ext4", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    }));
  }

  kj::StringPtr name() const override { return LOOP; }
  kj::String reason() const override {
    return kj::str("the depot's file system has no project quotas and is not btrfs");
  }

  kj::Own<ContainerDisk> make(uint32_t, int containerDirectory) const override {
    return kj::heap<LoopDisk>(devices, image, ext4, containerDirectory);
  }

  kj::Own<ContainerDisk> adopt(const DiskFacts& facts, const DiskLimits& limits,
                               int containerDirectory) const override {
    return kj::heap<LoopDisk>(devices, facts, limits, ext4, containerDirectory);
  }

  void permit(SeccompFilter& filter) const override {
    filter.allow({"fstatfs"});
    for (uint32_t request : {uint32_t(LOOP_CTL_GET_FREE), uint32_t(LOOP_CONFIGURE),
                             uint32_t(LOOP_GET_STATUS64), SHUTDOWN}) {
      permitIoctl(filter, request);
    }
  }

 private:
  LoopDevices devices;
  DiskImage image;
  Fd ext4;
};

}  // namespace

kj::Own<DiskBackend> makeLoopBackend(int depot) {
  struct statfs status;
  step("look at depot", [&] { return fstatfs(depot, &status); });
  uint64_t bytes = uint64_t(status.f_blocks) * uint64_t(status.f_bsize);
  return kj::heap<LoopBackend>(kj::min(bytes, LARGEST_IMAGE));
}

}  // namespace warden::privhelper
