#include "wshd/server.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/progress-pipe.h"

namespace warden {

namespace {

// Longer than the kernel's tick of 4 ms (CONFIG_HZ=250): what is due before that takes a timer
// interrupt of its own, which costs a virtual machine two of its hypervisor's.
constexpr int MAX_HOLD_MS = 5;

// More ends may come than can be reaped: processes of the container can make children that are
// wshd's own (CLONE_PARENT of clone(2)), which end at once.
constexpr int ENDS_A_TURN = 16;

constexpr size_t MAX_JOBS = 4096;
constexpr size_t FDS_PER_JOB = 2;
constexpr size_t OTHER_FDS = 32 + CopyTable::MAX_COPIES;
// Standard descriptors, sockets, what one packet and one start of a job take, reports of copies.

size_t jobLimit(const InitState& init) {
  // wshd's own limit is the hard one (init.h).
  rlim_t files = init.openFiles.rlim_max;
  if (files <= OTHER_FDS) return 1;
  return kj::min(MAX_JOBS, (files - OTHER_FDS) / FDS_PER_JOB);
}

void fill(schema::Job::Builder out, const JobRecord& job) {
  out.setJobId(job.id);
  if (job.running) {
    out.setRunning();
  } else if (WIFSIGNALED(job.status)) {
    out.setSignal(static_cast<uint8_t>(WTERMSIG(job.status)));
  } else {
    out.setExitCode(static_cast<uint8_t>(WEXITSTATUS(job.status)));
  }
}

void fill(schema::WshdMessage::Builder reply, const Failure& failure) {
  auto out = reply.initFailed();
  out.setStep(failure.step);
  out.setErrno(failure.error);
}

bool isEmpty(int pipe) {
  int bytes;
  return ioctl(pipe, FIONREAD, &bytes) == 0 && bytes == 0;
}

void answerKill(int result, schema::WshdMessage::Builder reply) {
  if (result == 0 || errno == ESRCH) {
    reply.setDone();
  } else {
    fill(reply, Failure{"kill", errno});
  }
}

}  // namespace

Server::Server(Fd connectionParam, Fd listenerParam, Fd childSignalsParam, const InitState& init)
    : connection(kj::mv(connectionParam)),
      listener(kj::mv(listenerParam)),
      childSignals(kj::mv(childSignalsParam)),
      init(init),
      jobs(jobLimit(init)) {
  setNonblocking(connection);
  setNonblocking(listener);
  allowLargestPacket(connection);
}

void Server::run() {
  for (;;) {
    try {
      serveOnce();
    } catch (...) {
      dropConnection();
    }
  }
}

void Server::serveOnce() {
  short wanted = unsent == nullptr || held ? POLLIN : POLLOUT;
  if (jobs.nextEnded() != nullptr || copies.nextEnded() != nullptr) wanted |= POLLOUT;
  pollfd p[] = {{childSignals, POLLIN, 0}, {listener, POLLIN, 0}, {connection, wanted, 0}};
  int longest = held ? MAX_HOLD_MS : -1;
  if (poll(p, 3, moreEnds ? 0 : longest) < 0) return;
  // Before reaping, which takes the kernel a while; a frontend that waits is told at once.
  if (held) release();
  if (p[0].revents != 0 || moreEnds) reapChildren();
  if (connection != nullptr && unsent == nullptr) sendEvents();
  if (p[1].revents != 0) {
    acceptConnection();
  } else if (p[2].revents != 0) {
    serveConnection(p[2].revents);
  }
}

void Server::reapChildren() {
  // One signal is pending at most, and it may stand for many ends.
  signalfd_siginfo ignored;
  if (read(childSignals, &ignored, sizeof(ignored)) < 0 && !moreEnds) return;
  moreEnds = false;
  for (int i = 0; i < ENDS_A_TURN; ++i) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG | __WALL);
    if (pid <= 0) return;
    if (!copies.childEnded(pid, status)) jobs.childEnded(pid, status);
  }
  moreEnds = true;
}

void Server::acceptConnection() {
  int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  dropConnection();
  connection = Fd(fd);
  allowLargestPacket(connection);
  jobs.announceNothing();
}

void Server::dropConnection() {
  connection = nullptr;
  unsent = nullptr;
  held = false;
  copies.abandon();
  meter = nullptr;
}

