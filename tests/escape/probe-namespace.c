#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

static int mount_(const char* unused) {
  (void)unused;
  mkdir("/tmp/mount-here", 0755);
  return denied(mount("none", "/tmp/mount-here", "tmpfs", 0, ""), "mount");
}

static int bind_mount(const char* unused) {
  (void)unused;
  return denied(mount("/etc", "/tmp", NULL, MS_BIND, NULL), "mount --bind");
}

static int remount(const char* unused) {
  (void)unused;
  return denied(mount(NULL, "/proc", NULL, MS_REMOUNT | MS_BIND, NULL), "remount /proc");
}

static int umount_(const char* unused) {
  (void)unused;
  // Lazily, so that only permission can be in the way.
  return denied(umount2("/proc", MNT_DETACH), "umount /proc");
}

static int new_mount_api(const char* unused) {
  (void)unused;
  int result = denied(syscall(SYS_fsopen, "tmpfs", 0), "fsopen");
  if (result != REFUSED) return result;
  // 1: OPEN_TREE_CLONE.
  result = denied(syscall(SYS_open_tree, AT_FDCWD, "/", 1), "open_tree");
  if (result != REFUSED) return result;
  uint64_t attributes[4] = {0, 1, 0, 0};  // clear MOUNT_ATTR_RDONLY
  result = denied(syscall(SYS_mount_setattr, AT_FDCWD, "/proc", 0, attributes, sizeof(attributes)),
                  "mount_setattr");
  if (result != REFUSED) return result;
  return denied(syscall(SYS_move_mount, AT_FDCWD, "/proc", AT_FDCWD, "/tmp", 0), "move_mount");
}

static int pivot_root_(const char* unused) {
  (void)unused;
  return denied(syscall(SYS_pivot_root, ".", "."), "pivot_root");
}

static int unshare_user(const char* unused) {
  (void)unused;
  return denied(unshare(CLONE_NEWUSER), "unshare CLONE_NEWUSER");
}

static int unshare_others(const char* unused) {
  (void)unused;
  static const struct {
    int flag;
    const char* name;
  } KINDS[] = {{CLONE_NEWNS, "unshare CLONE_NEWNS"},   {CLONE_NEWPID, "unshare CLONE_NEWPID"},
               {CLONE_NEWNET, "unshare CLONE_NEWNET"}, {CLONE_NEWIPC, "unshare CLONE_NEWIPC"},
               {CLONE_NEWUTS, "unshare CLONE_NEWUTS"}, {CLONE_NEWCGROUP, "unshare CLONE_NEWCGROUP"},
               {0x80, "unshare CLONE_NEWTIME"}};
  for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); ++i) {
    int result = denied(unshare(KINDS[i].flag), KINDS[i].name);
    if (result != REFUSED) return result;
  }
  return REFUSED;
}

static int clone_user(const char* unused) {
  (void)unused;
  long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
  if (child == 0) _exit(0);
  return denied(child, "clone CLONE_NEWUSER");
}

static int clone3_user(const char* unused) {
  (void)unused;
  uint64_t arguments[8] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD, 0, 0, 0};
  long child = syscall(SYS_clone3, arguments, sizeof(arguments));
  if (child == 0) _exit(0);
  return denied(child, "clone3 CLONE_NEWUSER");
}

static int setns_(const char* unused) {
  (void)unused;
  static const char* const KINDS[] = {"mnt", "net", "uts", "ipc", "cgroup"};
  for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); ++i) {
    for (int own = 0; own < 2; ++own) {
      char path[64];
      snprintf(path, sizeof(path), "/proc/%s/ns/%s", own ? "self" : "1", KINDS[i]);
      int fd = open(path, O_RDONLY);
      if (fd < 0) {
        refused(path);
        continue;
      }
      int result = denied(setns(fd, 0), path);
      if (result != REFUSED) return result;
    }
  }
  return REFUSED;
}

