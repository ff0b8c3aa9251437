#include "privhelper/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/packet.h"
#include "base/privilege.h"
#include "privhelper/container-init.h"
#include "privhelper/filters.h"
#include "privhelper/step.h"
#include "schema/launcher.capnp.h"

namespace warden::privhelper {

namespace {

constexpr int FIRST_FRONTEND_FD = 3;
constexpr int ANSWER_TIMEOUT_MS = 30000;

// Of a container's first process. The cgroup namespace follows when it has joined its cgroups.
constexpr uint64_t CONTAINER_NAMESPACES =
    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;

constexpr int CAPABILITIES[] = {
    CAP_SETUID,      // the frontend becomes its user
    CAP_SETGID,      // likewise
    CAP_SYS_CHROOT,  // the frontend's root directory is the host's
    CAP_SETPCAP,     // the frontend's bounding set is emptied
};

struct Child {
  pid_t pid;  // 0 in the child
  Fd pidfd;
};

Child cloneProcess(uint64_t flags, kj::Maybe<int> cgroup) {
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = flags | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  KJ_IF_MAYBE (directory, cgroup) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<uint64_t>(*directory);
  }
  pid_t pid = step("clone", [&] {
    return static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof(arguments)));
  });
  return Child{pid, pid == 0 ? Fd() : Fd(pidfd)};
}

class LauncherLoop {
 public:
  LauncherLoop(LauncherResources resources, kj::Array<kj::Array<sock_filter>> filters)
      : resources(kj::mv(resources)), filters(kj::mv(filters)) {}

  void run();

 private:
  LauncherResources resources;
  kj::Array<kj::Array<sock_filter>> filters;  // one for each profile

  void serve(Packet packet);
  Child launch(uint32_t profile, Packet& packet);
  Child holdUserNamespace();
  Child startFrontend(schema::StartFrontend::Reader order, Packet& packet);
  [[noreturn]] void becomeFrontend(kj::ArrayPtr<char* const> arguments,
                                   kj::ArrayPtr<char* const> environment, kj::ArrayPtr<Fd> fds);
  void answer(const Child& child);
  void closeLauncherDescriptors();
};

void reap() {
  for (;;) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return;
  }
}

void LauncherLoop::run() {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  int raw;
  KJ_SYSCALL(raw = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  Fd signals(raw);
  for (;;) {
    pollfd fds[] = {{resources.broker, POLLIN, 0}, {signals, POLLIN, 0}};
    if (poll(fds, 2, -1) < 0 && errno != EINTR) KJ_FAIL_SYSCALL("poll", errno);
    if (fds[1].revents != 0) {
      signalfd_siginfo info;
      while (read(signals, &info, sizeof(info)) > 0) {
      }
      reap();
    }
    if (fds[0].revents != 0) {
      KJ_IF_MAYBE (packet, receivePacket(resources.broker)) {
        serve(kj::mv(*packet));
      }
    }
  }
}

void LauncherLoop::serve(Packet packet) {
  try {
    auto request = packet.getRoot<schema::LauncherRequest>();
    switch (request.which()) {
      case schema::LauncherRequest::LAUNCH:
        return answer(launch(request.getLaunch(), packet));
      case schema::LauncherRequest::HOLD_USER_NAMESPACE:
        return answer(holdUserNamespace());
      case schema::LauncherRequest::START_FRONTEND:
        return answer(startFrontend(request.getStartFrontend(), packet));
    }
  } catch (const StepError& e) {
    capnp::MallocMessageBuilder message;
    auto failed = message.initRoot<schema::LauncherReply>().initFailed();
    failed.setStep(e.step());
    failed.setErrno(e.error());
    sendPacket(resources.broker, message);
  }
}

void LauncherLoop::answer(const Child& child) {
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::LauncherReply>().setStarted(child.pid);
  int fd = child.pidfd;
  sendPacket(resources.broker, message, kj::arrayPtr(&fd, 1));
}

// In a child: what it must not hold, so that the broker notices the launcher's end, and nothing in
// a container's namespaces has a descriptor of the host's files.
void LauncherLoop::closeLauncherDescriptors() {
  resources.broker = nullptr;
  resources.hostRoot = nullptr;
  resources.frontend = nullptr;
}

Child LauncherLoop::launch(uint32_t profile, Packet& packet) {
  if (profile >= filters.size()) throw StepError("choose profile", EINVAL);
  Fd setup = packet.takeFd(0);
  Fd cgroup;
  kj::Maybe<int> into;
  if (packet.fdCount() > 1) {
    cgroup = packet.takeFd(1);
    into = cgroup.get();
  }
  Child child = cloneProcess(CONTAINER_NAMESPACES, into);
  if (child.pid == 0) {
    closeLauncherDescriptors();
    runContainerInit({kj::mv(setup), resources.wshd, filters[profile]});
  }
  return child;
}

Child LauncherLoop::holdUserNamespace() {
  pid_t launcher = getpid();
  Child child = cloneProcess(CLONE_NEWUSER, nullptr);
  if (child.pid == 0) {
    // Its end is the broker's signal, or the launcher's end.
    closeLauncherDescriptors();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != launcher) _exit(1);
    for (;;)
      pause();
  }
  return child;
}

