#pragma once
// Runs the real wshd as process 1 of fresh user, pid, mount and ipc namespaces, and speaks its
// protocol. Ids in the namespace are those of the host; the root file system is the host's, with
// its own /proc.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <kj/function.h>

#include <deque>
#include <string>
#include <vector>

#include "base/packet.h"
#include "schema/wshd.capnp.h"

namespace warden::test {

constexpr uint32_t TEST_USER = 12345;

struct JobEnd {
  uint32_t jobId = 0;
  schema::Job::Which which = schema::Job::RUNNING;
  int value = 0;  // exit code or signal
};

struct Message {
  // A WshdMessage, copied out.
  uint64_t sequence = 0;
  schema::WshdMessage::Which which = schema::WshdMessage::DONE;
  int pid = 0;               // spawned
  std::string step;          // failed
  int error = 0;             // failed
  std::vector<JobEnd> jobs;  // jobs; exited: one
  Fd output, errors;         // spawned
};

struct LimitSpec {
  int resource;
  uint64_t value;
  bool clamp;
};

struct JobSpec {
  std::string script;
  uint32_t jobId = 1;
  uint32_t uid = TEST_USER;
  std::vector<uint32_t> groups;
  bool privileged = false;
  bool replyMayWait = false;
  std::string home = "/";
  std::vector<std::string> environment = {"PATH=/bin:/usr/bin"};
  std::vector<LimitSpec> limits;
};

JobSpec asRoot(JobSpec spec);

struct CopySpec {
  std::string path;
  bool pack = true;
  uint32_t uid = TEST_USER;
};

class Frontend {
  // A connection to wshd.

 public:
  explicit Frontend(Fd connection) : connection(kj::mv(connection)) {}

  Message spawn(const JobSpec& spec);
  Message signalAll(int signal);
  Message signalJob(uint32_t jobId, int signal);
  Message forget(uint32_t jobId);
  Message list();
  Message attach(uint32_t jobId);
  Message ping();
  JobEnd awaitEnd(uint32_t jobId);

  Message meterCopy(kj::ArrayPtr<const int> fds);
  Message copy(const CopySpec& spec, kj::ArrayPtr<const int> fds);
  // Returns when the copy has ended.

  void sendPing(uint64_t sequence);
  void sendForget(uint64_t sequence, uint32_t jobId);
  Message receive();
  // The next message, events included. Throws when there is none within 20 s, or wshd has closed.

  int socket() const { return connection; }
  void replace(Fd other) { connection = kj::mv(other); }

 private:
  Fd connection;
  uint64_t sequence = 0;
  std::deque<Message> events;

  Message request(kj::Function<void(schema::WshdRequest::Builder)> fill,
                  kj::ArrayPtr<const int> fds = nullptr);
};

struct Ended {
  int exitCode = -1;  // -1: by a signal
  int signal = 0;
  std::string output, errors;
};

enum class Root {
  HOST,
  BUSYBOX,  // an own one, with /bin/sh and nothing else
  EMPTY
};

class Wshd {
 public:
  explicit Wshd(Root root = Root::HOST, const char* argument = nullptr);
  ~Wshd();
  KJ_DISALLOW_COPY(Wshd);

  Frontend frontend;
  pid_t pid;  // as the host sees it
  bool isAlive() const;

  Fd connect() const;
  // To the listening socket.

  Ended run(const JobSpec& spec);
  // Spawns, reads both outputs to the end, waits for the end, forgets.

 private:
  std::string listenPath;
  Fd listener;
};

bool canChangeRoot();
// False where wshd is not static (sanitizers) or there is no busybox.

bool canRunWshd();
// False without root: the tests skip then.

std::string readToEnd(int fd);
std::string line(const std::string& text, const std::string& key);
// The rest of the line of /proc/PID/status that starts with `key`, without blanks before it.

}  // namespace warden::test