static int ptrace_pid1(const char* unused) {
  (void)unused;
  if (ptrace(PTRACE_ATTACH, 1, NULL, NULL) == 0) return worked("PTRACE_ATTACH");
  refused("PTRACE_ATTACH");
  return denied(ptrace(PTRACE_SEIZE, 1, NULL, NULL), "PTRACE_SEIZE");
}

static int mem_pid1(const char* unused) {
  (void)unused;
  int fd = open("/proc/1/mem", O_RDWR);
  if (fd >= 0) return worked("open /proc/1/mem to write");
  fd = open("/proc/1/mem", O_RDONLY);
  if (fd >= 0) return worked("open /proc/1/mem to read");
  refused("open /proc/1/mem");
  char byte;
  struct iovec here = {&byte, 1};
  struct iovec there = {(void*)0x400000, 1};
  return denied(syscall(SYS_process_vm_readv, 1, &here, 1, &there, 1, 0), "process_vm_readv");
}

static int pidfd_getfd_pid1(const char* unused) {
  (void)unused;
  long pidfd = syscall(SYS_pidfd_open, 1, 0);
  if (pidfd < 0) return refused("pidfd_open");
  for (int fd = 0; fd < 32; ++fd) {
    if (syscall(SYS_pidfd_getfd, pidfd, fd, 0) >= 0) return worked("pidfd_getfd");
    if (errno == EBADF) return worked("pidfd_getfd looked into the table of pid 1");
  }
  return refused("pidfd_getfd");
}

static int fds_pid1(const char* unused) {
  (void)unused;
  DIR* directory = opendir("/proc/1/fd");
  if (directory == NULL) return refused("/proc/1/fd");
  errno = 0;
  for (struct dirent* e; (e = readdir(directory)) != NULL;) {
    if (isdigit(e->d_name[0])) return worked("list /proc/1/fd");
  }
  return refused("/proc/1/fd is empty");
}

static int write_pid1_exe(const char* unused) {
  (void)unused;
  int fd = open("/proc/1/exe", O_WRONLY);
  if (fd >= 0) return worked("open /proc/1/exe to write");
  refused("open O_WRONLY");
  fd = open("/proc/1/exe", O_RDWR);
  if (fd >= 0) return worked("open /proc/1/exe to write");
  return refused("open O_RDWR");
}

static int kill_pid1(const char* unused) {
  (void)unused;
  // The kernel protects a namespace's first process from what it does not handle
  // (pid_namespaces(7)).
  kill(1, SIGKILL);
  kill(1, SIGSTOP);
  usleep(100000);
  if (kill(1, 0) == 0 || errno == EPERM) return refused_because("pid 1 lives");
  return worked("kill pid 1");
}

// `name`: the host's abstract address.
static int abstract_socket(const char* name) {
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return refused("socket");
  struct sockaddr_un address;
  memset(&address, 0, sizeof(address));
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path + 1, name, sizeof(address.sun_path) - 2);
  socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
  if (connect(fd, (struct sockaddr*)&address, length) == 0) return worked("connect");
  return refused("connect");
}

// `key`: of a segment that the host's processes may all attach.
static int host_shm(const char* key) {
  int id = shmget(atoi(key), 0, 0);
  if (id >= 0) return worked("shmget by the host's key");
  refused("shmget");
  for (id = 0; id < 70000; ++id) {
    if (shmat(id, NULL, SHM_RDONLY) != (void*)-1) return worked("shmat by number");
  }
  return refused("shmat");
}

// `pid`: of a host process, by the host's number.
static int kill_host_pid(const char* pid) {
  if (kill(atoi(pid), 0) == 0) return worked("signal a host pid");
  if (errno != ESRCH) return worked("a host pid exists");
  return refused("kill");
}

