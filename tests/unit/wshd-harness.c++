#include "tests/unit/wshd-harness.h"

#include <fcntl.h>
#include <kj/debug.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/unix-address.h"

namespace warden::test {

namespace {

constexpr int RECEIVE_TIMEOUT_MS = 20'000;

constexpr int KEPT_CAPABILITIES[] = {CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_KILL,
                                     CAP_SETGID, CAP_SETUID,       CAP_SETPCAP};

[[noreturn]] void die(const char* what) {
  perror(what);
  _exit(99);
}

void reduceBoundingSet() {
  for (int cap = 0; cap < 64; ++cap) {
    bool kept = false;
    for (int k : KEPT_CAPABILITIES)
      kept |= k == cap;
    if (!kept && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1) prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
  }
}

void enterRoot(Root root) {
  // Over a directory that every host has; only this mount namespace sees it.
  constexpr const char* NEW_ROOT = "/mnt";
  if (mount("tmpfs", NEW_ROOT, "tmpfs", 0, "mode=755") < 0 || chdir(NEW_ROOT) < 0) die("mount");
  if (mkdir("bin", 0755) < 0) die("mkdir");
  if (root == Root::BUSYBOX) {
    Fd place(open("bin/sh", O_CREAT | O_WRONLY | O_CLOEXEC, 0755));
    if (mount("/bin/busybox", "bin/sh", nullptr, MS_BIND, nullptr) < 0) die("bind busybox");
  }
  if (chroot(".") < 0) die("chroot");
}

[[noreturn]] void becomeWshd(int connection, int listener, int go, Root root,
                             const char* argument) {
  char byte;
  if (read(go, &byte, 1) != 1) die("read");
  if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0) die("setresuid");
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) die("mount /");
  if (mount("proc", "/proc", "proc", 0, nullptr) < 0) die("mount /proc");
  int null = open("/dev/null", O_RDWR);
  int program = open(WSHD_PATH, O_PATH | O_CLOEXEC);
  if (root != Root::HOST) enterRoot(root);
  if (chdir("/") < 0) die("chdir");
  reduceBoundingSet();
  // Above the places that they go to.
  connection = fcntl(connection, F_DUPFD, 10);
  listener = fcntl(listener, F_DUPFD, 10);
  program = fcntl(program, F_DUPFD_CLOEXEC, 10);
  for (int fd : {0, 1, 2})
    dup2(null, fd);
  dup2(connection, 3);
  dup2(listener, 4);
  syscall(SYS_close_range, 5, ~0u, CLOSE_RANGE_CLOEXEC);
  char name[] = "wshd";
  char* arguments[] = {name, const_cast<char*>(argument), nullptr};
  char* environment[] = {nullptr};
  fexecve(program, arguments, environment);
  _exit(98);
}

void writeMap(pid_t pid, const char* file) {
  auto path = kj::str("/proc/", pid, "/", file);
  int fd;
  KJ_SYSCALL(fd = open(path.cStr(), O_WRONLY | O_CLOEXEC), path);
  Fd map(fd);
  writeAll(map, kj::StringPtr("0 0 65536").asBytes());
}

Fd packetSocket() {
  int fd;
  KJ_SYSCALL(fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  return Fd(fd);
}

JobEnd readJob(schema::Job::Reader job) {
  JobEnd end{job.getJobId(), job.which(), 0};
  if (job.isExitCode()) end.value = job.getExitCode();
  if (job.isSignal()) end.value = job.getSignal();
  return end;
}

void readFailure(schema::JobFailure::Reader failure, Message& message) {
  message.step = failure.getStep().cStr();
  message.error = failure.getErrno();
}

}  // namespace

JobSpec asRoot(JobSpec spec) {
  spec.uid = 0;
  spec.privileged = true;
  return spec;
}

