// The container's side of the floor: what its first process does to itself.

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/bench/floor.h"

namespace warden::bench {

namespace {

constexpr int FILTER_LENGTH = 300;

void check(const char* step, long result) {
  if (result >= 0) return;
  fprintf(stderr, "warden-bench-floor: in the container: %s: %m\n", step);
  _exit(1);
}

void attachRoot(const ChildPlan& plan, int overlay, int dev) {
  check("private", mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr));
  check("move overlay",
        move_mount(overlay, "", AT_FDCWD, plan.rootfs.c_str(), MOVE_MOUNT_F_EMPTY_PATH));
  check("chdir", chdir(plan.rootfs.c_str()));
  check("move dev", move_mount(dev, "", AT_FDCWD, "dev", MOVE_MOUNT_F_EMPTY_PATH));
}

void mountKernelFiles() {
  constexpr unsigned long SAFE = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  check("proc", mount("proc", "proc", "proc", SAFE, nullptr));
  check("sysfs", mount("sysfs", "sys", "sysfs", SAFE | MS_RDONLY, nullptr));
  check("devpts", mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
                        "newinstance,ptmxmode=0666,mode=0620"));
  check("shm", mount("shm", "dev/shm", "tmpfs", SAFE, "mode=1777"));
  check("tmp", mount("tmp", "tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"));
}

void maskPaths() {
  for (auto path : {"proc/kcore", "proc/keys", "proc/timer_list", "proc/sysrq-trigger",
                    "proc/interrupts", "proc/kmsg"}) {
    if (mount("dev/null", path, nullptr, MS_BIND, nullptr) < 0 && errno != ENOENT) {
      check(path, -1);
    }
  }
  for (auto path : {"proc/sys", "proc/irq", "proc/bus", "proc/fs"}) {
    int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0 && errno == ENOENT) continue;
    check(path, tree);
    mount_attr attributes{};
    attributes.attr_set =
        MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    check(path, mount_setattr(tree, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)));
    check(path, move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH));
    close(tree);
  }
}

void enterRoot() {
  check("pivot_root", syscall(SYS_pivot_root, ".", "."));
  check("detach", umount2(".", MNT_DETACH));
  check("chdir", chdir("/"));
}

void raiseLoopback() {
  int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  check("socket", socket);
  ifreq request{};
  request.ifr_name[0] = 'l';
  request.ifr_name[1] = 'o';
  request.ifr_flags = IFF_UP;
  check("loopback", ioctl(socket, SIOCSIFFLAGS, &request));
  close(socket);
}

void installFilter() {
  // As long as a real one; the numbers that it refuses are not any call's.
  sock_filter filter[FILTER_LENGTH];
  int length = 0;
  filter[length++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0);
  while (length < FILTER_LENGTH - 2) {
    uint8_t toRefusal = static_cast<uint8_t>(1);
    filter[length++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 100000u + length, 0, toRefusal);
    filter[length++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
  }
  while (length < FILTER_LENGTH) {
    filter[length++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  }
  sock_fprog program{FILTER_LENGTH, filter};
  check("seccomp", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0));
}

void dropBoundingSet() {
  constexpr int KEPT = 14;  // as many as a runtime leaves, roughly
  for (int cap = KEPT; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; ++cap) {
    check("bounding set", prctl(PR_CAPBSET_DROP, cap, 0, 0, 0));
  }
}

}  // namespace

void becomeContainer(const ChildPlan& plan) {
  int overlay, dev;
  receiveFds(plan.control, overlay, dev);
  check("setresgid", setresgid(0, 0, 0));
  check("setresuid", setresuid(0, 0, 0));
  for (int tasks : plan.tasks)
    check("attach", write(tasks, "0", 1));
  attachRoot(plan, overlay, dev);
  mountKernelFiles();
  maskPaths();
  enterRoot();
  raiseLoopback();
  RouteSocket().configureContainer(plan.addresses);
  check("sethostname", sethostname("floor", 5));
  check("setsid", setsid());

  // Above their places first, so that none is overwritten before it is copied.
  int connection = fcntl(plan.connection, F_DUPFD, 100);
  int listener = fcntl(plan.listener, F_DUPFD, 100);
  int program = fcntl(plan.program, F_DUPFD_CLOEXEC, 100);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  check("/dev/null", null);
  int places[] = {null, null, null, connection, listener};
  for (int i = 0; i < 5; ++i)
    check("dup2", dup2(places[i], i));
  check("close_range", syscall(SYS_close_range, 5, ~0u, 1 << 2 /* CLOSE_RANGE_CLOEXEC */));
  dropBoundingSet();
  installFilter();
  char name[] = "wshd";
  char* arguments[] = {name, nullptr};
  char* environment[] = {nullptr};
  check("exec", syscall(SYS_execveat, program, "", arguments, environment, AT_EMPTY_PATH));
  _exit(1);
}

}  // namespace warden::bench
