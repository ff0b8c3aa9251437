#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "probe.h"

static int is_null_device(int fd) {
  struct stat s;
  return fstat(fd, &s) == 0 && S_ISCHR(s.st_mode) && s.st_rdev == makedev(1, 3);
}

static int can_open(const char* path, int flags) {
  int fd = open(path, flags | O_NOCTTY | O_NONBLOCK);
  if (fd < 0) return 0;
  int masked = is_null_device(fd);
  close(fd);
  return !masked;
}

static int write_each(const char* const* paths) {
  for (; *paths != NULL; ++paths) {
    if (can_open(*paths, O_WRONLY)) return worked(*paths);
    refused(*paths);
  }
  return REFUSED;
}

static int write_proc_sys(const char* unused) {
  (void)unused;
  static const char* const PATHS[] = {
      "/proc/sys/kernel/hostname",          "/proc/sys/kernel/domainname",
      "/proc/sys/kernel/core_pattern",      "/proc/sys/kernel/modprobe",
      "/proc/sys/kernel/hotplug",           "/proc/sys/kernel/panic",
      "/proc/sys/kernel/ns_last_pid",       "/proc/sys/kernel/shmmax",
      "/proc/sys/vm/panic_on_oom",          "/proc/sys/vm/drop_caches",
      "/proc/sys/fs/binfmt_misc/register",  "/proc/sys/fs/file-max",
      "/proc/sys/net/ipv4/ip_forward",      "/proc/sys/net/ipv4/ip_unprivileged_port_start",
      "/proc/sys/user/max_user_namespaces", NULL};
  return write_each(PATHS);
}

static int sysrq(const char* unused) {
  (void)unused;
  static const char* const PATHS[] = {"/proc/sysrq-trigger", "/proc/sys/kernel/sysrq", NULL};
  return write_each(PATHS);
}

static int write_proc(const char* unused) {
  (void)unused;
  static const char* const PATHS[] = {"/proc/irq/default_smp_affinity",
                                      "/proc/mtrr",
                                      "/proc/bus/pci/00",
                                      "/proc/fs/ext4",
                                      "/proc/asound",
                                      "/proc/scsi/scsi",
                                      "/proc/acpi/wakeup",
                                      "/proc/driver",
                                      "/proc/pressure/cpu",
                                      "/proc/latency_stats",
                                      "/proc/1/oom_score_adj",
                                      "/proc/1/uid_map",
                                      "/proc/1/setgroups",
                                      "/proc/1/coredump_filter",
                                      NULL};
  return write_each(PATHS);
}

// Files of /proc and /sys that tell of the host. They may be there; what is read must be nothing.
static int masked_files(const char* unused) {
  (void)unused;
  static const char* const PATHS[] = {"/proc/kcore",
                                      "/proc/keys",
                                      "/proc/key-users",
                                      "/proc/timer_list",
                                      "/proc/kpagecgroup",
                                      "/proc/sched_debug",
                                      "/proc/latency_stats",
                                      "/proc/kmsg",
                                      "/proc/slabinfo",
                                      "/proc/pagetypeinfo",
                                      "/proc/kpagecount",
                                      "/proc/kpageflags",
                                      "/proc/vmallocinfo",
                                      "/sys/kernel/vmcoreinfo",
                                      NULL};
  for (const char* const* path = PATHS; *path != NULL; ++path) {
    int fd = open(*path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) {
      refused(*path);
      continue;
    }
    char byte;
    if (read(fd, &byte, 1) > 0) return worked(*path);
    close(fd);
    refused_because(*path);
  }
  static const char* const DIRECTORIES[] = {
      "/proc/acpi",    "/proc/scsi",           "/proc/asound",
      "/sys/firmware", "/sys/kernel/debug",    "/sys/kernel/tracing",
      "/sys/fs/bpf",   "/sys/kernel/security", NULL};
  for (const char* const* path = DIRECTORIES; *path != NULL; ++path) {
    DIR* directory = opendir(*path);
    if (directory == NULL) {
      refused(*path);
      continue;
    }
    for (struct dirent* e; (e = readdir(directory)) != NULL;) {
      if (e->d_name[0] != '.') return worked(*path);
    }
    closedir(directory);
    refused_because(*path);
  }
  return REFUSED;
}

