#include "wshd/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "wshd/identity.h"

namespace warden {

namespace {

constexpr int START_TIMEOUT_MS = 5'000;
constexpr int KILL_TIMEOUT_MS = 1'000;
constexpr int FIRST_FD_TO_CLOSE = 3;

// Of jobs, by how much of the container's memory they look larger than they are, in thousandths,
// when the kernel looks for what to kill (proc(5), oom_score_adj).
constexpr kj::StringPtr JOB_OOM_SCORE = "500"_kj;

// For what is left of an exec; a job that keeps its files shut gains no more time than this.
constexpr int OPEN_ATTEMPTS = 30;
constexpr int OPEN_YIELDS = 3;  // after the first of them, instead of a pause
constexpr timespec OPEN_PAUSE{.tv_sec = 0, .tv_nsec = 50'000};

#ifdef __SANITIZE_ADDRESS__
// AddressSanitizer's notes on a stack would outlive the child that it was for. Of memory that is
// not shared the kernel does not tell that the child has left it, so that clone(2) has to wait.
constexpr int SHARED_MEMORY = CLONE_VFORK;
#else
constexpr int SHARED_MEMORY = CLONE_VM | CLONE_CHILD_CLEARTID;
#endif

enum Step : uint8_t {
  SESSION = IDENTITY_STEPS,
  DESCRIPTORS,
  SIGNALS,
  HOME,
  HOME_ESCAPES,
  EXECUTE,
  SET_LIMIT,  // + RLIMIT_*
  STEPS = SET_LIMIT + RLIM_NLIMITS
};

kj::StringPtr describe(uint8_t step) {
  static constexpr const char* NAMES[STEPS - SESSION] = {
      "setsid", "set up descriptors", "reset signals", "chdir to the home directory",
      "chdir to the home directory: it is outside of the container", "execve /bin/bash and /bin/sh",
      // In the order of RLIMIT_* (<asm-generic/resource.h>).
      "setrlimit cpu", "setrlimit fsize", "setrlimit data", "setrlimit stack", "setrlimit core",
      "setrlimit rss", "setrlimit nproc", "setrlimit nofile", "setrlimit memlock", "setrlimit as",
      "setrlimit locks", "setrlimit sigpending", "setrlimit msgqueue", "setrlimit nice",
      "setrlimit rtprio", "setrlimit rttime"};
  if (step < IDENTITY_STEPS) return IDENTITY_STEP_NAMES[step];
  return step < STEPS ? NAMES[step - SESSION] : "start the shell";
}
static_assert(RLIMIT_CPU == 0 && RLIMIT_NOFILE == 7 && RLIMIT_RTTIME == 15 && RLIM_NLIMITS == 16);

constexpr uint8_t setLimit(int resource) {
  return static_cast<uint8_t>(SET_LIMIT + resource);
}

class Child {
  // The new process on its way to the shell. It shares wshd's memory, so that it changes nothing
  // but its stack: async-signal-safe calls only (signal-safety(7)), by the raw system call where
  // glibc's wrapper would look for other threads.

 public:
  Child(const SpawnPlan& plan, const InitState& init, StartReport& report)
      : plan(plan), init(init), report(report) {}

  [[noreturn]] void run(int script, int output, int errors) {
    // Only the shell's own descriptors are open from here on: a home directory that is a link to
    // /proc/self/fd/N finds nothing of wshd's.
    placeDescriptors(script, output, errors);
    check(SESSION, setsid());
    resetSignals();
    setLimits();
    uint64_t kept = plan.privileged ? init.jobCapabilities & init.boundingSet : 0;
    check(dropBoundingSet(init.boundingSet & ~kept));
    check(takeIds(plan.uid, plan.gid, plan.groups));
    check(keepCapabilities(kept));
    enterHome();
    execute();
  }

 private:
  const SpawnPlan& plan;
  const InitState& init;
  StartReport& report;

  [[noreturn]] void fail(uint8_t step, int error) {
    report.step = step;
    report.error = error;
    report.failed = true;
    _exit(127);
  }

  void check(uint8_t step, long result) {
    if (result < 0) fail(step, errno);
  }

  void check(IdentityFailure failure) {
    if (failure) fail(failure.step, failure.error);
  }

  void placeDescriptors(int script, int output, int errors) {
    // wshd's own 0, 1 and 2 are open, so that all three are above them and nothing is overwritten
    // before it is copied.
    bool placed = dup2(script, 0) == 0 && dup2(output, 1) == 1 && dup2(errors, 2) == 2 &&
                  syscall(SYS_close_range, FIRST_FD_TO_CLOSE, ~0u, 0) == 0;
    if (!placed) fail(DESCRIPTORS, errno);
  }

  void resetSignals() {
    // Dispositions are the default since wshd's start (init.h).
    sigset_t none;
    sigemptyset(&none);
    check(SIGNALS, sigprocmask(SIG_SETMASK, &none, nullptr));
  }

  void setLimits() {
    bool openFilesAreSet = false;
    for (const Limit& limit : plan.limits) {
      if (limit.clamp) {
        setDefaultLimit(limit);
      } else {
        check(setLimit(limit.resource), set(limit.resource, limit.value));
      }
      if (limit.resource == RLIMIT_NOFILE) openFilesAreSet = true;
    }
    if (!openFilesAreSet) {
      check(setLimit(RLIMIT_NOFILE), setrlimit(RLIMIT_NOFILE, &init.openFiles));
    }
  }

  void setDefaultLimit(const Limit& limit) {
    rlimit hard = init.inherited[limit.resource];
    rlim_t value = kj::min(limit.value, hard.rlim_max);
    if (hard.rlim_cur == value && hard.rlim_max == value) return;
    if (set(limit.resource, value) == 0) return;
    // Lower than it was at wshd's start.
    auto resource = static_cast<__rlimit_resource_t>(limit.resource);
    check(setLimit(limit.resource), getrlimit(resource, &hard));
    check(setLimit(limit.resource), set(limit.resource, kj::min(value, hard.rlim_max)));
  }

  static int set(int resource, rlim_t value) {
    rlimit wanted{value, value};
    return setrlimit(static_cast<__rlimit_resource_t>(resource), &wanted);
  }

  void enterHome() {
    check(HOME, chdir(plan.home.cStr()));
    // The kernel names a directory that the root directory does not lead to "(unreachable)..."
    // (getcwd(2)).
    char path[PATH_MAX];
    long length = syscall(SYS_getcwd, path, sizeof(path));
    check(HOME_ESCAPES, length);
    if (path[0] != '/') fail(HOME_ESCAPES, EXDEV);
  }

  [[noreturn]] void execute() {
    char bash[] = "bash";
    char* bashArguments[] = {bash, nullptr};
    execve("/bin/bash", bashArguments, plan.environment.begin());
    if (errno == ENOENT) {
      char sh[] = "sh";
      char* shArguments[] = {sh, nullptr};
      execve("/bin/sh", shArguments, plan.environment.begin());
    }
    fail(EXECUTE, errno);
  }
};

bool makePipe(Fd& readEnd, Fd& writeEnd) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) < 0) return false;
  readEnd = Fd(fds[0]);
  writeEnd = Fd(fds[1]);
  return true;
}