void Server::serveConnection(short events) {
  if (!sendUnsent() || !sendEvents()) return;
  if ((events & (POLLIN | POLLHUP | POLLERR)) == 0) return;
  KJ_IF_MAYBE (packet, receivePacket(connection)) handle(kj::mv(*packet));
}

void Server::release() {
  held = false;
  KJ_IF_MAYBE (reply, unsent) addEnd(**reply);
  sendUnsent();
  // Where one job was run another may follow. What cannot be made now, that one makes itself.
  pipes.make();
}

void Server::addEnd(Reply& reply) {
  KJ_IF_MAYBE (job, jobs.find(KJ_ASSERT_NONNULL(reply.mayWaitFor))) {
    if (job->running) {
      KJ_IF_MAYBE (status, endOf(job->pid)) jobs.childEnded(job->pid, *status);
    }
    if (job->running || job->announced) return;
    fill(reply.message.getRoot<schema::WshdMessage>().initEnded(), *job);
    jobs.announced(*job);
    if (isEmpty(job->output) && isEmpty(job->errors)) reply.fdCount = 0;
  }
}

bool Server::sendUnsent() {
  KJ_IF_MAYBE (waiting, unsent) {
    Reply& reply = **waiting;
    if (!sendPacket(connection, reply.message, kj::arrayPtr(reply.fds, reply.fdCount))) {
      return false;
    }
    // The kernel wakes the frontend where this process runs, in the belief that a sender goes to
    // sleep. What is left to be done here can wait for it.
    if (reply.mayWaitFor != nullptr) sched_yield();
    unsent = nullptr;
  }
  return true;
}

bool Server::sendEvents() {
  for (;;) {
    KJ_IF_MAYBE (job, jobs.nextEnded()) {
      capnp::MallocMessageBuilder message(16);
      fill(message.initRoot<schema::WshdMessage>().initExited(), *job);
      if (!sendPacket(connection, message)) return false;
      jobs.announced(*job);
    } else {
      return sendEndedCopies();
    }
  }
}

bool Server::sendEndedCopies() {
  for (;;) {
    KJ_IF_MAYBE (copy, copies.nextEnded()) {
      capnp::MallocMessageBuilder message(64);
      auto reply = message.initRoot<schema::WshdMessage>();
      reply.setSequence(copy->sequence);
      KJ_IF_MAYBE (failure, copy->failure) {
        auto out = reply.initFailed();
        out.setStep(failure->step);
        out.setErrno(failure->error);
      } else {
        reply.setDone();
      }
      if (!sendPacket(connection, message)) return false;
      copies.forget(*copy);
    } else {
      return true;
    }
  }
}

void Server::handle(Packet packet) {
  auto request = packet.getRoot<schema::WshdRequest>();
  if (request.getSequence() == 0) {
    KJ_REQUIRE(request.isForget(), "a request has a sequence number");
    return jobs.forget(request.getForget());
  }
  auto out = kj::heap<Reply>();
  auto reply = out->message.initRoot<schema::WshdMessage>();
  reply.setSequence(request.getSequence());
  switch (request.which()) {
    case schema::WshdRequest::SPAWN:
      handleSpawn(packet, request.getSpawn(), reply, *out);
      break;
    case schema::WshdRequest::SIGNAL_ALL:
      signalAll(request.getSignalAll(), reply);
      break;
    case schema::WshdRequest::SIGNAL_JOB:
      signalJob(request.getSignalJob().getJobId(), request.getSignalJob().getSignal(), reply);
      break;
    case schema::WshdRequest::FORGET:
      jobs.forget(request.getForget());
      reply.setDone();
      break;
    case schema::WshdRequest::LIST:
      listJobs(reply);
      break;
    case schema::WshdRequest::ATTACH:
      handleAttach(request.getAttach(), reply, *out);
      break;
    case schema::WshdRequest::COPY:
      if (handleCopy(packet, request, reply)) return;
      break;
    case schema::WshdRequest::CANCEL_COPY:
      copies.cancel(request.getCancelCopy());
      reply.setDone();
      break;
    case schema::WshdRequest::METER_COPY:
      meterCopy(packet, reply);
      break;
    case schema::WshdRequest::PING:
      reply.setDone();
      break;
    default:
      fill(reply, Failure{"read the request: it is unknown to this wshd", ENOSYS});
  }
  answer(kj::mv(out));
}