// Every process that shows must be of this container: its pid namespace is the caller's.
static int host_pids(const char* unused) {
  (void)unused;
  DIR* directory = opendir("/proc");
  if (directory == NULL) return refused("/proc");
  int count = 0;
  for (struct dirent* e; (e = readdir(directory)) != NULL;) {
    if (!isdigit(e->d_name[0])) continue;
    ++count;
    char path[300], line[512] = "";
    snprintf(path, sizeof(path), "/proc/%s/cmdline", e->d_name);
    FILE* file = fopen(path, "r");
    if (file == NULL) continue;
    size_t n = fread(line, 1, sizeof(line) - 1, file);
    fclose(file);
    line[n] = 0;
    if (strstr(line, "warden-privhelper") != NULL || strstr(line, "warden-frontend") != NULL) {
      return worked("a process of the host shows");
    }
  }
  // wshd, the shell, this program and its child; other jobs of the test.
  if (count > 30) return worked("more processes than the container has");
  return refused_because("own processes only");
}

static int raw_socket(const char* unused) {
  (void)unused;
  if (socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) >= 0) return worked("raw ICMP socket");
  refused("raw ICMP socket");
  return denied(socket(AF_INET, SOCK_RAW, IPPROTO_RAW), "raw socket");
}

static int packet_socket(const char* unused) {
  (void)unused;
  if (socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)) >= 0) return worked("raw packet socket");
  refused("raw packet socket");
  if (socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_ALL)) >= 0) return worked("packet socket");
  return refused("packet socket");
}

// Families with a history of kernel bugs and no use in a container.
static int odd_sockets(const char* unused) {
  (void)unused;
  static const struct {
    int family, type, protocol;
    const char* name;
  } KINDS[] = {{AF_VSOCK, SOCK_STREAM, 0, "vsock"},
               {AF_ALG, SOCK_SEQPACKET, 0, "alg"},
               {AF_KEY, SOCK_RAW, 2, "key"},
               {AF_TIPC, SOCK_SEQPACKET, 0, "tipc"},
               {AF_CAN, SOCK_RAW, 1, "can"}};
  for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); ++i) {
    if (socket(KINDS[i].family, KINDS[i].type, KINDS[i].protocol) >= 0)
      return worked(KINDS[i].name);
    // Any other error comes from the family's own code, which was reached, or loaded, for it.
    int pair[2];
    if (socketpair(KINDS[i].family, KINDS[i].type, KINDS[i].protocol, pair) == 0 ||
        errno != EAFNOSUPPORT)
      return worked("socketpair");
    refused(KINDS[i].name);
  }
  // Of netlink, routes are left, which programs ask for addresses.
  for (int protocol = 1; protocol <= 40; ++protocol) {
    if (socket(AF_NETLINK, SOCK_RAW, protocol) >= 0 || errno != EPROTONOSUPPORT)
      return worked("netlink");
  }
  refused("netlink");
  return REFUSED;
}

static int sethostname_(const char* unused) {
  (void)unused;
  return denied(sethostname("changed", 7), "sethostname");
}

const struct attack NAMESPACE_ATTACKS[] = {
    {"mount", mount_},
    {"bind-mount", bind_mount},
    {"remount", remount},
    {"umount", umount_},
    {"new-mount-api", new_mount_api},
    {"pivot-root", pivot_root_},
    {"unshare-user", unshare_user},
    {"unshare-others", unshare_others},
    {"clone-user", clone_user},
    {"clone3-user", clone3_user},
    {"setns", setns_},
    {"ptrace-pid1", ptrace_pid1},
    {"mem-pid1", mem_pid1},
    {"pidfd-getfd-pid1", pidfd_getfd_pid1},
    {"fds-pid1", fds_pid1},
    {"write-pid1-exe", write_pid1_exe},
    {"kill-pid1", kill_pid1},
    {"abstract-socket", abstract_socket},
    {"host-shm", host_shm},
    {"kill-host-pid", kill_host_pid},
    {"host-pids", host_pids},
    {"raw-socket", raw_socket},
    {"packet-socket", packet_socket},
    {"odd-sockets", odd_sockets},
    {"sethostname", sethostname_},
    {0},
};