Message Frontend::receive() {
  pollfd p{connection, POLLIN, 0};
  int n;
  KJ_SYSCALL(n = poll(&p, 1, RECEIVE_TIMEOUT_MS));
  KJ_REQUIRE(n == 1, "wshd does not answer");
  auto packet = KJ_ASSERT_NONNULL(receivePacket(connection));
  auto reader = packet.getRoot<schema::WshdMessage>();
  Message message;
  message.sequence = reader.getSequence();
  message.which = reader.which();
  switch (reader.which()) {
    case schema::WshdMessage::DONE:
      break;
    case schema::WshdMessage::SPAWNED:
      message.pid = reader.getSpawned();
      if (packet.fdCount() > 0) {
        message.output = packet.takeFd(0);
        message.errors = packet.takeFd(1);
      }
      if (reader.hasEnded()) {
        Message& event = events.emplace_back();
        event.which = schema::WshdMessage::EXITED;
        event.jobs.push_back(readJob(reader.getEnded()));
      }
      break;
    case schema::WshdMessage::FAILED:
      readFailure(reader.getFailed(), message);
      break;
    case schema::WshdMessage::JOBS:
      for (auto job : reader.getJobs())
        message.jobs.push_back(readJob(job));
      break;
    case schema::WshdMessage::EXITED:
      message.jobs.push_back(readJob(reader.getExited()));
      break;
  }
  return message;
}

Message Frontend::request(kj::Function<void(schema::WshdRequest::Builder)> fill,
                          kj::ArrayPtr<const int> fds) {
  capnp::MallocMessageBuilder builder;
  auto request = builder.initRoot<schema::WshdRequest>();
  request.setSequence(++sequence);
  fill(request);
  sendPacket(connection, builder, fds);
  for (;;) {
    Message message = receive();
    if (message.sequence == sequence) return message;
    KJ_REQUIRE(message.sequence == 0, "answer to another request");
    events.push_back(kj::mv(message));
  }
}

Message Frontend::spawn(const JobSpec& spec) {
  Fd script = makeSealedMemfd(
      "script",
      kj::arrayPtr(reinterpret_cast<const kj::byte*>(spec.script.data()), spec.script.size()));
  int fds[] = {script};
  return request(
      [&](schema::WshdRequest::Builder request) {
        auto job = request.initSpawn();
        job.setJobId(spec.jobId);
        job.setUid(spec.uid);
        job.setGid(spec.uid);
        job.setPrivileged(spec.privileged);
        job.setReplyMayWait(spec.replyMayWait);
        auto data = [](const std::string& text) {
          return kj::arrayPtr(reinterpret_cast<const kj::byte*>(text.data()), text.size());
        };
        job.setHome(data(spec.home));
        auto groups = job.initGroups(spec.groups.size());
        for (size_t i = 0; i < spec.groups.size(); ++i)
          groups.set(i, spec.groups[i]);
        auto environment = job.initEnvironment(spec.environment.size());
        for (size_t i = 0; i < spec.environment.size(); ++i) {
          environment.set(i, data(spec.environment[i]));
        }
        auto limits = job.initLimits(spec.limits.size());
        for (size_t i = 0; i < spec.limits.size(); ++i) {
          limits[i].setResource(spec.limits[i].resource);
          limits[i].setValue(spec.limits[i].value);
          limits[i].setClamp(spec.limits[i].clamp);
        }
      },
      fds);
}

Message Frontend::signalAll(int signal) {
  return request([&](auto r) { r.setSignalAll(signal); });
}

Message Frontend::signalJob(uint32_t jobId, int signal) {
  return request([&](auto r) {
    auto job = r.initSignalJob();
    job.setJobId(jobId);
    job.setSignal(signal);
  });
}

Message Frontend::forget(uint32_t jobId) {
  return request([&](auto r) { r.setForget(jobId); });
}

Message Frontend::list() {
  return request([&](auto r) { r.setList(); });
}

Message Frontend::attach(uint32_t jobId) {
  return request([&](auto r) { r.setAttach(jobId); });
}

Message Frontend::ping() {
  return request([&](auto r) { r.setPing(); });
}

Message Frontend::meterCopy(kj::ArrayPtr<const int> fds) {
  return request([&](auto r) { r.setMeterCopy(); }, fds);
}

