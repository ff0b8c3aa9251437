// The porter's own process: forks a worker for each order, passes its answer on, and ends it when
// it takes too long.

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/pidfd.h"
#include "base/privilege.h"
#include "privhelper/filters.h"
#include "privhelper/frontend-process.h"
#include "privhelper/porter-worker.h"
#include "privhelper/porter.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr size_t MOST_OF_A_USER = 96;
constexpr uint64_t OPEN_US = 10'000'000;

constexpr int CAPABILITIES[] = {
    CAP_SETUID,           // workers become clients' users
    CAP_SETGID,           // likewise
    CAP_SETPCAP,          // their bounding sets are emptied
    CAP_SYS_ADMIN,        // open_tree(2) of what a worker has opened, which only works in the mount
                          // namespace where it was opened
    CAP_SYS_CHROOT,       // workers of copies shut themselves in
    CAP_KILL,             // ends workers, which are other users' processes
    CAP_DAC_READ_SEARCH,  // workers of root read what they are told to
    CAP_DAC_OVERRIDE,     // and write
    CAP_FOWNER,           // and set modes and times
    CAP_CHOWN,            // and give to others
};

struct Worker {
  uint64_t number;
  uid_t user;
  Pidfd process;
  Fd answers;
  bool opens;  // and so must be done soon
  uint64_t deadlineUs;
  bool answered = false;
};

class PorterLoop {
 public:
  PorterLoop(Fd broker, Fd signals, Fd null)
      : broker(kj::mv(broker)), signals(kj::mv(signals)), null(kj::mv(null)) {}

  void run();

 private:
  Fd broker;
  Fd signals;
  Fd null;
  std::map<pid_t, Worker> workers;

  void waitForEvents();
  int timeoutMs() const;
  void serve(Packet packet);
  bool hasRoomFor(uid_t user) const;
  void start(schema::PorterOrder::Reader order, Fd stream);
  void receiveAnswer(Worker& worker);
  void passOn(Worker& worker, Packet packet);
  void answerOpened(Worker& worker, Packet& packet, schema::OpenedPath::Reader from);
  void fail(uint64_t number, const StepError& error);
  void endLate();
  void reap();
  void endAll();
};

void PorterLoop::run() {
  for (;;)
    waitForEvents();
}

int PorterLoop::timeoutMs() const {
  uint64_t first = NEVER_US;
  for (auto& [pid, worker] : workers)
    if (!worker.answered) first = kj::min(first, worker.deadlineUs);
  if (first == NEVER_US) return -1;
  uint64_t now = monotonicUs();
  return now >= first ? 0 : (first - now) / 1000 + 1;
}

void PorterLoop::waitForEvents() {
  kj::Vector<pollfd> fds;
  fds.add(pollfd{broker, POLLIN, 0});
  fds.add(pollfd{signals, POLLIN, 0});
  kj::Vector<pid_t> asked;
  for (auto& [pid, worker] : workers) {
    if (worker.answered) continue;
    fds.add(pollfd{worker.answers, POLLIN, 0});
    asked.add(pid);
  }
  if (poll(fds.begin(), fds.size(), timeoutMs()) < 0) {
    if (errno == EINTR) return;
    KJ_FAIL_SYSCALL("poll", errno);
  }
  for (size_t i = 0; i < asked.size(); ++i)
    if (fds[i + 2].revents != 0) receiveAnswer(workers.at(asked[i]));
  endLate();
  if (fds[1].revents != 0) reap();
  if (fds[0].revents != 0) {
    KJ_IF_MAYBE (packet, receivePacket(broker)) {
      serve(kj::mv(*packet));
    }
  }
}

void PorterLoop::serve(Packet packet) {
  auto request = packet.getRoot<schema::PorterRequest>();
  if (request.isEndAll()) return endAll();
  auto order = request.getOrder();
  try {
    start(order, packet.fdCount() > 0 ? packet.takeFd(0) : Fd());
  } catch (const StepError& e) {
    fail(order.getNumber(), e);
  } catch (const kj::Exception& e) {
    fail(order.getNumber(), StepError("start worker", 0, e.getDescription()));
  }
}

bool PorterLoop::hasRoomFor(uid_t user) const {
  if (workers.size() >= MOST_WORKERS) return false;
  if (user == 0) return true;
  size_t users = 0, own = 0;
  for (auto& [pid, worker] : workers) {
    if (worker.user != 0) ++users;
    if (worker.user == user) ++own;
  }
  return users < MOST_OF_USERS && own < MOST_OF_A_USER;
}

void PorterLoop::start(schema::PorterOrder::Reader order, Fd stream) {
  const char* what = "start worker";
  if (!hasRoomFor(order.getUid())) {
    throw StepError(what, EAGAIN, "too many are at work, or wait for file systems that hang");
  }
  SocketPair pair = makePacketPair();
  pid_t porter = getpid();
  pid_t pid = step(what, [] { return fork(); });
  if (pid == 0) {
    runPorterWorker(order, {kj::mv(pair.right), kj::mv(stream), null}, porter);
  }
  bool opens = order.isImage() || order.isSource();
  workers.emplace(
      pid, Worker{order.getNumber(), order.getUid(), Pidfd::open(pid), kj::mv(pair.left), opens,
                  opens ? monotonicUs() + OPEN_US : NEVER_US});
}