bool isReadableFile(int fd) {
  struct stat status;
  if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) return false;
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_PATH) == 0 && (flags & O_ACCMODE) != O_WRONLY;
}

struct ChildArguments {
  Child child;
  int script, output, errors;
};

int runChild(void* raw) {
  auto& arguments = *static_cast<ChildArguments*>(raw);
  arguments.child.run(arguments.script, arguments.output, arguments.errors);
}

kj::Maybe<Failure> awaitExecution(pid_t pid, ChildStack& stack) {
  const StartReport& report = *stack.report();
  if (stack.awaitStart(START_TIMEOUT_MS)) {
    if (!report.failed) return nullptr;
    return Failure{describe(report.step), report.error};
  }
  // Whoever stops the child cannot keep it from being killed. If it is stuck in the kernel, it may
  // yet use the memory that it shares.
  kill(pid, SIGKILL);
  if (!stack.awaitStart(KILL_TIMEOUT_MS)) stack.abandon();
  return Failure{"start the shell in time", ETIMEDOUT};
}

// -1 and errno where it cannot be opened.
int openAs(uid_t uid, const char* path) {
  setfsuid(uid);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  int error = errno;
  setfsuid(0);
  hideFromContainer();  // as in takeIds()
  errno = error;
  return fd;
}

// The status of a job that has ended meanwhile.
kj::Maybe<int> preferAsVictim(pid_t pid, uid_t uid) {
  // A container that is out of memory loses a job, not wshd. To lower wshd's own score instead
  // would take CAP_SYS_RESOURCE, and jobs would inherit the right to go as low. The child cannot do
  // this for itself: while it shares wshd's memory, the kernel raises wshd with it, and what is not
  // dumpable may not open the file. So it follows right after the exec, before the shell has
  // started anything; the file belongs to the job's user, as whom wshd, which may not override
  // modes, opens it. It is the user's from a moment after the child has left wshd's memory, which
  // is what wshd was told, to the job's end; before and after, the error is EACCES.
  auto path = kj::str("/proc/", pid, "/oom_score_adj");
  for (int i = 0; i < OPEN_ATTEMPTS; ++i) {
    Fd file(openAs(uid, path.cStr()));
    if (file != nullptr) {
      // Not to be checked: the process may have ended meanwhile.
      [[maybe_unused]] ssize_t n = write(file, JOB_OOM_SCORE.begin(), JOB_OOM_SCORE.size());
      return nullptr;
    }
    bool mayCome = errno == EACCES;
    KJ_IF_MAYBE (status, endOf(pid)) return *status;
    if (!mayCome) break;
    if (i < OPEN_YIELDS) {
      sched_yield();  // to the child, where it shares the processor
    } else {
      nanosleep(&OPEN_PAUSE, nullptr);
    }
  }
  return nullptr;
}

}  // namespace