Child LauncherLoop::startFrontend(schema::StartFrontend::Reader order, Packet& packet) {
  // Everything that allocates comes before the clone.
  auto pointers = [](capnp::List<capnp::Text>::Reader list) {
    kj::Vector<char*> vector;
    for (auto text : list)
      vector.add(const_cast<char*>(text.cStr()));
    vector.add(nullptr);
    return vector;
  };
  auto arguments = pointers(order.getArguments());
  auto environment = pointers(order.getEnvironment());
  kj::Vector<Fd> fds;
  for (size_t i = 0; i < packet.fdCount(); ++i)
    fds.add(packet.takeFd(i));

  Child child = cloneProcess(0, nullptr);
  if (child.pid == 0) becomeFrontend(arguments, environment, fds);
  return child;
}

void LauncherLoop::becomeFrontend(kj::ArrayPtr<char* const> arguments,
                                  kj::ArrayPtr<char* const> environment, kj::ArrayPtr<Fd> fds) {
  try {
    KJ_SYSCALL(fchdir(resources.hostRoot));
    KJ_SYSCALL(chroot("."));
    becomeUser(resources.frontendUid, resources.frontendGid);
    dropAllCapabilities();

    // Out of the way of the places that are about to be filled, then into them.
    constexpr int HIGH = FIRST_FRONTEND_FD + MAX_PACKET_FDS;
    int program;
    KJ_SYSCALL(program = fcntl(resources.frontend, F_DUPFD_CLOEXEC, HIGH));
    for (Fd& fd : fds) {
      int high;
      KJ_SYSCALL(high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH));
      fd.release();
      fd = Fd(high);
    }
    for (size_t i = 0; i < fds.size(); ++i)
      KJ_SYSCALL(dup2(fds[i], FIRST_FRONTEND_FD + i));
    KJ_SYSCALL(close_range(FIRST_FRONTEND_FD + fds.size(), ~0u, CLOSE_RANGE_CLOEXEC));

    sigset_t none;
    sigemptyset(&none);
    KJ_SYSCALL(sigprocmask(SIG_SETMASK, &none, nullptr));
    KJ_SYSCALL(
        syscall(SYS_execveat, program, "", arguments.begin(), environment.begin(), AT_EMPTY_PATH));
  } catch (const kj::Exception& e) {
    dprintf(STDERR_FILENO, "warden-privhelper: starting the frontend: %s\n",
            e.getDescription().cStr());
  }
  _exit(127);
}

}  // namespace

void runLauncher(LauncherResources resources) {
  // One for each profile, before anybody asks: what a filter is made of never follows from a
  // request.
  auto filters = KJ_MAP(profile, resources.profiles) {
    return containerFilter(profile).compile();
  };
  // Signals of the server's process group are the broker's business; this one ends with the broker.
  sigset_t all;
  sigfillset(&all);
  KJ_SYSCALL(sigprocmask(SIG_SETMASK, &all, nullptr));
  prctl(PR_SET_NAME, "warden-launcher");
  umask(0);
  limitCapabilities(CAPABILITIES);
  setNoNewPrivileges();
  argumentFilter().install();
  launcherFilter(resources.profiles).install();
  try {
    LauncherLoop(kj::mv(resources), kj::mv(filters)).run();
  } catch (const kj::Exception& e) {
    // The end of the connection is the order to end; containers live on.
    _exit(e.getType() == kj::Exception::Type::DISCONNECTED ? 0 : 1);
  }
  _exit(0);
}

void Launcher::requestLaunch(int setup, kj::Maybe<int> cgroup, uint32_t profile) {
  faultPoint("launch");
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::LauncherRequest>().setLaunch(profile);
  int fds[2] = {setup, -1};
  size_t count = 1;
  KJ_IF_MAYBE (directory, cgroup) {
    fds[count++] = *directory;
  }
  sendPacket(connection, message, kj::arrayPtr(fds, count));
}

Pidfd Launcher::awaitLaunch() {
  return awaitStarted();
}

Pidfd Launcher::holdUserNamespace() {
  faultPoint("make user namespace for mapping ids");
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::LauncherRequest>().setHoldUserNamespace();
  sendPacket(connection, message);
  return awaitStarted();
}

Pidfd Launcher::startFrontend(kj::ArrayPtr<const kj::String> arguments,
                              kj::ArrayPtr<const kj::String> environment,
                              kj::ArrayPtr<const int> fds) {
  capnp::MallocMessageBuilder message;
  auto order = message.initRoot<schema::LauncherRequest>().initStartFrontend();
  auto argumentList = order.initArguments(arguments.size());
  for (size_t i = 0; i < arguments.size(); ++i)
    argumentList.set(i, arguments[i]);
  auto environmentList = order.initEnvironment(environment.size());
  for (size_t i = 0; i < environment.size(); ++i)
    environmentList.set(i, environment[i]);
  sendPacket(connection, message, fds);
  return awaitStarted();
}

Pidfd Launcher::awaitStarted() {
  Packet packet = awaitAnswer();
  auto reply = packet.getRoot<schema::LauncherReply>();
  if (reply.isFailed()) {
    auto failed = reply.getFailed();
    throw StepError(failed.getStep(), failed.getErrno());
  }
  return Pidfd(reply.getStarted(), packet.takeFd(0));
}

Packet Launcher::awaitAnswer() {
  // An answer that comes late would be taken for the next one's, and give a container the process
  // of another: there is no going on.
  KJ_ON_SCOPE_FAILURE(connection = nullptr);
  pollfd p{connection, POLLIN, 0};
  int n;
  KJ_SYSCALL(n = poll(&p, 1, ANSWER_TIMEOUT_MS));
  KJ_REQUIRE(n == 1, "the launcher does not answer");
  KJ_IF_MAYBE (packet, receivePacket(connection)) {
    return kj::mv(*packet);
  }
  KJ_FAIL_ASSERT("the launcher's socket is blocking");
}

}  // namespace warden::privhelper
