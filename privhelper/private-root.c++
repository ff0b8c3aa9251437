#include "privhelper/private-root.h"

#include <fcntl.h>
#include <kj/debug.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

namespace warden::privhelper {

namespace {

void leaveHostMounts(unsigned long propagation = MS_PRIVATE) {
  // Nothing mounted here ever shows in a mount table of the host.
  KJ_SYSCALL(unshare(CLONE_NEWNS));
  KJ_SYSCALL(mount(nullptr, "/", nullptr, MS_REC | propagation, nullptr));
}

Fd cloneTree(kj::StringPtr path) {
  int fd;
  KJ_SYSCALL(fd = open_tree(AT_FDCWD, path.cStr(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), path);
  return Fd(fd);
}

void attach(int tree, const char* name) {
  KJ_SYSCALL(move_mount(tree, "", AT_FDCWD, name, MOVE_MOUNT_F_EMPTY_PATH), name);
}

void enterEmptyTmpfs(kj::StringPtr mountPoint, std::initializer_list<const char*> directories) {
  KJ_SYSCALL(mount("tmpfs", mountPoint.cStr(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                   "size=64k,nr_inodes=16,mode=0755"),
             mountPoint);
  KJ_SYSCALL(chdir(mountPoint.cStr()));
  for (const char* name : directories)
    KJ_SYSCALL(mkdir(name, 0755), name);
}

void pivotToHere() {
  // Stacks the old root on the new one (pivot_root(2), "pivot_root(".", ".")") and takes it away.
  KJ_SYSCALL(syscall(SYS_pivot_root, ".", "."));
  KJ_SYSCALL(umount2(".", MNT_DETACH));
  KJ_SYSCALL(chdir("/"));
}

void makeReadOnly(const char* path) {
  KJ_SYSCALL(mount(nullptr, path, nullptr,
                   MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr));
}

void mountProc() {
  KJ_SYSCALL(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr));
}

}  // namespace

void enterBrokerRoot(kj::StringPtr depot, kj::StringPtr image) {
  leaveHostMounts();
  Fd depotTree = cloneTree(depot);
  Fd imageTree = cloneTree(image);
  enterEmptyTmpfs(depot, {"depot", "image", "lower", "proc"});
  attach(depotTree, "depot");
  attach(imageTree, "image");
  mountProc();
  pivotToHere();
  makeReadOnly("/");
}

void enterLauncherRoot(kj::StringPtr mountPoint) {
  leaveHostMounts();
  enterEmptyTmpfs(mountPoint, {"proc", "sys", "root"});
  mountProc();
  KJ_SYSCALL(mount("sysfs", "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr));
  pivotToHere();
  makeReadOnly("/");
}

void enterPorterRoot() {
  leaveHostMounts(MS_SLAVE);
  KJ_SYSCALL(chdir("/"));
}

void enterObserverRoot(kj::StringPtr mountPoint) {
  leaveHostMounts();
  enterEmptyTmpfs(mountPoint, {"proc"});
  mountProc();
  pivotToHere();
  makeReadOnly("/");
}

void enterSweeperRoot(kj::StringPtr directory) {
  leaveHostMounts();
  Fd tree = cloneTree(directory);
  enterEmptyTmpfs(directory, {"removed"});
  attach(tree, "removed");
  KJ_SYSCALL(chdir("removed"));
  pivotToHere();
}

}  // namespace warden::privhelper
