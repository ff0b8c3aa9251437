#include "tests/unit/frontend-test-peer.h"

#include <capnp/message.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/pidfd.h"
#include "schema/wshd.capnp.h"

namespace warden::frontend {

TemporaryDirectory::TemporaryDirectory() {
  char pattern[] = "/tmp/warden-test-XXXXXX";
  KJ_REQUIRE(mkdtemp(pattern) != nullptr);
  name = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::filesystem::remove_all(name);
}

Fd TemporaryDirectory::open() const {
  int fd;
  KJ_SYSCALL(fd = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return Fd(fd);
}

void TemporaryDirectory::write(const std::string& file, const std::string& content) const {
  auto path = name + "/" + file;
  int fd;
  KJ_SYSCALL(fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  Fd owned(fd);
  writeAll(fd, kj::arrayPtr(content.data(), content.size()).asBytes());
}

void TemporaryDirectory::makeDirectory(const std::string& directory) const {
  std::filesystem::create_directories(name + "/" + directory);
}

std::vector<std::string> TemporaryDirectory::list() const {
  std::vector<std::string> names;
  for (auto& entry : std::filesystem::recursive_directory_iterator(name)) {
    names.push_back(entry.path().filename());
  }
  return names;
}

// -- wshd

namespace {

// A child that does not lead its group yet is signalled alone.
void signalGroup(int leader, int signal) {
  if (kill(-leader, signal) != 0) kill(leader, signal);
}

// With all that a taken over container can: more than was meant to fit, and half records.
void flood(int pipe) {
  fcntl(pipe, F_SETPIPE_SZ, 1 << 20);
  std::string odd(4099, '\xff');
  while (write(pipe, odd.data(), odd.size()) > 0) {
  }
}

}  // namespace

WshdPeer::WshdPeer(Fd socketParam, const std::atomic<bool>& holdSpawns)
    : socket(kj::mv(socketParam)), holdSpawns(holdSpawns), thread([this]() { serve(); }) {}

WshdPeer::~WshdPeer() {
  killJobs();
  shutdown(socket, SHUT_RDWR);
  thread.join();
  for (auto& reaper : reapers)
    reaper.join();
}

void WshdPeer::killJobs() {
  std::lock_guard lock(mutex);
  for (auto& [id, pid] : running)
    signalGroup(pid, SIGKILL);
}

void WshdPeer::send(const std::string& bytes) {
  KJ_SYSCALL(::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL));
}

void WshdPeer::serve() {
  for (;;) {
    if (kj::runCatchingExceptions([&]() { handle(KJ_ASSERT_NONNULL(receivePacket(socket))); }) !=
        nullptr) {
      return;
    }
  }
}

void WshdPeer::reply(capnp::MessageBuilder& message, kj::ArrayPtr<const int> fds) {
  kj::runCatchingExceptions([&]() { sendPacket(socket, message, fds); });
}

void WshdPeer::replyDone(uint64_t sequence) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<schema::WshdMessage>();
  root.setSequence(sequence);
  root.setDone();
  reply(message);
}

void WshdPeer::handle(Packet packet) {
  auto request = packet.getRoot<schema::WshdRequest>();
  std::lock_guard lock(mutex);
  switch (request.which()) {
    case schema::WshdRequest::SPAWN:
      return spawn(packet);
    case schema::WshdRequest::SIGNAL_ALL:
      for (auto& [id, pid] : running)
        signalGroup(pid, request.getSignalAll());
      break;
    case schema::WshdRequest::SIGNAL_JOB: {
      auto found = running.find(request.getSignalJob().getJobId());
      if (found != running.end()) signalGroup(found->second, request.getSignalJob().getSignal());
      break;
    }
    case schema::WshdRequest::FORGET:
      ++forgetCount;
      if (request.getSequence() == 0) return;
      break;
    case schema::WshdRequest::METER_COPY:
      ++meterCount;
      meter = packet.takeFd(0);
      flood(meter);
      break;
    default:
      break;
  }
  replyDone(request.getSequence());
}

void WshdPeer::spawn(Packet& packet) {
  if (holdSpawns) return;
  auto request = packet.getRoot<schema::WshdRequest>();
  auto job = request.getSpawn();
  auto script = packet.takeFd(0);
  auto out = makePipe();
  auto err = makePipe();
  std::vector<std::string> environment;
  for (auto entry : job.getEnvironment()) {
    environment.emplace_back(entry.asChars().begin(), entry.size());
  }
  std::vector<char*> pointers;
  for (auto& entry : environment)
    pointers.push_back(entry.data());
  pointers.push_back(nullptr);
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<schema::WshdMessage>();
  root.setSequence(request.getSequence());
  for (auto limit : job.getLimits()) {
    if (limit.getResource() == RLIMIT_FSIZE && !limit.getClamp() && limit.getValue() == 4711) {
      root.initFailed().setStep("setrlimit fsize");
      root.getFailed().setErrno(EPERM);
      return reply(message);
    }
  }

  pid_t pid = fork();
  if (pid == 0) {
    setsid();
    dup2(script, 0);
    dup2(out.writeEnd, 1);
    dup2(err.writeEnd, 2);
    execle("/bin/sh", "sh", nullptr, pointers.data());
    _exit(127);
  }
  uint32_t id = job.getJobId();
  running[id] = pid;
  root.setSpawned(pid);
  int fds[] = {out.readEnd, err.readEnd};
  reply(message, fds);
  reapers.emplace_back([this, id, pid]() {
    int status;
    waitpid(pid, &status, 0);
    std::lock_guard lock(mutex);
    running.erase(id);
    capnp::MallocMessageBuilder event;
    auto exited = event.initRoot<schema::WshdMessage>().initExited();
    exited.setJobId(id);
    if (WIFEXITED(status)) {
      exited.setExitCode(WEXITSTATUS(status));
    } else {
      exited.setSignal(WTERMSIG(status));
    }
    reply(event);
  });
}

}  // namespace warden::frontend
