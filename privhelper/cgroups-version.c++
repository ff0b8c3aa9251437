#include "privhelper/cgroups-version.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#include "privhelper/frontend.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr size_t LARGEST_FILE = 64 * 1024;
constexpr int AGAIN_MS = 5;

class Alarm {
  // Interrupts the system call that this process is in when the time is up, and from then on again
  // and again, as the first signal may come before the call begins.

 public:
  explicit Alarm(int ms) {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    KJ_SYSCALL(sigaction(SIGALRM, &action, &before));
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGALRM);
    KJ_SYSCALL(sigprocmask(SIG_UNBLOCK, &mask, nullptr));
    set(ms);
  }
  ~Alarm() noexcept(false) {
    set(0);
    sigaction(SIGALRM, &before, nullptr);
  }
  KJ_DISALLOW_COPY(Alarm);

 private:
  struct sigaction before;

  static void set(int ms) {
    itimerval time{{0, AGAIN_MS * 1000}, {ms / 1000, ms % 1000 * 1000}};
    KJ_SYSCALL(setitimer(ITIMER_REAL, &time, nullptr));
  }
};

}  // namespace

bool CgroupDirectory::has(const char* file) const {
  return faccessat(parent, path(file).cStr(), F_OK, 0) == 0;
}

kj::String CgroupDirectory::read(const char* file) const {
  auto where = path(file);
  Fd fd(privhelper::step(step, [&] { return openat(parent, where.cStr(), O_RDONLY | O_CLOEXEC); }));
  auto bytes = readAll(fd, LARGEST_FILE);
  auto text = kj::heapString(bytes.asChars());
  return text.endsWith("\n") ? kj::heapString(text.slice(0, text.size() - 1)) : kj::mv(text);
}

uint64_t CgroupDirectory::readNumber(const char* file) const {
  auto text = read(file);
  char* end;
  errno = 0;
  uint64_t value = strtoull(text.cStr(), &end, 10);
  if (errno != 0 || end == text.cStr() || *end != '\0') fail(EPROTO);
  return value;
}

void CgroupDirectory::write(const char* file, kj::StringPtr value) const {
  faultPoint(step);
  int error = tryWrite(file, value);
  if (error != 0) fail(error);
}

int CgroupDirectory::tryWrite(const char* file, kj::StringPtr value) const {
  int fd = openat(parent, path(file).cStr(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  Fd owned(fd);
  for (;;) {
    // A cgroup file takes a value whole or not at all.
    if (::write(fd, value.begin(), value.size()) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

void CgroupDirectory::writeFor(const char* file, kj::StringPtr value, int ms) const {
  int raw = privhelper::step(
      step, [&] { return openat(parent, path(file).cStr(), O_WRONLY | O_CLOEXEC); });
  Fd fd(raw);
  uint64_t end = monotonicUs() + ms * 1000;
  Alarm alarm(ms);
  while (::write(fd, value.begin(), value.size()) < 0) {
    int error = errno;
    if (error != EINTR || monotonicUs() >= end) fail(error);
  }
}

kj::Maybe<Fd> CgroupDirectory::open(const char* file) const {
  faultPoint(step);
  int fd = openat(parent, path(file).cStr(), O_RDONLY | O_CLOEXEC);
  if (fd >= 0) return Fd(fd);
  if (errno != ENOENT) fail(errno);
  return nullptr;
}

void CgroupDirectory::fail(int error) const {
  throw StepError(step, error);
}

void openStatistic(const CgroupDirectory& directory, const char* file,
                   schema::Created::Statistics kind, kj::Vector<Statistic>& statistics) {
  KJ_IF_MAYBE (fd, directory.open(file)) {
    statistics.add(Statistic{kind, kj::mv(*fd)});
  }
}

}  // namespace warden::privhelper