Message Frontend::copy(const CopySpec& spec, kj::ArrayPtr<const int> fds) {
  return request(
      [&](schema::WshdRequest::Builder r) {
        auto copy = r.initCopy();
        copy.setUid(spec.uid);
        copy.setGid(spec.uid);
        copy.setHome(kj::StringPtr("/").asBytes());
        copy.setPath(kj::StringPtr(spec.path.c_str()).asBytes());
        if (spec.pack) {
          copy.setPack();
        } else {
          copy.setUnpack();
        }
      },
      fds);
}

void Frontend::sendPing(uint64_t number) {
  capnp::MallocMessageBuilder builder;
  auto request = builder.initRoot<schema::WshdRequest>();
  request.setSequence(number);
  request.setPing();
  sendPacket(connection, builder);
}

void Frontend::sendForget(uint64_t number, uint32_t jobId) {
  capnp::MallocMessageBuilder builder;
  auto request = builder.initRoot<schema::WshdRequest>();
  request.setSequence(number);
  request.setForget(jobId);
  sendPacket(connection, builder);
}

JobEnd Frontend::awaitEnd(uint32_t jobId) {
  for (;;) {
    for (auto i = events.begin(); i != events.end(); ++i) {
      if (i->jobs[0].jobId != jobId) continue;
      JobEnd end = i->jobs[0];
      events.erase(i);
      return end;
    }
    events.push_back(receive());
  }
}

Wshd::Wshd(Root root, const char* argument) : frontend(Fd()) {
  char directory[] = "/tmp/warden-wshd-test-XXXXXX";
  KJ_REQUIRE(mkdtemp(directory) != nullptr);
  listenPath = std::string(directory) + "/wshd.sock";
  listener = packetSocket();
  UnixAddress address(listenPath);
  KJ_SYSCALL(bind(listener, address.get(), address.size()));
  KJ_SYSCALL(listen(listener, 4));

  SocketPair pair = makePacketPair();
  Pipe go = makePipe();
  pid = static_cast<pid_t>(
      syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | SIGCHLD,
              nullptr, nullptr, nullptr, nullptr));
  if (pid < 0) KJ_FAIL_SYSCALL("clone", errno);
  if (pid == 0) becomeWshd(pair.right, listener, go.readEnd, root, argument);
  writeMap(pid, "uid_map");
  writeMap(pid, "gid_map");
  writeAll(go.writeEnd, kj::StringPtr("x").asBytes());
  frontend.replace(kj::mv(pair.left));
}

Wshd::~Wshd() {
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  unlink(listenPath.c_str());
  rmdir(listenPath.substr(0, listenPath.rfind('/')).c_str());
}

bool Wshd::isAlive() const {
  return waitpid(pid, nullptr, WNOHANG) == 0;
}

Fd Wshd::connect() const {
  Fd socket = packetSocket();
  UnixAddress address(listenPath);
  KJ_SYSCALL(::connect(socket, address.get(), address.size()));
  return socket;
}

Ended Wshd::run(const JobSpec& spec) {
  Message started = frontend.spawn(spec);
  KJ_REQUIRE(started.which == schema::WshdMessage::SPAWNED, started.step.c_str(), started.error);
  Ended ended;
  ended.output = readToEnd(started.output);
  ended.errors = readToEnd(started.errors);
  JobEnd end = frontend.awaitEnd(spec.jobId);
  if (end.which == schema::Job::EXIT_CODE) ended.exitCode = end.value;
  if (end.which == schema::Job::SIGNAL) ended.signal = end.value;
  frontend.forget(spec.jobId);
  return ended;
}

bool canChangeRoot() {
#ifdef WSHD_IS_DYNAMIC
  return false;
#else
  return access("/bin/busybox", X_OK) == 0;
#endif
}

bool canRunWshd() {
  return geteuid() == 0;
}

std::string readToEnd(int fd) {
  auto bytes = readAll(fd, 64 << 20);
  return std::string(bytes.asChars().begin(), bytes.size());
}

std::string line(const std::string& text, const std::string& key) {
  size_t at = text.find("\n" + key);
  if (at == std::string::npos) return "(no " + key + ")";
  at = text.find_first_not_of(" \t", at + 1 + key.size());
  return text.substr(at, text.find('\n', at) - at);
}

}  // namespace warden::test