static int kcore(const char* unused) {
  (void)unused;
  int fd = open("/proc/kcore", O_RDONLY);
  if (fd < 0) return refused("/proc/kcore");
  char bytes[4];
  return read(fd, bytes, 4) > 0 ? worked("/proc/kcore") : refused_because("/proc/kcore is masked");
}

// Opens every file below for writing, a few levels deep. Returns the first that opens.
static int find_writable(const char* directory, int depth, char* found) {
  DIR* d = opendir(directory);
  if (d == NULL) return 0;
  for (struct dirent* e; (e = readdir(d)) != NULL;) {
    if (e->d_name[0] == '.') continue;
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", directory, e->d_name);
    struct stat s;
    if (lstat(path, &s) < 0) continue;
    if ((S_ISREG(s.st_mode) && can_open(path, O_WRONLY)) ||
        (S_ISDIR(s.st_mode) && depth > 0 && find_writable(path, depth - 1, found))) {
      if (found[0] == 0) snprintf(found, PATH_MAX, "%s", path);
      closedir(d);
      return 1;
    }
  }
  closedir(d);
  return 0;
}

static int write_sys(const char* unused) {
  (void)unused;
  char found[PATH_MAX] = "";
  if (find_writable("/sys", 5, found)) return worked(found);
  if (mkdir("/sys/fs/cgroup/probe", 0755) == 0) return worked("mkdir in a cgroup hierarchy");
  struct statvfs s;
  if (statvfs("/sys", &s) == 0 && (s.f_flag & ST_RDONLY) == 0) return worked("/sys is writable");
  return refused_because("nothing below /sys can be written");
}

static int cgroup_mounts(const char* unused) {
  (void)unused;
  FILE* mounts = fopen("/proc/self/mounts", "r");
  if (mounts == NULL) return not_attempted("/proc/self/mounts");
  char line[4096], target[4096], type[256], options[4096], path[4200];
  while (fgets(line, sizeof(line), mounts) != NULL) {
    if (sscanf(line, "%*s %4095s %255s %4095s", target, type, options) != 3) continue;
    if (strncmp(type, "cgroup", 6) != 0) continue;
    snprintf(path, sizeof(path), "%s/probe", target);
    if (mkdir(path, 0755) == 0) return worked(path);
    snprintf(path, sizeof(path), "%s/cgroup.procs", target);
    if (can_open(path, O_WRONLY)) return worked(path);
    snprintf(path, sizeof(path), "%s/release_agent", target);
    if (can_open(path, O_WRONLY)) return worked(path);
  }
  return refused_because("no cgroup hierarchy can be written");
}

static int try_secret(const char* path, const char* content) {
  int fd = open(path, O_RDONLY);
  if (fd < 0) return 0;
  char buffer[256];
  ssize_t n = read(fd, buffer, sizeof(buffer));
  close(fd);
  return n >= (ssize_t)strlen(content) && memcmp(buffer, content, strlen(content)) == 0;
}

#define SECRET "host secret"

