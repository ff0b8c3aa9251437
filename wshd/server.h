#pragma once
// wshd's loop: requests in order, the ends of children, connections that replace one another.

#include <capnp/message.h>

#include "base/packet.h"
#include "schema/wshd.capnp.h"
#include "wshd/copy.h"
#include "wshd/job-table.h"
#include "wshd/spawn.h"

namespace warden {

class Server {
 public:
  Server(Fd connection, Fd listener, Fd childSignals, const InitState& init);

  [[noreturn]] void run();
  // Never ends: the end of process 1 is the end of its container. Whatever goes wrong on the
  // connection, malformed requests and lack of memory included, costs the connection only.

 private:
  struct Reply {
    capnp::MallocMessageBuilder message{64};
    int fds[2];  // borrowed from a job, which cannot go away while a reply waits
    size_t fdCount = 0;
    kj::Maybe<uint32_t> mayWaitFor;  // the end of this job, for a moment
    Fd script;
    // Its file is freed by whoever closes it last: not by the shell, whose end is waited for.
  };

  Fd connection;  // null: no frontend
  Fd listener;
  Fd childSignals;
  const InitState& init;
  JobTable jobs;
  CopyTable copies;
  Fd meter;  // of the next copy, also of one that is refused
  ChildStack stack;
  JobPipes pipes;  // of the next job
  kj::Maybe<kj::Own<Reply>> unsent;
  // The socket was full. Until it is sent no further request is read, which bounds what wshd holds
  // for a frontend that does not read.

  bool held = false;
  // The reply that is unsent is not for lack of room: it may wait (SpawnJob.replyMayWait).

  bool moreEnds = false;
  // The signal is taken, and there may be children that have ended and are not reaped.

  void serveOnce();
  void reapChildren();
  // A bounded number: others are served in between.
  void acceptConnection();
  void dropConnection();
  void serveConnection(short events);
  void release();
  void addEnd(Reply& reply);
  bool sendUnsent();
  bool sendEvents();
  bool sendEndedCopies();

  void handle(Packet packet);
  void answer(kj::Own<Reply> reply);
  void handleSpawn(Packet& packet, schema::SpawnJob::Reader job, schema::WshdMessage::Builder reply,
                   Reply& out);
  void handleAttach(uint32_t jobId, schema::WshdMessage::Builder reply, Reply& out);
  bool handleCopy(Packet& packet, schema::WshdRequest::Reader request,
                  schema::WshdMessage::Builder reply);
  // True: it runs, and is answered when it has ended.
  void meterCopy(Packet& packet, schema::WshdMessage::Builder reply);
  void signalAll(int signal, schema::WshdMessage::Builder reply);
  void signalJob(uint32_t jobId, int signal, schema::WshdMessage::Builder reply);
  void listJobs(schema::WshdMessage::Builder reply);
};

}  // namespace warden
