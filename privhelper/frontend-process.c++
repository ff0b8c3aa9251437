#include "privhelper/frontend-process.h"

#include <kj/vector.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

namespace warden::privhelper {

namespace {

constexpr uint64_t YOUNG_US = 2'000'000;
constexpr uint64_t PAUSE_US = 500'000;

}  // namespace

uint64_t monotonicUs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return uint64_t(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000;
}

FrontendProcess::FrontendProcess(Launcher& launcher, FrontendDescriptors descriptors,
                                 kj::String configName, AuditLog& log)
    : launcher(launcher),
      descriptors(kj::mv(descriptors)),
      configName(kj::mv(configName)),
      log(log) {}

bool FrontendProcess::start() {
  SocketPair pair = makePacketPair();
  kj::Vector<int> fds;
  kj::Vector<kj::String> arguments;
  arguments.add(kj::str("warden-frontend"));
  auto pass = [&](const char* option, int fd) {
    // The launcher places them at 3, 4, 5, ...
    arguments.add(kj::str(option));
    arguments.add(kj::str(3 + fds.size()));
    fds.add(fd);
  };
  pass("--helper-fd", pair.right);
  pass("--listen-fd", descriptors.listener);
  pass("--config-fd", descriptors.config);
  pass("--image-fd", descriptors.image);
  pass("--depot-fd", descriptors.depot);
  SocketPair records = makePacketPair();
  pass("--audit-fd", records.right);
  KJ_IF_MAYBE (file, descriptors.log) {
    pass("--log-fd", *file);
  }
  KJ_IF_MAYBE (listener, descriptors.health) {
    pass("--health-fd", *listener);
  }
  arguments.add(kj::str("--config-name"));
  arguments.add(kj::str(configName));

  kj::Vector<kj::String> environment;
  if (const char* lang = getenv("LANG")) environment.add(kj::str("LANG=", lang));
  process = launcher.startFrontend(arguments, environment, fds);
  socket = kj::mv(pair.left);
  setNonblocking(socket);
  audit = kj::mv(records.left);
  setNonblocking(audit);
  startedUs = monotonicUs();
  log.note(kj::str("frontend started, pid ", process.pid()));
  return true;
}

void FrontendProcess::forget() {
  log.note(kj::str("frontend ended, pid ", process.pid()));
  process = Pidfd();
  socket = nullptr;
  audit = nullptr;
  killUs = NEVER_US;
  uint64_t now = monotonicUs();
  nextStartUs = now - startedUs < YOUNG_US ? now + PAUSE_US : now;
}

void FrontendProcess::startLater() {
  nextStartUs = monotonicUs() + PAUSE_US;
}

void FrontendProcess::end(int signal, uint64_t graceUs) {
  if (!isRunning()) return;
  process.signal(signal);
  killUs = kj::min(killUs, monotonicUs() + graceUs);
}

void FrontendProcess::kill() {
  log.note(kj::str("frontend did not end in time, pid ", process.pid()));
  process.signal(SIGKILL);
  killUs = NEVER_US;
}

}  // namespace warden::privhelper