// `secret`: the absolute path of a file of the host, readable by all, that begins with SECRET.
static int host_files(const char* secret) {
  char path[PATH_MAX];
  if (try_secret(secret, SECRET)) return worked(secret);
  snprintf(path, sizeof(path), "../../../../../../../../../..%s", secret);
  if (try_secret(path, SECRET)) return worked(path);
  static const char* const STARTS[] = {"root", "cwd", "root/..", "cwd/../../../../.."};
  DIR* processes = opendir("/proc");
  if (processes == NULL) return not_attempted("/proc");
  for (struct dirent* e; (e = readdir(processes)) != NULL;) {
    if (!isdigit(e->d_name[0])) continue;
    for (size_t i = 0; i < sizeof(STARTS) / sizeof(STARTS[0]); ++i) {
      snprintf(path, sizeof(path), "/proc/%s/%s%s", e->d_name, STARTS[i], secret);
      if (try_secret(path, SECRET)) return worked(path);
    }
    for (int fd = 0; fd < 64; ++fd) {
      snprintf(path, sizeof(path), "/proc/%s/fd/%d/../../../../../..%s", e->d_name, fd, secret);
      if (try_secret(path, SECRET)) return worked(path);
      snprintf(path, sizeof(path), "/proc/%s/fd/%d%s", e->d_name, fd, secret);
      if (try_secret(path, SECRET)) return worked(path);
    }
  }
  return refused_because("the host's file is not to be found");
}

// The classic: a root directory below the working directory sets `..` free.
static int chroot_escape(const char* secret) {
  mkdir("/tmp/jail", 0755);
  int root = open("/", O_RDONLY | O_DIRECTORY);
  if (root < 0) return not_attempted("open /");
  if (chroot("/tmp/jail") < 0) return refused("chroot");
  if (fchdir(root) < 0) return not_attempted("fchdir");
  for (int i = 0; i < 100; ++i) {
    if (chdir("..") < 0) break;
  }
  if (chroot(".") < 0) return refused("chroot .");
  return try_secret(secret, SECRET) ? worked("chroot")
                                    : refused_because("it ends at the container's root");
}

static int open_by_handle(const char* unused) {
  (void)unused;
  struct {
    struct file_handle head;
    unsigned char bytes[128];
  } handle;
  memset(&handle, 0, sizeof(handle));
  handle.head.handle_bytes = sizeof(handle.bytes);
  int mount;
  if (name_to_handle_at(AT_FDCWD, "/tmp", &handle.head, &mount, 0) < 0) {
    // A handle of ext4's root directory: inode 2.
    handle.head.handle_bytes = 8;
    handle.head.handle_type = 1;
    handle.bytes[0] = 2;
  }
  return denied(open_by_handle_at(AT_FDCWD, &handle.head, O_RDONLY), "open_by_handle_at");
}

static int mknod_device(const char* unused) {
  (void)unused;
  if (mknod("/tmp/mem", S_IFCHR | 0666, makedev(1, 1)) == 0) return worked("mknod c 1 1");
  refused("mknod c 1 1");
  return denied(mknod("/tmp/disk", S_IFBLK | 0666, makedev(8, 0)), "mknod b 8 0");
}

static int dev_entries(const char* unused) {
  (void)unused;
  static const char* const DOCUMENTED[] = {"null",  "zero",   "random", "urandom", "tty",
                                           "full",  "ptmx",   "pts",    "fuse",    "fd",
                                           "stdin", "stdout", "stderr", "shm",     NULL};
  DIR* directory = opendir("/dev");
  if (directory == NULL) return not_attempted("/dev");
  size_t found = 0;
  for (struct dirent* e; (e = readdir(directory)) != NULL;) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    const char* const* name = DOCUMENTED;
    while (*name != NULL && strcmp(*name, e->d_name) != 0)
      ++name;
    if (*name == NULL) return worked(e->d_name);
    ++found;
  }
  if (found != sizeof(DOCUMENTED) / sizeof(DOCUMENTED[0]) - 1) return worked("an entry is missing");
  return refused_because("exactly the documented ones");
}

// `directory`: of the image, with device nodes.
static int image_devices(const char* directory) {
  DIR* d = opendir(directory);
  if (d == NULL) return not_attempted(directory);
  int found = 0;
  for (struct dirent* e; (e = readdir(d)) != NULL;) {
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", directory, e->d_name);
    struct stat s;
    if (lstat(path, &s) < 0 || (!S_ISCHR(s.st_mode) && !S_ISBLK(s.st_mode))) continue;
    ++found;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0) return worked(path);
    refused(path);
  }
  return found > 0 ? REFUSED : not_attempted("the image has no device nodes");
}