void PorterLoop::receiveAnswer(Worker& worker) {
  worker.answered = true;
  try {
    KJ_IF_MAYBE (packet, receivePacket(worker.answers)) {
      passOn(worker, kj::mv(*packet));
    }
  } catch (const StepError& e) {
    fail(worker.number, e);
  } catch (const kj::Exception& e) {
    if (e.getType() == kj::Exception::Type::DISCONNECTED) {
      fail(worker.number, StepError("act as the client's user", 0, "the worker was ended"));
    } else {
      fail(worker.number, StepError("read a worker's answer", EPROTO));
    }
  }
  worker.answers = nullptr;
  worker.process.signal(SIGKILL);
}

void PorterLoop::passOn(Worker& worker, Packet packet) {
  // From a process that is the user's, and may have read what others wrote: nothing but an answer
  // of the kind that was asked for goes on, with this worker's number.
  auto from = packet.getRoot<schema::PorterAnswer>();
  if (from.isFailed()) {
    auto failed = from.getFailed();
    return fail(worker.number,
                StepError::reported(failed.getStep(), failed.getErrno(), failed.getDetail()));
  }
  if (worker.opens && from.isOpened()) return answerOpened(worker, packet, from.getOpened());
  if (worker.opens || !from.isDone()) throw StepError("read a worker's answer", EPROTO);
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::PorterAnswer>();
  answer.setNumber(worker.number);
  answer.setDone();
  sendPacket(broker, message);
}

Fd cloneMount(int file) {
  // With what is mounted beneath it: without, files would show that those mounts hide.
  Fd tree(step("clone mount", [&] {
    return open_tree(file, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
  }));
  // Private, because what the host mounts later would come without these attributes.
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  attributes.propagation = MS_PRIVATE;
  step("set attributes of mount", [&] {
    return mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof(attributes));
  });
  return tree;
}

bool belongsToRootAlone(int file) {
  // Without asking a file system that may not answer: the worker has asked it a moment ago.
  struct statx status;
  step("look at what was opened", [&] {
    return statx(file, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &status);
  });
  return status.stx_uid == 0 && (status.stx_mode & (S_IWGRP | S_IWOTH)) == 0;
}

void PorterLoop::answerOpened(Worker& worker, Packet& packet, schema::OpenedPath::Reader from) {
  Fd file = packet.takeFd(0);
  Fd tree = cloneMount(file);
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::PorterAnswer>();
  answer.setNumber(worker.number);
  answer.setOpened(from);
  answer.getOpened().setOwnedByRoot(belongsToRootAlone(file));
  kj::Vector<Fd> files;
  kj::Vector<int> fds;
  fds.add(tree);
  for (size_t i = 1; i < packet.fdCount(); ++i)
    fds.add(files.add(packet.takeFd(i)));
  sendPacket(broker, message, fds);
}

void PorterLoop::fail(uint64_t number, const StepError& error) {
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::PorterAnswer>();
  answer.setNumber(number);
  auto failed = answer.initFailed();
  failed.setStep(error.step());
  failed.setErrno(error.error());
  failed.setDetail(error.detail());
  sendPacket(broker, message);
}

void PorterLoop::endLate() {
  uint64_t now = monotonicUs();
  for (auto& [pid, worker] : workers) {
    if (worker.answered || worker.deadlineUs > now) continue;
    worker.answered = true;
    worker.answers = nullptr;
    worker.process.signal(SIGKILL);
    fail(worker.number, StepError("open", ETIMEDOUT, "its file system does not answer"));
  }
}

void PorterLoop::reap() {
  signalfd_siginfo info;
  while (read(signals, &info, sizeof(info)) > 0) {
  }
  for (;;) {
    pid_t pid = waitpid(-1, nullptr, WNOHANG);
    if (pid <= 0) return;
    auto found = workers.find(pid);
    if (found == workers.end()) continue;
    if (!found->second.answered) receiveAnswer(found->second);
    workers.erase(found);
  }
}

void PorterLoop::endAll() {
  for (auto& [pid, worker] : workers) {
    worker.answered = true;
    worker.answers = nullptr;
    worker.process.signal(SIGKILL);
  }
}

}  // namespace

void runPorter(Fd broker) {
  // Signals of the server's process group are the broker's business; this one ends with the broker.
  sigset_t mask;
  sigfillset(&mask);
  KJ_SYSCALL(sigprocmask(SIG_SETMASK, &mask, nullptr));
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  int signals, null;
  KJ_SYSCALL(signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  KJ_SYSCALL(null = open("/dev/null", O_RDWR | O_CLOEXEC));
  prctl(PR_SET_NAME, "warden-porter");
  limitCapabilities(CAPABILITIES);
  setNoNewPrivileges();
  porterFilter().install();
  try {
    PorterLoop(kj::mv(broker), Fd(signals), Fd(null)).run();
  } catch (const kj::Exception& e) {
    // The end of the connection is the order to end, also for workers (PR_SET_PDEATHSIG).
    if (e.getType() != kj::Exception::Type::DISCONNECTED) throw;
  }
  _exit(0);
}

}  // namespace warden::privhelper
