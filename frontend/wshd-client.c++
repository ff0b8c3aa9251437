#include "frontend/wshd-client.h"

#include <errno.h>
#include <kj/debug.h>
#include <sys/stat.h>

#include "frontend/client-error.h"
#include "frontend/copy-failure.h"

namespace warden::frontend {

namespace {

constexpr uint32_t ENDED_BY_SIGNAL = 255;

constexpr auto FORGET_TIME = 10 * kj::MILLISECONDS;
constexpr size_t MAX_TO_FORGET = 64;

// First segments as large as such messages are: the default, 8 KiB, is cleared for each.
constexpr unsigned SPAWN_WORDS = 128;
constexpr unsigned SMALL_WORDS = 16;

// The event loop can watch any pipe; another kind of descriptor would come from a wshd taken over.
Fd takePipe(Packet& packet, size_t index) {
  auto fd = packet.takeFd(index);
  struct stat status;
  KJ_SYSCALL(fstat(fd, &status));
  KJ_REQUIRE(S_ISFIFO(status.st_mode), "wshd sent a descriptor that is no pipe");
  return fd;
}

// systemd.exec(5) has one setting for each limit, named like it.
kj::String limitRemedy(kj::StringPtr limit) {
  auto setting = kj::str(limit);
  for (char& c : setting)
    if ('a' <= c && c <= 'z') c += 'A' - 'a';
  return kj::str(": the request is for more ", limit,
                 " than the hard limit that the server was started with; ask for less, or raise "
                 "the server's limit (Limit",
                 setting, "= of its systemd unit) and restart it");
}

// What a client or the operator can do about it; may be empty.
kj::String remedy(schema::JobFailure::Reader failure) {
  static constexpr kj::StringPtr SET_LIMIT = "setrlimit "_kj;
  auto step = failure.getStep();
  switch (failure.getErrno()) {
    case EPERM:
      if (!step.startsWith(SET_LIMIT)) return nullptr;
      return limitRemedy(kj::heapString(step.slice(SET_LIMIT.size())));
    case EAGAIN:
      return kj::str(
          ": there are as many processes as the container, or the job's user in it, may have; end "
          "some, ask for more nproc, or raise privhelper.pids_limit of the server's configuration");
    case ENOENT:
      if (!step.startsWith("execve ")) return nullptr;
      return kj::str(
          ": the root file system has no shell, or not the loader that it names; complete it "
          "(warden-rootfs check says what is missing)");
    default:
      return nullptr;
  }
}

StartedJob readStarted(Packet&& packet, uint32_t jobId) {
  auto message = packet.getRoot<schema::WshdMessage>();
  if (message.isFailed()) {
    auto failure = message.getFailed();
    kj::throwFatalException(clientErrorOf("could not start the job: ", failure.getStep(), ": ",
                                          errnoText(failure.getErrno()), remedy(failure)));
  }
  KJ_REQUIRE(message.isSpawned(), "wshd's reply does not fit the request");
  // Without output there is nothing to take; `ended` has been told of already.
  bool isOver = message.hasEnded() && message.getEnded().getJobId() == jobId;
  if (isOver && packet.fdCount() == 0) return {};
  auto out = takePipe(packet, 0);
  return {kj::mv(out), takePipe(packet, 1)};
}

void fill(schema::SpawnJob::Builder spawn, const JobStart& start) {
  spawn.setJobId(start.jobId);
  spawn.setUid(start.uid);
  spawn.setGid(start.gid);
  spawn.setGroups(start.groups);
  spawn.setPrivileged(start.privileged);
  spawn.setReplyMayWait(start.replyMayWait);
  spawn.setHome(start.home.asBytes());
  auto environment = spawn.initEnvironment(start.environment.size());
  for (size_t i = 0; i < start.environment.size(); ++i) {
    environment.set(i, start.environment[i].asBytes());
  }
  auto limits = spawn.initLimits(start.limits.size());
  for (size_t i = 0; i < start.limits.size(); ++i) {
    limits[i].setResource(start.limits[i].resource);
    limits[i].setValue(start.limits[i].value);
    limits[i].setClamp(start.limits[i].clamp);
  }
}

}  // namespace

WshdClient::WshdClient(kj::UnixEventPort& port, kj::Timer& timer, Fd socket, Listener& listener)
    : timer(timer), link(port, timer, kj::mv(socket)), listener(listener), watch(timer, *this) {}

kj::Promise<void> WshdClient::run() {
  return link.receive([this](Packet packet) { dispatch(kj::mv(packet)); })
      .catch_([this](kj::Exception&& reason) -> kj::Promise<void> {
        auto error = clientErrorOf(
            "the connection to the container's first process is lost: the container can only be "
            "destroyed");
        replies.failAll(error);
        lost = kj::mv(error);
        return kj::mv(reason);
      });
}

void WshdClient::dispatch(Packet packet) {
  watch.heard();
  auto message = packet.getRoot<schema::WshdMessage>();
  if (message.getSequence() == 0) {
    KJ_REQUIRE(message.isExited(), "wshd sent an unknown event");
    jobEnded(message.getExited());
    return;
  }
  // The end comes first, so that the job is found complete once it has been started.
  if (message.hasEnded()) jobEnded(message.getEnded());
  auto sequence = message.getSequence();
  replies.settle(sequence, kj::mv(packet));
}

namespace {

uint32_t statusOf(schema::Job::Reader job) {
  return job.isExitCode() ? job.getExitCode() : ENDED_BY_SIGNAL;
}

}  // namespace

void WshdClient::jobEnded(schema::Job::Reader job) {
  KJ_REQUIRE(!job.isRunning(), "wshd reported the end of a job that runs");
  listener.jobExited(job.getJobId(), statusOf(job));
}

kj::Promise<Packet> WshdClient::request(kj::Own<capnp::MallocMessageBuilder> message,
                                        uint64_t sequence, kj::ArrayPtr<const int> fds) {
  KJ_IF_MAYBE (error, lost) {
    return kj::cp(*error);
  }
  if (watch.isSilent()) return watch.error();
  return kj::evalNow([&]() {
    link.send(kj::mv(message), fds);
    watch.asked();
    return replies.await(sequence);
  });
}

void WshdClient::post(kj::Own<capnp::MallocMessageBuilder> message) {
  if (lost != nullptr) return;
  // A peer that is gone or stuck is noticed by run(); these requests have no answer of their own.
  kj::runCatchingExceptions([&]() { link.send(kj::mv(message)); });
}

void WshdClient::postAnswered(kj::Own<capnp::MallocMessageBuilder> message, uint64_t sequence,
                              kj::ArrayPtr<const int> fds) {
  if (lost != nullptr) return;
  kj::runCatchingExceptions([&]() {
    link.send(kj::mv(message), fds);
    auto answer = replies.await(sequence);
    watch.asked();
  });
}

void WshdClient::fellSilent() {
  replies.failAll(watch.error());
  listener.wshdFellSilent();
}

kj::Promise<StartedJob> WshdClient::spawn(JobStart&& start) {
  auto message = kj::heap<capnp::MallocMessageBuilder>(SPAWN_WORDS);
  auto root = message->initRoot<schema::WshdRequest>();
  auto sequence = replies.nextSequence();
  root.setSequence(sequence);
  fill(root.initSpawn(), start);
  int script = start.script;
  return request(kj::mv(message), sequence, kj::arrayPtr(&script, 1))
      .then([jobId = start.jobId](Packet packet) { return readStarted(kj::mv(packet), jobId); });
}

void WshdClient::meterCopy(int pipe) {
  auto message = kj::heap<capnp::MallocMessageBuilder>(SMALL_WORDS);
  auto root = message->initRoot<schema::WshdRequest>();
  auto sequence = replies.nextSequence();
  root.setSequence(sequence);
  root.setMeterCopy();
  // Where it is not known (a container of an earlier release), the copy tells nothing.
  postAnswered(kj::mv(message), sequence, kj::arrayPtr(&pipe, 1));
}

StartedCopy WshdClient::copy(CopyOrder&& order) {
  if (order.meter != nullptr) meterCopy(order.meter);
  auto message = kj::heap<capnp::MallocMessageBuilder>();
  auto root = message->initRoot<schema::WshdRequest>();
  auto sequence = replies.nextSequence();
  root.setSequence(sequence);
  auto copy = root.initCopy();
  copy.setUid(order.uid);
  copy.setGid(order.gid);
  copy.setGroups(order.groups);
  copy.setHome(order.home.asBytes());
  copy.setPath(order.path);
  if (order.direction == CopyOrder::PACK) {
    copy.setPack();
  } else {
    copy.setUnpack();
  }
  int stream = order.stream;
  auto ended = request(kj::mv(message), sequence, kj::arrayPtr(&stream, 1)).then([](Packet packet) {
    auto reply = packet.getRoot<schema::WshdMessage>();
    if (reply.isFailed()) {
      auto failure = reply.getFailed();
      auto what = failure.getErrno() == 0
                      ? kj::str(failure.getStep())
                      : kj::str(failure.getStep(), ": ", errnoText(failure.getErrno()));
      kj::throwFatalException(copyFailure("in the container", what, failure.getErrno()));
    }
    KJ_REQUIRE(reply.isDone(), "wshd's reply does not fit the request");
  });
  return {sequence, kj::mv(ended)};
}

void WshdClient::cancelCopy(uint64_t number) {
  auto message = kj::heap<capnp::MallocMessageBuilder>();
  auto root = message->initRoot<schema::WshdRequest>();
  root.setSequence(replies.nextSequence());
  root.setCancelCopy(number);
  post(kj::mv(message));
}

kj::Promise<kj::Array<WshdClient::KnownJob>> WshdClient::list() {
  auto message = kj::heap<capnp::MallocMessageBuilder>();
  auto root = message->initRoot<schema::WshdRequest>();
  auto sequence = replies.nextSequence();
  root.setSequence(sequence);
  root.setList();
  return request(kj::mv(message), sequence).then([](Packet packet) {
    auto reply = packet.getRoot<schema::WshdMessage>();
    KJ_REQUIRE(reply.isJobs(), "wshd's reply does not fit the request");
    auto jobs = reply.getJobs();
    auto known = kj::heapArrayBuilder<KnownJob>(jobs.size());
    for (auto job : jobs) {
      std::optional<uint32_t> status;
      if (!job.isRunning()) status = statusOf(job);
      known.add(KnownJob{job.getJobId(), status});
    }
    return known.finish();
  });
}

kj::Promise<StartedJob> WshdClient::attach(uint32_t jobId) {
  auto message = kj::heap<capnp::MallocMessageBuilder>();
  auto root = message->initRoot<schema::WshdRequest>();
  auto sequence = replies.nextSequence();
  root.setSequence(sequence);
  root.setAttach(jobId);
  return request(kj::mv(message), sequence).then([jobId](Packet packet) {
    return readStarted(kj::mv(packet), jobId);
  });
}

void WshdClient::ask() {
  auto message = kj::heap<capnp::MallocMessageBuilder>(SMALL_WORDS);
  auto root = message->initRoot<schema::WshdRequest>();
  auto sequence = replies.nextSequence();
  root.setSequence(sequence);
  root.setPing();
  postAnswered(kj::mv(message), sequence);
}

kj::Promise<bool> WshdClient::signalAll(int signal) {
  auto message = kj::heap<capnp::MallocMessageBuilder>(SMALL_WORDS);
  auto root = message->initRoot<schema::WshdRequest>();
  auto sequence = replies.nextSequence();
  root.setSequence(sequence);
  root.setSignalAll(signal);
  KJ_IF_MAYBE (error, lost) {
    return kj::cp(*error);
  }
  // Also to one that is silent: it is carried out when that answers again.
  auto answered = kj::evalNow([&]() {
    link.send(kj::mv(message));
    watch.asked();
    return replies.await(sequence);
  });
  return answered.then([](Packet packet) {
    auto reply = packet.getRoot<schema::WshdMessage>();
    return !reply.isFailed() || reply.getFailed().getErrno() != ESRCH;
  });
}

void WshdClient::signalJob(uint32_t jobId, int signal) {
  auto message = kj::heap<capnp::MallocMessageBuilder>(SMALL_WORDS);
  auto root = message->initRoot<schema::WshdRequest>();
  root.setSequence(replies.nextSequence());
  auto request = root.initSignalJob();
  request.setJobId(jobId);
  request.setSignal(signal);
  post(kj::mv(message));
}

void WshdClient::forgetNow(uint32_t jobId) {
  auto message = kj::heap<capnp::MallocMessageBuilder>(SMALL_WORDS);
  auto root = message->initRoot<schema::WshdRequest>();
  // Without a sequence number, and so without an answer that would wake this process for nothing.
  root.setForget(jobId);
  post(kj::mv(message));
}

void WshdClient::forget(uint32_t jobId) {
  toForget.add(jobId);
  if (toForget.size() >= MAX_TO_FORGET) return sendForgets();
  if (toForget.size() > 1) return;
  forgetting =
      timer.afterDelay(FORGET_TIME).then([this]() { sendForgets(); }).eagerlyEvaluate(nullptr);
}

void WshdClient::sendForgets() {
  for (uint32_t jobId : toForget)
    forgetNow(jobId);
  toForget.resize(0);
}

}  // namespace warden::frontend
