#pragma once
// The frontend's end of the connection to process 1 of one container (schema/wshd.capnp). A job's
// processes may try to take wshd over, so what it says is believed as far as its own container
// only.

#include <kj/string.h>

#include <optional>

#include "frontend/packet-link.h"
#include "frontend/reply-table.h"
#include "frontend/wshd-watch.h"
#include "schema/wshd.capnp.h"

namespace warden::frontend {

struct JobLimit {
  uint8_t resource;  // RLIMIT_*
  uint64_t value;
  bool clamp;  // lower it to the hard limit in force, rather than fail
};

struct JobStart {
  // Ids are the container's.
  uint32_t jobId;
  uint32_t uid;
  uint32_t gid;
  kj::ArrayPtr<const uint32_t> groups;
  bool privileged;
  kj::StringPtr home;
  kj::ArrayPtr<const kj::String> environment;
  kj::ArrayPtr<const JobLimit> limits;
  Fd script;  // sealed memfd
  bool replyMayWait;
};

struct CopyOrder {
  // Ids are the container's.
  uint32_t uid;
  uint32_t gid;
  kj::ArrayPtr<const uint32_t> groups;
  kj::StringPtr home;
  kj::ArrayPtr<const kj::byte> path;
  enum { PACK, UNPACK } direction;
  Fd stream;
  Fd meter;  // write end of a progress pipe (base/progress-pipe.h); null: none
};

struct StartedCopy {
  uint64_t number;
  kj::Promise<void> ended;
  // Rejects with an error for the client, of type DISCONNECTED where it is the other end of the
  // stream that has ended it.
};

struct StartedJob {
  // Read ends of pipes; null for a job that has ended without output.
  Fd standardOutput;
  Fd standardError;
};

class WshdClient : private WshdWatch::Subject {
 public:
  class Listener {
   public:
    virtual void jobExited(uint32_t jobId, uint32_t status) = 0;
    // The shell's exit status, 255 when a signal ended it. May precede the continuation of spawn().
    virtual void wshdFellSilent() {}
    virtual void wshdAnswersAgain() {}
    // WshdWatch. All requests under way have been rejected with an error for the client, and new
    // ones are, until it answers.
  };

  WshdClient(kj::UnixEventPort& port, kj::Timer& timer, Fd socket, Listener& listener);

  kj::Promise<void> run();
  // Serves replies and events. Never resolves; rejects when wshd is gone or talks nonsense. By then
  // every pending promise has been rejected with an error for the client, as are later requests.

  kj::Promise<StartedJob> spawn(JobStart&& start);
  // Rejects with an error for the client when the job could not be started.

  struct KnownJob {
    uint32_t id;
    std::optional<uint32_t> status;  // as Listener::jobExited; none: it runs
  };
  kj::Promise<kj::Array<KnownJob>> list();
  kj::Promise<StartedJob> attach(uint32_t jobId);
  // What wshd keeps of jobs that an earlier frontend has started.

  void ask();
  // For a sign of life, which nobody waits for.
  kj::Promise<void> whenSilent() { return watch.whenSilent(); }
  kj::Promise<void> whenHeard() { return watch.whenHeard(); }
  bool isSilent() const { return watch.isSilent(); }
  kj::Exception silenceError() const { return watch.error(); }

  StartedCopy copy(CopyOrder&& order);
  void cancelCopy(uint64_t number);
  // Does nothing when it has ended.

  kj::Promise<bool> signalAll(int signal);
  // Whether there may be a process that got it. Sent also when the promise is dropped. No answer:
  // rejects.
  void signalJob(uint32_t jobId, int signal);
  void forgetNow(uint32_t jobId);
  // Sent in order with all else, and not waited for; without effect when wshd is gone.
  void forget(uint32_t jobId);
  // Likewise, but some milliseconds later with others, so that it does not hold up the next
  // request.

  void sendForgets();
  // Those that wait, at once.

 private:
  kj::Timer& timer;
  PacketLink link;
  Listener& listener;
  ReplyTable replies;
  kj::Maybe<kj::Exception> lost;
  kj::Vector<uint32_t> toForget;
  kj::Promise<void> forgetting = nullptr;
  WshdWatch watch;

  kj::Promise<Packet> request(kj::Own<capnp::MallocMessageBuilder> message, uint64_t sequence,
                              kj::ArrayPtr<const int> fds = nullptr);
  void postAnswered(kj::Own<capnp::MallocMessageBuilder> message, uint64_t sequence,
                    kj::ArrayPtr<const int> fds = nullptr);
  void meterCopy(int pipe);
  void post(kj::Own<capnp::MallocMessageBuilder> message);
  void dispatch(Packet packet);
  void jobEnded(schema::Job::Reader job);

  bool owesAnswers() override { return !replies.isEmpty(); }
  void askForSignOfLife() override { ask(); }
  void fellSilent() override;
  void answersAgain() override { listener.wshdAnswersAgain(); }
};

}  // namespace warden::frontend
