#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/reboot.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "probe.h"

static int init_module_(const char* unused) {
  (void)unused;
  return denied(syscall(SYS_init_module, "", 0, ""), "init_module");
}

static int finit_module(const char* unused) {
  (void)unused;
  int fd = open("/proc/self/exe", O_RDONLY);
  if (fd < 0) return not_attempted("open /proc/self/exe");
  return denied(syscall(SYS_finit_module, fd, "", 0), "finit_module");
}

static int delete_module(const char* unused) {
  (void)unused;
  return denied(syscall(SYS_delete_module, "no_such_module", 0), "delete_module");
}

static int keyctl_(const char* unused) {
  (void)unused;
  return denied(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1), "keyctl");
}

static int add_key_(const char* unused) {
  (void)unused;
  return denied(syscall(SYS_add_key, "user", "warden-probe", "x", 1, KEY_SPEC_PROCESS_KEYRING),
                "add_key");
}

static int request_key_(const char* unused) {
  (void)unused;
  return denied(syscall(SYS_request_key, "user", "warden-probe", NULL, 0), "request_key");
}

static int bpf_map(const char* unused) {
  (void)unused;
  union bpf_attr attributes;
  memset(&attributes, 0, sizeof(attributes));
  attributes.map_type = BPF_MAP_TYPE_ARRAY;
  attributes.key_size = 4;
  attributes.value_size = 4;
  attributes.max_entries = 1;
  return denied(syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof(attributes)), "bpf map");
}

static int bpf_program(const char* unused) {
  (void)unused;
  struct bpf_insn instructions[2] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0},
                                     {.code = BPF_JMP | BPF_EXIT}};
  union bpf_attr attributes;
  memset(&attributes, 0, sizeof(attributes));
  attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
  attributes.insns = (uint64_t)(uintptr_t)instructions;
  attributes.insn_cnt = 2;
  attributes.license = (uint64_t)(uintptr_t) "GPL";
  return denied(syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof(attributes)), "bpf program");
}

static int perf_event(const char* unused) {
  (void)unused;
  struct perf_event_attr attributes;
  memset(&attributes, 0, sizeof(attributes));
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.size = sizeof(attributes);
  attributes.config = PERF_COUNT_SW_CPU_CLOCK;
  attributes.exclude_kernel = 1;
  return denied(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0), "perf_event_open");
}

// Makes a pty the controlling terminal, so that TIOCSTI is what the kernel decides about.
static int own_terminal(void) {
  int master = open("/dev/ptmx", O_RDWR | O_NOCTTY);
  if (master < 0) return -1;
  int unlocked = 0;
  if (ioctl(master, TIOCSPTLCK, &unlocked) < 0) return -1;
  setsid();
  int terminal = ioctl(master, TIOCGPTPEER, O_RDWR);
  if (terminal < 0) return -1;
  return ioctl(terminal, TIOCSCTTY, 0) < 0 ? -1 : terminal;
}

static int tiocsti(const char* unused) {
  (void)unused;
  int terminal = own_terminal();
  if (terminal < 0) return not_attempted("pty");
  return denied(ioctl(terminal, TIOCSTI, "x"), "TIOCSTI");
}

// The kernel reads a command of 32 bits: a filter that compares 64 can be passed by the upper ones.
static int tiocsti_high_bits(const char* unused) {
  (void)unused;
  int terminal = own_terminal();
  if (terminal < 0) return not_attempted("pty");
  return denied(syscall(SYS_ioctl, terminal, (1ull << 32) | TIOCSTI, "x"), "TIOCSTI | 1 << 32");
}

static int tioclinux(const char* unused) {
  (void)unused;
  int terminal = own_terminal();
  if (terminal < 0) return not_attempted("pty");
  char command = 2;  // copy the selection
  if (ioctl(terminal, TIOCLINUX, &command) == 0) return worked("TIOCLINUX");
  return refused("TIOCLINUX");
}

static int x32(const char* unused) {
  (void)unused;
  return denied(syscall(0x40000000 | SYS_getpid), "x32 getpid");
}

static int i386(const char* unused) {
  (void)unused;
  long result;
  // 20: getpid of i386 (arch/x86/entry/syscalls/syscall_32.tbl).
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
  if (result < 0) errno = -result;
  return denied(result < 0 ? -1 : result, "i386 getpid");
}

