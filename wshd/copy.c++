#include "wshd/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <string>

#include "base/progress-pipe.h"
#include "base/tree-archive.h"
#include "wshd/identity.h"

namespace warden {

namespace {

constexpr int STREAM_FD = 3;
constexpr int REPORT_FD = 4;
constexpr int METER_FD = 5;
constexpr int FIRST_OTHER_FD = METER_FD + 1;

constexpr int64_t TELL_INTERVAL_NS = 100'000'000;
// Fits into a pipe at once, so that nobody waits for the reader.
constexpr size_t MAX_REPORT_BYTES = 2048;

[[noreturn]] void fail(kj::StringPtr step, int error) {
  char report[MAX_REPORT_BYTES];
  size_t length = kj::min(step.size(), sizeof(report) - sizeof(error));
  memcpy(report, &error, sizeof(error));
  memcpy(report + sizeof(error), step.begin(), length);
  length += sizeof(error);
  ssize_t n = write(REPORT_FD, report, length);
  _exit(n == static_cast<ssize_t>(length) ? 1 : 2);
}

void check(IdentityFailure failure) {
  if (failure) fail(IDENTITY_STEP_NAMES[failure.step], failure.error);
}

void placeDescriptors(int stream, int report, int meter) {
  // All above what they become, so that none overwrites another. Without a meter, a second report
  // stands in its place.
  int high = fcntl(stream, F_DUPFD, FIRST_OTHER_FD);
  int higher = fcntl(report, F_DUPFD, FIRST_OTHER_FD);
  int highest = fcntl(meter < 0 ? report : meter, F_DUPFD, FIRST_OTHER_FD);
  bool placed = high >= 0 && higher >= 0 && highest >= 0 && dup2(high, STREAM_FD) >= 0 &&
                dup2(higher, REPORT_FD) >= 0 && dup2(highest, METER_FD) >= 0 &&
                syscall(SYS_close_range, FIRST_OTHER_FD, ~0u, 0) == 0;
  if (!placed) _exit(2);
}

class Meter final : public TreeMeter {
  // Writes to METER_FD, which never waits.

 public:
  void moved(uint64_t bytes, uint64_t entries) override {
    total.bytes += bytes;
    total.entries += entries;
    // Of the kernel's ticks: it costs no more than reading memory, and is asked for each file.
    timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    int64_t time = now.tv_sec * 1'000'000'000 + now.tv_nsec;
    if (time < nextTime) return;
    nextTime = time + TELL_INTERVAL_NS;
    tell();
  }

  void tell() const { tellProgress(METER_FD, total); }

 private:
  Progress total;
  int64_t nextTime = 0;
};

void resetProcess(const InitState& init) {
  sigset_t none;
  sigemptyset(&none);
  if (sigprocmask(SIG_SETMASK, &none, nullptr) < 0) fail("reset signals", errno);
  // The end of the reader is an error of write(2), not the end of this process.
  signal(SIGPIPE, SIG_IGN);
  if (setrlimit(RLIMIT_NOFILE, &init.openFiles) < 0) fail("setrlimit nofile", errno);
  if (setsid() < 0) fail("setsid", errno);
}

kj::Maybe<TreeFailure> copyTree(const CopyPlan& plan, kj::Maybe<TreeMeter&> meter) {
  Fd root(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (root == nullptr) return TreeFailure{kj::str("open /"), errno};
  std::string path(plan.path.begin(), plan.path.size());
  path.erase(0, kj::min(path.find_first_not_of('/'), path.size()));
  GrantedDirectory granted{root, "", Resolve::IN_ROOT};
  auto found = plan.pack ? findCopySource(granted, path) : findCopyTarget(granted, path);
  if (found.is<TreeFailure>()) return kj::mv(found.get<TreeFailure>());
  auto& place = found.get<CopyPlace>();
  return plan.pack ? packTree(place, STREAM_FD, meter)
                   : unpackTree(place, STREAM_FD, nullptr, ALL_PERMISSIONS, meter);
}

void copyMetered(const CopyPlan& plan, bool isMetered) {
  Meter meter;
  kj::Maybe<TreeMeter&> told;
  if (isMetered) told = meter;
  KJ_IF_MAYBE (failure, copyTree(plan, told)) fail(failure->step, failure->error);
  if (isMetered) meter.tell();
}

[[noreturn]] void runCopy(const CopyPlan& plan, int stream, int report, int meter,
                          const InitState& init) {
  placeDescriptors(stream, report, meter);
  try {
    resetProcess(init);
    check(dropBoundingSet(init.boundingSet));
    check(takeIds(plan.uid, plan.gid, plan.groups));
    check(keepCapabilities(0));
    copyMetered(plan, meter >= 0);
    _exit(0);
  } catch (...) {
    fail("copy: there is no memory", ENOMEM);
  }
}

bool isStream(int fd) {
  int type;
  socklen_t length = sizeof(type);
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

TreeFailure readFailure(int report) {
  char text[MAX_REPORT_BYTES];
  // Not to be waited for: a descendant of nobody holds the other end.
  ssize_t n = read(report, text, sizeof(text));
  int error;
  if (n < static_cast<ssize_t>(sizeof(error))) {
    return {kj::str("copy: the process that does it was killed"), ECANCELED};
  }
  memcpy(&error, text, sizeof(error));
  return {kj::heapString(text + sizeof(error), n - sizeof(error)), error};
}

}  // namespace

kj::Maybe<Failure> CopyTable::start(uint64_t sequence, const CopyPlan& plan, Fd stream, Fd meter,
                                    const InitState& init) {
  if (!isStream(stream)) return Failure{"check the stream's descriptor", EINVAL};
  if (copies.size() >= MAX_COPIES) return Failure{"start the copy: there are too many", EAGAIN};
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return Failure{"make a pipe", errno};
  Fd report(ends[0]);
  Fd reportEnd(ends[1]);
  copies.reserve(copies.size() + 1);
  pid_t pid = fork();
  if (pid < 0) return Failure{"fork", errno};
  if (pid == 0) runCopy(plan, stream, reportEnd, meter, init);
  copies.add(CopyRecord{sequence, pid, kj::mv(report), true, nullptr});
  return nullptr;
}

bool CopyTable::childEnded(pid_t pid, int status) {
  for (auto& copy : copies) {
    if (!copy.running || copy.pid != pid) continue;
    copy.running = false;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) copy.failure = readFailure(copy.report);
    copy.report = nullptr;
    return true;
  }
  return false;
}

kj::Maybe<CopyRecord&> CopyTable::nextEnded() {
  for (auto& copy : copies)
    if (!copy.running) return copy;
  return nullptr;
}

void CopyTable::forget(CopyRecord& copy) {
  if (&copy != &copies.back()) copy = kj::mv(copies.back());
  copies.removeLast();
}

void CopyTable::cancel(uint64_t sequence) {
  // A process counts as running until it is reaped, so that its number is still its own.
  for (auto& copy : copies)
    if (copy.running && copy.sequence == sequence) kill(copy.pid, SIGKILL);
}

void CopyTable::abandon() {
  for (auto& copy : copies)
    if (copy.running) kill(copy.pid, SIGKILL);
  copies.clear();
}

}  // namespace warden