bool JobPipes::make() {
  if (errors != nullptr) return true;
  if (makePipe(output, outputEnd) && makePipe(errors, errorsEnd)) return true;
  int error = errno;
  *this = JobPipes();
  errno = error;
  return false;
}

kj::Maybe<int> endOf(pid_t pid) {
  siginfo_t info{};
  if (waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid != pid) {
    return nullptr;
  }
  // As in wait(2): the exit status in the second byte, or the signal and 0x80 for a core dump.
  if (info.si_code == CLD_EXITED) return (info.si_status & 0xff) << 8;
  return info.si_status | (info.si_code == CLD_DUMPED ? WCOREFLAG : 0);
}

kj::OneOf<Shell, Failure> startShell(const SpawnPlan& plan, int script, const InitState& init,
                                     ChildStack& stack, JobPipes pipes) {
  if (!isReadableFile(script)) return Failure{"check the script's descriptor", EINVAL};

  if (!pipes.make()) return Failure{"make pipes", errno};

  // Opening /dev/stdout or /dev/stderr asks for the rights of a file's owner (proc(5),
  // /proc/pid/fd).
  if (fchown(pipes.outputEnd, plan.uid, plan.gid) < 0 ||
      fchown(pipes.errorsEnd, plan.uid, plan.gid) < 0) {
    return Failure{"give the job its pipes", errno};
  }

  if (!stack.prepare()) return Failure{"make a stack", ENOMEM};

  // The child shares wshd's memory until the shell is executed, which saves copying the page tables
  // and the faults after that (a tenth of a short job's time). It is not vfork(2), which would
  // leave process 1 waiting for as long as another process of the job's user keeps the child
  // stopped. Nothing in the container can write to that memory by way of the child: it is not
  // dumpable.
  ChildArguments arguments{Child(plan, init, *stack.report()), script, pipes.outputEnd,
                           pipes.errorsEnd};
  pid_t pid = clone(runChild, stack.top(), SHARED_MEMORY | SIGCHLD, &arguments, nullptr, nullptr,
                    &stack.report()->underWay);
  if (pid < 0) return Failure{"fork", errno};
  // Of memory that is a copy nobody tells, and clone(2) has waited.
  if ((SHARED_MEMORY & CLONE_VM) == 0) stack.report()->underWay.store(0);

  // While the child prepares itself.
  pipes.outputEnd = nullptr;
  pipes.errorsEnd = nullptr;
  KJ_IF_MAYBE (failure, awaitExecution(pid, stack)) {
    return *failure;
  }
  // A short job has, where it shared a processor with wshd. Its file can no longer be opened, and
  // to try takes longer than to ask.
  auto status = endOf(pid);
  if (status == nullptr) status = preferAsVictim(pid, plan.uid);
  return Shell{pid, kj::mv(pipes.output), kj::mv(pipes.errors), status};
}

}  // namespace warden