static int io_uring(const char* unused) {
  (void)unused;
  char parameters[256];
  memset(parameters, 0, sizeof(parameters));
  return denied(syscall(SYS_io_uring_setup, 4, parameters), "io_uring_setup");
}

static int userfaultfd_(const char* unused) {
  (void)unused;
  // 1: UFFD_USER_MODE_ONLY, which needs no privilege.
  return denied(syscall(SYS_userfaultfd, 1 | O_CLOEXEC), "userfaultfd");
}

static int swapon_(const char* unused) {
  (void)unused;
  return denied(swapon("/no/such/file", 0), "swapon");
}

static int reboot_(const char* unused) {
  (void)unused;
  // Harmless where it is allowed.
  return denied(
      syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_CAD_OFF, NULL),
      "reboot");
}

static int kexec(const char* unused) {
  (void)unused;
  return denied(syscall(SYS_kexec_load, 0, 0, NULL, 0), "kexec_load");
}

static int kexec_file(const char* unused) {
  (void)unused;
  return denied(syscall(SYS_kexec_file_load, -1, -1, 0, "", 0), "kexec_file_load");
}

static int settimeofday_(const char* unused) {
  (void)unused;
  struct timeval now;
  gettimeofday(&now, NULL);
  return denied(settimeofday(&now, NULL), "settimeofday");
}

static int clock_settime_(const char* unused) {
  (void)unused;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return denied(clock_settime(CLOCK_REALTIME, &now), "clock_settime");
}

static int adjtimex_(const char* unused) {
  (void)unused;
  struct timex change;
  memset(&change, 0, sizeof(change));
  change.modes = ADJ_TICK;
  change.tick = 10000;
  return denied(adjtimex(&change), "adjtimex");
}

static int syslog_(const char* unused) {
  (void)unused;
  char buffer[256];
  // 3: SYSLOG_ACTION_READ_ALL.
  return denied(klogctl(3, buffer, sizeof(buffer)), "syslog");
}

static int iopl_(const char* unused) {
  (void)unused;
  return denied(syscall(SYS_iopl, 3), "iopl");
}

static int ioperm_(const char* unused) {
  (void)unused;
  return denied(syscall(SYS_ioperm, 0x80, 1, 1), "ioperm");
}

static int acct_(const char* unused) {
  (void)unused;
  return denied(syscall(SYS_acct, NULL), "acct");
}

static int quotactl_(const char* unused) {
  (void)unused;
  // Q_SYNC for all file systems; harmless.
  return denied(syscall(SYS_quotactl, 0x800001 << 8, NULL, 0, NULL), "quotactl");
}

static int fanotify(const char* unused) {
  (void)unused;
  return denied(syscall(SYS_fanotify_init, 0, O_RDONLY), "fanotify_init");
}

static int nice_below_zero(const char* unused) {
  (void)unused;
  return denied(setpriority(PRIO_PROCESS, 0, -10), "setpriority -10");
}

static int raise_limit(const char* unused) {
  (void)unused;
  struct rlimit limit = {1 << 20, 1 << 20};
  return denied(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit nofile");
}

const struct attack KERNEL_ATTACKS[] = {
    {"init-module", init_module_},
    {"finit-module", finit_module},
    {"delete-module", delete_module},
    {"keyctl", keyctl_},
    {"add-key", add_key_},
    {"request-key", request_key_},
    {"bpf-map", bpf_map},
    {"bpf-program", bpf_program},
    {"perf-event-open", perf_event},
    {"tiocsti", tiocsti},
    {"tiocsti-high-bits", tiocsti_high_bits},
    {"tioclinux", tioclinux},
    {"x32", x32},
    {"i386", i386},
    {"io-uring", io_uring},
    {"userfaultfd", userfaultfd_},
    {"swapon", swapon_},
    {"reboot", reboot_},
    {"kexec-load", kexec},
    {"kexec-file-load", kexec_file},
    {"settimeofday", settimeofday_},
    {"clock-settime", clock_settime_},
    {"adjtimex", adjtimex_},
    {"syslog", syslog_},
    {"iopl", iopl_},
    {"ioperm", ioperm_},
    {"acct", acct_},
    {"quotactl", quotactl_},
    {"fanotify", fanotify},
    {"nice-below-zero", nice_below_zero},
    {"raise-limit", raise_limit},
    {0},
};
