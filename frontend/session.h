#pragma once
// The seam between the edge (connections and framing: frontend/edge-*.c++) and the core (containers
// and jobs): the edge knows no container, the core no socket.

#include <google/protobuf/message_lite.h>
#include <kj/async.h>
#include <kj/one-of.h>

#include "schema/warden.pb.h"

namespace warden::frontend {

struct FileRange {
  // Bytes of a regular file that does not shrink, for payloads that are never held in memory (job
  // output). `fd` is borrowed until the promise of send() has resolved or is dropped.
  int fd;
  uint64_t offset;
  uint64_t size;
};

using PayloadPart = kj::OneOf<kj::Array<kj::byte>, FileRange>;

class ResponseWriter {
 public:
  virtual kj::Promise<void> send(Message::Type type, kj::Array<PayloadPart> payload) = 0;
  // Writes one frame: a Message of `type` whose payload is the concatenation of the parts. Resolves
  // when the kernel has taken all of it, so a client that does not read delays only its own
  // session. One send at a time.

  kj::Promise<void> send(Message::Type type, const google::protobuf::MessageLite& response);
};

enum class Continuation {
  KEEP_OPEN,
  CLOSE,  // the request was undecodable: what has been sent is flushed, the connection is closed
};

class Session {
  // The core's side of one client connection. Destroyed when the connection has closed.

 public:
  virtual ~Session() noexcept(false) {}

  virtual kj::Promise<Continuation> handle(Message::Type type, kj::Array<kj::byte> request,
                                           ResponseWriter& out) = 0;
  // Executes one request and sends its response or responses, or an Error response; rejects only
  // for what is a bug (answered as "internal error" with a number the log repeats). Called for one
  // request at a time. Dropping the promise means that the client has gone: what was begun for it
  // (create, destroy) is completed or undone, what it waited for (jobs) goes on.
};

class SessionFactory {
 public:
  virtual kj::Own<Session> open(int clientSocket) = 0;
  // `clientSocket` is borrowed for the life of the session.
};

}  // namespace warden::frontend
