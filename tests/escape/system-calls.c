// Makes each system call of an ABI, with arguments that every call refuses, and prints what came of
// it: "NUMBER allowed|EPERM|ENOSYS|killed|unsupported". Arguments: ABI (x86-64, x32, i386), first
// number, last number. Each call is made by a child, because some end their caller. Static, so that
// it runs in any image.

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum abi { X86_64, X32, I386 };
enum outcome { ALLOWED = 10, IS_EPERM, IS_ENOSYS };

// Pointers that fault, descriptors and ids that nobody has, signals and options that do not exist.
static const long NOTHING = -1;

static long call_native(long number) {
  long first = NOTHING;
  // Of these, -1 is refused by the filter, for it has all flags set; 0 is a plain fork.
  if (number == SYS_clone) first = 0;
  // "Tell, do not change" is a 32 bit number (personality(2)).
  if (number == SYS_personality) first = 0xffffffff;
  register long r10 __asm__("r10") = NOTHING;
  register long r8 __asm__("r8") = NOTHING;
  register long r9 __asm__("r9") = NOTHING;
  long second = number == SYS_clone ? 0 : NOTHING;
  // An operation that does not exist answers ENOSYS (futex(2)); this one finds that it is no
  // address.
  if (number == SYS_futex) second = 1;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(first), "S"(second), "d"(NOTHING), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

static long call_i386(long number) {
  long result;
  __asm__ volatile("int $0x80"
                   : "=a"(result)
                   : "a"(number), "b"(NOTHING), "c"(NOTHING), "d"(NOTHING), "S"(NOTHING),
                     "D"(NOTHING)
                   : "r8", "r9", "r10", "r11", "memory");
  // A 32 bit result.
  return (int)result;
}

static void attempt(enum abi abi, long number) {
  // What waits for something is ended, and was allowed.
  struct itimerval limit = {{0, 0}, {0, 50000}};
  setitimer(ITIMER_REAL, &limit, NULL);
  long result =
      abi == I386 ? call_i386(number) : call_native(abi == X32 ? 0x40000000 | number : number);
  syscall(SYS_exit_group, result == -EPERM ? IS_EPERM : (result == -ENOSYS ? IS_ENOSYS : ALLOWED));
}

static const char* describe(enum abi abi, int status) {
  if (WIFSIGNALED(status)) {
    // A kernel without i386 calls answers the interrupt so.
    if (abi == I386 && WTERMSIG(status) == SIGSEGV) return "unsupported";
    return WTERMSIG(status) == SIGSYS ? "killed" : "allowed";
  }
  if (WEXITSTATUS(status) == IS_EPERM) return "EPERM";
  if (WEXITSTATUS(status) == IS_ENOSYS) return "ENOSYS";
  return "allowed";
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  enum abi abi = strcmp(argv[1], "x32") == 0 ? X32 : (strcmp(argv[1], "i386") == 0 ? I386 : X86_64);
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  for (long number = atol(argv[2]); number <= atol(argv[3]); ++number) {
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) return 2;
    if (child == 0) attempt(abi, number);
    int status;
    if (waitpid(child, &status, 0) != child) return 2;
    printf("%ld %s\n", number, describe(abi, status));
  }
  return 0;
}