static int dangling_fds(const char* unused) {
  (void)unused;
  DIR* directory = opendir("/proc/self/fd");
  if (directory == NULL) return not_attempted("/proc/self/fd");
  for (struct dirent* e; (e = readdir(directory)) != NULL;) {
    if (!isdigit(e->d_name[0]) || atoi(e->d_name) <= 2 || atoi(e->d_name) == dirfd(directory))
      continue;
    return worked(e->d_name);
  }
  return refused_because("stdin, stdout and stderr only");
}

// `program`: a copy of this one in the image that is set-user-id root.
static int suid(const char* program) {
  if (geteuid() == 0) return refused_because("root already");
  struct stat s;
  if (stat(program, &s) < 0 || (s.st_mode & S_ISUID) == 0)
    return not_attempted("no set-user-id program");
  execl(program, program, "am-i-root", (char*)NULL);
  return refused("exec");
}

static int am_i_root(const char* unused) {
  (void)unused;
  return geteuid() == 0 ? worked("became root") : refused_because("user is still the same");
}

// A file without a project is counted in no container's quota (ioctl_fsgetxattr; the kernel's
// include/uapi/linux/fs.h).
static int leave_project(const char* path) {
  if (path[0] == 0) path = ".";
  int fd = open(path, O_RDONLY);
  if (fd < 0) return not_attempted(path);
  struct fsxattr present;
  if (ioctl(fd, FS_IOC_FSGETXATTR, &present) < 0) return refused("reading the project");
  struct fsxattr wanted = present;
  wanted.fsx_projid = present.fsx_projid == 0 ? 1 : 0;
  wanted.fsx_xflags &= ~FS_XFLAG_PROJINHERIT;
  if (ioctl(fd, FS_IOC_FSSETXATTR, &wanted) == 0) return worked("changed the project");
  int cause = errno;
  struct fsxattr after;
  if (ioctl(fd, FS_IOC_FSGETXATTR, &after) < 0 || after.fsx_projid != present.fsx_projid ||
      after.fsx_xflags != present.fsx_xflags) {
    return worked("changed the project in part");
  }
  // EINVAL is what a user namespace gets from file systems that have projects.
  errno = cause;
  return refused("changing the project");
}

// What nobody can remove would outlive its container.
static int immutable(const char* unused) {
  (void)unused;
  static const int FLAGS[] = {FS_IMMUTABLE_FL, FS_APPEND_FL};
  for (size_t i = 0; i < sizeof(FLAGS) / sizeof(FLAGS[0]); ++i) {
    char path[] = "/tmp/immutable-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0) return not_attempted("a file in /tmp");
    unlink(path);
    int flags = FLAGS[i];
    if (ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0) return worked("FS_IOC_SETFLAGS");
    refused("FS_IOC_SETFLAGS");
    struct fsxattr attributes;
    if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes) == 0) {
      attributes.fsx_xflags |= i == 0 ? FS_XFLAG_IMMUTABLE : FS_XFLAG_APPEND;
      if (ioctl(fd, FS_IOC_FSSETXATTR, &attributes) == 0) return worked("FS_IOC_FSSETXATTR");
      refused("FS_IOC_FSSETXATTR");
    }
    close(fd);
  }
  return REFUSED;
}

const struct attack FILE_ATTACKS[] = {
    {"write-proc-sys", write_proc_sys},
    {"sysrq-trigger", sysrq},
    {"write-proc", write_proc},
    {"masked-files", masked_files},
    {"kcore", kcore},
    {"write-sys", write_sys},
    {"cgroup-mounts", cgroup_mounts},
    {"host-files", host_files},
    {"chroot", chroot_escape},
    {"open-by-handle", open_by_handle},
    {"mknod", mknod_device},
    {"dev-entries", dev_entries},
    {"image-devices", image_devices},
    {"dangling-fds", dangling_fds},
    {"suid", suid},
    {"am-i-root", am_i_root},
    {"leave-project", leave_project},
    {"immutable", immutable},
    {0},
};
