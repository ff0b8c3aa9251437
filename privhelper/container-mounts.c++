#include "privhelper/container-mounts.h"

#include <fcntl.h>
#include <kj/debug.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "privhelper/private-root.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr size_t MOST_MOUNTINFO = 64 << 20;

struct DeviceNode {
  const char* name;
  unsigned major;
  unsigned minor;
};

// Documentation/admin-guide/devices.txt. None of them reaches hardware; fuse gives nothing without
// the right to mount.
constexpr DeviceNode NODES[] = {{"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
                                {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
                                {"fuse", 10, 229}};

struct Link {
  const char* name;
  const char* target;
};

constexpr Link LINKS[] = {{"fd", "/proc/self/fd"},
                          {"stdin", "/proc/self/fd/0"},
                          {"stdout", "/proc/self/fd/1"},
                          {"stderr", "/proc/self/fd/2"},
                          {"ptmx", "pts/ptmx"}};

void configure(int context, const char* what, const char* key, kj::StringPtr value) {
  step(what, [&] { return fsconfig(context, FSCONFIG_SET_STRING, key, value.cStr(), 0); });
}

}  // namespace

Fd cloneConfiguredImage() {
  return Fd(step("clone image", [&] {
    return open_tree(AT_FDCWD, IMAGE_PATH.cStr(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  }));
}

bool hasMountsBeneathImage() {
  // proc_pid_mountinfo(5): the fifth field is where it is mounted.
  Fd file(step("look for mounts in the image",
               [] { return open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC); }));
  auto text = readAll(file, MOST_MOUNTINFO);
  auto beneath = std::string(" ") + LOWER_PATH.cStr() + "/";
  return std::string_view(text.asChars().begin(), text.size()).find(beneath) !=
         std::string_view::npos;
}

void mapBindMount(int tree, int userNamespace, bool writable, kj::StringPtr source) {
  const char* what = "map ids of bind mount";
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_IDMAP | (writable ? 0 : MOUNT_ATTR_RDONLY);
  attributes.userns_fd = userNamespace;
  try {
    step(what, [&] {
      return mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof(attributes));
    });
  } catch (const StepError& e) {
    // mount_setattr(2): EINVAL for a file system that cannot do it, EPERM for one that is mapped.
    if (e.error() != EINVAL && e.error() != EPERM) throw;
    throw StepError(what, e.error(),
                    kj::str("a file system at or below ", source, " cannot be id-mapped"));
  }
}

IdMappedImage::IdMappedImage(int tree, int userNamespace) {
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV;
  attributes.userns_fd = userNamespace;
  step("map ids of image",
       [&] { return mount_setattr(tree, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)); });
  step("attach image",
       [&] { return move_mount(tree, "", AT_FDCWD, LOWER_PATH.cStr(), MOVE_MOUNT_F_EMPTY_PATH); });
}

IdMappedImage::~IdMappedImage() noexcept(false) {
  umount2(LOWER_PATH.cStr(), MNT_DETACH);
}

Fd mountOverlay(const ContainerDirectory& directory) {
  Fd context(step("open overlay", [] { return fsopen("overlay", FSOPEN_CLOEXEC); }));
  const char* what = "configure overlay";
  configure(context, what, "source", "warden");
  configure(context, what, "lowerdir", LOWER_PATH);
  configure(context, what, "upperdir", directory.layerPath());
  configure(context, what, "workdir", directory.workPath());
  // A layer is never mounted a second time, so nothing needs to reach the disk.
  if (!directory.disk().losesWrites()) {
    step(what, [&] { return fsconfig(context, FSCONFIG_SET_FLAG, "volatile", nullptr, 0); });
  }
  step("create overlay",
       [&] { return fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0); });
  return Fd(
      step("mount overlay", [&] { return fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV); }));
}

Fd mountDevices(uint32_t rootUid) {
  const char* what = "configure /dev";
  Fd context(step("open /dev", [] { return fsopen("tmpfs", FSOPEN_CLOEXEC); }));
  configure(context, what, "source", "dev");
  configure(context, what, "mode", "0755");
  configure(context, what, "size", "64k");
  configure(context, what, "nr_inodes", "64");
  auto owner = kj::str(rootUid);
  configure(context, what, "uid", owner);
  configure(context, what, "gid", owner);
  step("create /dev", [&] { return fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0); });
  Fd mount(step("mount /dev", [&] {
    return fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  }));

  what = "make device nodes";
  for (const DeviceNode& node : NODES) {
    step(what, [&] {
      return mknodat(mount, node.name, S_IFCHR | 0666, makedev(node.major, node.minor));
    });
    step(what, [&] { return fchownat(mount, node.name, rootUid, rootUid, AT_SYMLINK_NOFOLLOW); });
  }
  for (const Link& link : LINKS) {
    step(what, [&] { return symlinkat(link.target, mount, link.name); });
    step(what, [&] { return fchownat(mount, link.name, rootUid, rootUid, AT_SYMLINK_NOFOLLOW); });
  }
  for (const char* directory : {"pts", "shm"}) {
    step(what, [&] { return mkdirat(mount, directory, 0755); });
    step(what, [&] { return fchownat(mount, directory, rootUid, rootUid, AT_SYMLINK_NOFOLLOW); });
  }
  return mount;
}

}  // namespace warden::privhelper