void Server::answer(kj::Own<Reply> reply) {
  unsent = kj::mv(reply);
  KJ_IF_MAYBE (job, KJ_ASSERT_NONNULL(unsent)->mayWaitFor) {
    held = KJ_ASSERT_NONNULL(jobs.find(*job)).running;
    if (!held) release();
  } else {
    sendUnsent();
  }
}

void Server::handleSpawn(Packet& packet, schema::SpawnJob::Reader job,
                         schema::WshdMessage::Builder reply, Reply& out) {
  auto planned = planSpawn(job);
  if (planned.is<Failure>()) return fill(reply, planned.get<Failure>());
  auto& plan = planned.get<SpawnPlan>();
  if (!init.privilegedJobs && hasPrivilege(plan)) {
    return fill(reply,
                Failure{"start a privileged job: the container was made without them", EPERM});
  }
  if (packet.fdCount() != 1) return fill(reply, Failure{"take the script's descriptor", EBADF});
  if (jobs.find(plan.jobId) != nullptr) return fill(reply, Failure{"enter the job id", EEXIST});
  if (!jobs.reserve()) return fill(reply, Failure{"enter the job: there are too many", EAGAIN});

  Fd script = packet.takeFd(0);
  auto started = startShell(plan, script, init, stack, kj::mv(pipes));
  if (started.is<Failure>()) return fill(reply, started.get<Failure>());
  auto& shell = started.get<Shell>();
  jobs.add(plan.jobId, shell.pid, kj::mv(shell.output), kj::mv(shell.errors));
  KJ_IF_MAYBE (status, shell.status) jobs.childEnded(shell.pid, *status);
  handleAttach(plan.jobId, reply, out);
  if (plan.replyMayWait) {
    out.mayWaitFor = plan.jobId;
    out.script = kj::mv(script);
  }
}

void Server::handleAttach(uint32_t jobId, schema::WshdMessage::Builder reply, Reply& out) {
  KJ_IF_MAYBE (job, jobs.find(jobId)) {
    reply.setSpawned(job->pid);
    out.fds[0] = job->output;
    out.fds[1] = job->errors;
    out.fdCount = 2;
  } else {
    fill(reply, Failure{"find the job", ESRCH});
  }
}

bool Server::handleCopy(Packet& packet, schema::WshdRequest::Reader request,
                        schema::WshdMessage::Builder reply) {
  Fd itsMeter = kj::mv(meter);
  auto planned = planCopy(request.getCopy());
  if (planned.is<Failure>()) {
    fill(reply, planned.get<Failure>());
    return false;
  }
  if (packet.fdCount() != 1) {
    fill(reply, Failure{"take the stream's descriptor", EBADF});
    return false;
  }
  KJ_IF_MAYBE (failure, copies.start(request.getSequence(), planned.get<CopyPlan>(),
                                     packet.takeFd(0), kj::mv(itsMeter), init)) {
    fill(reply, *failure);
    return false;
  }
  return true;
}

void Server::meterCopy(Packet& packet, schema::WshdMessage::Builder reply) {
  if (packet.fdCount() != 1) return fill(reply, Failure{"take the pipe's descriptor", EBADF});
  Fd pipe = packet.takeFd(0);
  if (!isProgressPipe(pipe)) return fill(reply, Failure{"check the pipe's descriptor", EINVAL});
  meter = kj::mv(pipe);
  reply.setDone();
}

void Server::signalAll(int signal, schema::WshdMessage::Builder reply) {
  if (!isSignal(signal)) return fill(reply, Failure{"check the signal", EINVAL});
  // Anywhere else but in its own pid namespace, -1 would be every process of the host.
  if (getpid() != 1) return fill(reply, Failure{"signal all: wshd is not process 1", EPERM});
  if (kill(-1, signal) < 0) return fill(reply, Failure{"signal all", errno});
  reply.setDone();
}

void Server::signalJob(uint32_t jobId, int signal, schema::WshdMessage::Builder reply) {
  if (!isSignal(signal)) return fill(reply, Failure{"check the signal", EINVAL});
  KJ_IF_MAYBE (job, jobs.find(jobId)) {
    // A job counts as running until it is reaped, so that its number is still its own.
    if (job->running) return answerKill(kill(-job->pid, signal), reply);
  }
  reply.setDone();
}

void Server::listJobs(schema::WshdMessage::Builder reply) {
  auto all = jobs.all();
  auto list = reply.initJobs(all.size());
  for (uint32_t i = 0; i < all.size(); ++i)
    fill(list[i], all[i]);
}

}  // namespace warden
