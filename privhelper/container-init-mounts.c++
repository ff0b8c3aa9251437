// The file systems of a container, from its root on.

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <initializer_list>
#include <utility>

#include "privhelper/bind-target.h"
#include "privhelper/container-init-steps.h"
#include "privhelper/private-root.h"
#include "schema/launcher.capnp.h"

namespace warden::privhelper {

namespace {

// Files of /proc that say more about the host than a container needs to know, or act on it.
constexpr const char* MASKED_FILES[] = {
    "proc/kcore",      "proc/keys",        "proc/latency_stats",
    "proc/timer_list", "proc/sched_debug", "proc/kallsyms",
    "proc/kpagecount", "proc/kpageflags",  "sys/kernel/vmcoreinfo"};
constexpr const char* MASKED_DIRECTORIES[] = {"proc/acpi", "proc/scsi", "sys/firmware",
                                              "sys/devices/virtual/powercap"};
constexpr const char* READ_ONLY[] = {"proc/sys", "proc/sysrq-trigger", "proc/irq", "proc/bus",
                                     "proc/fs",  "proc/pressure"};

Fd mountNew(const char* type, unsigned attributes,
            std::initializer_list<std::pair<const char*, const char*>> options) {
  Fd context(check(fsopen(type, FSOPEN_CLOEXEC)));
  check(fsconfig(context, FSCONFIG_SET_STRING, "source", type, 0));
  for (auto& [key, value] : options) {
    check(fsconfig(context, FSCONFIG_SET_STRING, key, value, 0));
  }
  check(fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0));
  return Fd(check(fsmount(context, FSMOUNT_CLOEXEC, attributes)));
}

void attach(int mount, const char* target) {
  // Never through a symbolic link: these directories are of the container's own layer, or of file
  // systems mounted a moment ago.
  Fd place(check(open(target, O_PATH | O_NOFOLLOW | O_CLOEXEC)));
  check(move_mount(mount, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
}

// Puts a clone of `source` over `target`; a kernel without the target needs no mask.
void cover(int source, const char* target) {
  Fd copy(check(open_tree(source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH)));
  if (move_mount(copy, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0 && errno != ENOENT) {
    throw InitError(errno);
  }
}

}  // namespace

void attachRoot(Init& init) {
  check(move_mount(init.overlay, "", AT_FDCWD, ROOT_PATH.cStr(), MOVE_MOUNT_F_EMPTY_PATH));
  init.root = Fd(check(open(ROOT_PATH.cStr(), O_PATH | O_DIRECTORY | O_CLOEXEC)));
  check(fchdir(init.root));
}

void mountDev(Init& init) {
  attach(init.devices, "dev");
  attach(mountNew("devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                  {{"ptmxmode", "0666"}, {"mode", "0620"}, {"gid", "5"}, {"max", "1024"}}),
         "dev/pts");
  attach(mountNew("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
                  {{"mode", "1777"}}),
         "dev/shm");
}

void mountProc(Init&) {
  attach(mountNew("proc", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, {}), "proc");
}

void mountSys(Init&) {
  attach(mountNew("sysfs",
                  MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, {}),
         "sys");
}

void maskPaths(Init&) {
  Fd null(check(open("dev/null", O_PATH | O_CLOEXEC)));
  for (const char* file : MASKED_FILES)
    cover(null, file);
  Fd empty = mountNew("tmpfs",
                      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
                      {{"size", "4k"}, {"nr_inodes", "2"}, {"mode", "0555"}});
  // A detached mount cannot be cloned on older kernels: the first mask is the mount itself.
  bool attached = false;
  for (const char* directory : MASKED_DIRECTORIES) {
    if (attached) {
      cover(empty, directory);
    } else if (move_mount(empty, "", AT_FDCWD, directory, MOVE_MOUNT_F_EMPTY_PATH) == 0) {
      attached = true;
    } else if (errno != ENOENT) {
      throw InitError(errno);
    }
  }
}

void protectPaths(Init&) {
  mount_attr attributes{};
  attributes.attr_set =
      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  for (const char* path : READ_ONLY) {
    int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (fd < 0 && errno == ENOENT) continue;
    Fd tree(check(fd));
    check(mount_setattr(tree, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)));
    check(move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH));
  }
}

void pivotRoot(Init& init) {
  check(fchdir(init.root));
  check(syscall(SYS_pivot_root, ".", "."));
  check(umount2(".", MNT_DETACH));
  check(chdir("/"));
  init.root = nullptr;
}

void mountBinds(Init& init) {
  Fd root(check(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)));
  while (init.bindMounts > 0) {
    Packet packet = receiveSetup(init);
    auto message = packet.getRoot<schema::SetupMessage>();
    if (!message.isBindMounts()) throw InitError(EPROTO);
    auto targets = message.getBindMounts();
    if (targets.size() == 0 || targets.size() > init.bindMounts) throw InitError(EPROTO);
    init.bindMounts -= targets.size();
    for (size_t i = 0; i < targets.size(); ++i) {
      auto path = targets[i].getPath().asChars();
      std::string target(path.begin(), path.size());
      int error = attachBindMount(root, packet.takeFd(i), target, targets[i].getIsDirectory());
      if (error != 0) throw InitError(error, kj::str("target ", target.c_str()));
    }
  }
}

}  // namespace warden::privhelper
