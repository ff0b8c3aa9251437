#include "frontend/request-audit.h"

#include <errno.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <kj/debug.h>
#include <sys/socket.h>
#include <time.h>

#include "base/audit-chain.h"
#include "base/socket-peer.h"
#include "frontend/client-error.h"
#include "frontend/request-counts.h"

namespace warden::frontend {

namespace {

using google::protobuf::internal::WireFormatLite;
using Outcome = schema::RequestRecord::Outcome;

// Records that are held while the event loop has other things to do.
constexpr size_t MOST_WAITING = 16;

constexpr unsigned RECORD_WORDS = 64;  // most are smaller

// Calls onBytes(field, bytes) and onNumber(field, value) for the fields of a message, without a
// copy.
template <typename OnBytes, typename OnNumber>
void forEachField(kj::ArrayPtr<const kj::byte> message, OnBytes&& onBytes, OnNumber&& onNumber) {
  google::protobuf::io::CodedInputStream input(message.begin(), static_cast<int>(message.size()));
  while (uint32_t tag = input.ReadTag()) {
    int field = WireFormatLite::GetTagFieldNumber(tag);
    if (WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      uint32_t length;
      const void* data;
      int available;
      if (!input.ReadVarint32(&length)) return;
      if (length == 0) continue;
      if (!input.GetDirectBufferPointer(&data, &available) ||
          length > static_cast<uint32_t>(available)) {
        return;
      }
      onBytes(field, std::string_view(static_cast<const char*>(data), length));
      input.Skip(static_cast<int>(length));
    } else if (WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_VARINT) {
      uint64_t value;
      if (!input.ReadVarint64(&value)) return;
      onNumber(field, value);
    } else if (!WireFormatLite::SkipField(&input, tag)) {
      return;
    }
  }
}

void setHandle(RequestFacts& facts, std::string_view handle) {
  facts.handle = handle.substr(0, schema::RequestRecord::MAX_HANDLE_BYTES);
  facts.handleBytes = handle.size();
}

int handleField(Message::Type type) {
  if (type == Message::Create) return CreateRequest::kHandleFieldNumber;
  return type == Message::Echo ? 0 : InfoRequest::kHandleFieldNumber;
}

bool hasScript(Message::Type type) {
  return type == Message::Spawn || type == Message::Run;
}

class RecordedCall final : public ResponseWriter {
  // One request, from its arrival to its answer: hears what is answered.

 public:
  RecordedCall(RequestAudit& audit, const RequestPeer& peer, Message::Type type, RequestFacts facts,
               ResponseWriter& out)
      : audit(audit),
        peer(peer),
        type(type),
        facts(std::move(facts)),
        out(out),
        startedUs(audit.nowUs()) {}

  ~RecordedCall() noexcept(false) {
    audit.record(peer, type, facts, result, audit.nowUs() - startedUs);
  }
  KJ_DISALLOW_COPY(RecordedCall);

  kj::Promise<void> send(Message::Type answer, kj::Array<PayloadPart> payload) override {
    if (payload.size() > 0 && payload[0].is<kj::Array<kj::byte>>()) {
      hear(answer, payload[0].get<kj::Array<kj::byte>>());
    }
    return out.send(answer, kj::mv(payload));
  }

  void ended(Continuation continuation) {
    if (hasFailed) return;
    if (continuation == Continuation::CLOSE) {
      result = {Outcome::REFUSED, "the request cannot be decoded"};
    } else {
      result = {Outcome::DONE, ""};
    }
  }

  void threw(const kj::Exception& exception) {
    if (exception.getType() == kj::Exception::Type::DISCONNECTED) return;
    result.cause = "internal error";
  }

 private:
  RequestAudit& audit;
  const RequestPeer& peer;
  Message::Type type;
  RequestFacts facts;
  ResponseWriter& out;
  uint64_t startedUs;
  bool hasFailed = false;
  RequestResult result{Outcome::FAILED, "the client has gone before it was answered"};

  void hear(Message::Type answer, kj::ArrayPtr<const kj::byte> payload) {
    if (answer == Message::Error) {
      std::string cause;
      forEachField(
          payload,
          [&](int field, std::string_view bytes) {
            if (field == ErrorResponse::kMessageFieldNumber) cause = bytes;
          },
          [](int, uint64_t) {});
      bool refused = cause.starts_with(PERMISSION_DENIED.cStr());
      cause.resize(std::min<size_t>(cause.size(), schema::RequestRecord::MAX_CAUSE_BYTES));
      result = {refused ? Outcome::REFUSED : Outcome::FAILED, std::move(cause)};
      hasFailed = true;
    } else if (answer == Message::Create) {
      forEachField(
          payload,
          [&](int field, std::string_view bytes) {
            if (field == CreateResponse::kHandleFieldNumber) setHandle(facts, bytes);
          },
          [](int, uint64_t) {});
    } else if (answer == Message::Spawn) {
      forEachField(
          payload, [](int, std::string_view) {},
          [&](int field, uint64_t value) {
            if (field == SpawnResponse::kJobIdFieldNumber) facts.job = value;
          });
    }
  }
};

class RecordedSession final : public Session {
 public:
  RecordedSession(RequestAudit& audit, int clientSocket, kj::Own<Session> session)
      : audit(audit),
        clientSocket(clientSocket),
        peer(peerOfSocket(clientSocket)),
        session(kj::mv(session)) {}
  ~RecordedSession() noexcept(false) {
    if (isIntroduced) audit.goodbye(peer.connection);
  }
  KJ_DISALLOW_COPY(RecordedSession);

  kj::Promise<Continuation> handle(Message::Type type, kj::Array<kj::byte> request,
                                   ResponseWriter& out) override {
    if (!audit.wants(type)) return session->handle(type, kj::mv(request), out);
    if (!isIntroduced) audit.introduce(clientSocket);
    isIntroduced = true;
    auto call = kj::heap<RecordedCall>(audit, peer, type, factsOf(type, request), out);
    auto& recorded = *call;
    return kj::evalNow([&]() { return session->handle(type, kj::mv(request), recorded); })
        .then(
            [&recorded](Continuation continuation) {
              recorded.ended(continuation);
              return continuation;
            },
            [&recorded](kj::Exception&& exception) -> Continuation {
              recorded.threw(exception);
              kj::throwFatalException(kj::mv(exception));
            })
        .attach(kj::mv(call));
  }

 private:
  RequestAudit& audit;
  int clientSocket;
  RequestPeer peer;
  kj::Own<Session> session;
  bool isIntroduced = false;
};

}  // namespace

RequestPeer peerOfSocket(int socket) {
  ucred peer = peerOf(socket);
  return {peer.pid, peer.uid, peer.gid, cookieOf(socket)};
}

RequestFacts factsOf(Message::Type type, kj::ArrayPtr<const kj::byte> request) {
  RequestFacts facts;
  forEachField(
      request,
      [&](int field, std::string_view bytes) {
        if (field == handleField(type)) {
          setHandle(facts, bytes);
        } else if (hasScript(type) && field == SpawnRequest::kScriptFieldNumber) {
          facts.scriptDigest = sha256Hex(bytes);
          facts.scriptBytes = bytes.size();
        }
      },
      [&](int field, uint64_t value) {
        bool namesJob = type == Message::Link || type == Message::Stream;
        if (namesJob && field == LinkRequest::kJobIdFieldNumber) facts.job = value;
      });
  return facts;
}

RequestAudit::RequestAudit(kj::UnixEventPort& port, kj::Timer& timer, Fd helper,
                           SessionFactory& sessions, bool recordReads)
    : link(port, timer, kj::mv(helper)), sessions(sessions), recordReads(recordReads) {}

RequestAudit::~RequestAudit() noexcept(false) {
  sendWaiting();
}

kj::Own<Session> RequestAudit::open(int clientSocket) {
  return kj::heap<RecordedSession>(*this, clientSocket, sessions.open(clientSocket));
}

bool RequestAudit::wants(Message::Type type) const {
  switch (type) {
    case Message::Ping:
    case Message::Echo:
    case Message::List:
    case Message::Info:
    case Message::Whoami:
      return recordReads;
    default:
      return true;
  }
}

// Not the event loop's timer, which stands still while events are handled.
uint64_t RequestAudit::nowUs() const {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return uint64_t(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000;
}

bool RequestAudit::send(kj::Own<capnp::MallocMessageBuilder> message, kj::ArrayPtr<const int> fds) {
  // False: the helper does not read, or is gone; then its connection's end ends this process.
  return kj::runCatchingExceptions([&]() { link.send(kj::mv(message), fds); }) == nullptr;
}

void RequestAudit::introduce(int clientSocket) {
  auto message = kj::heap<capnp::MallocMessageBuilder>();
  message->initRoot<schema::AuditMessage>().setClient();
  send(kj::mv(message), kj::arrayPtr(&clientSocket, 1));
}

void RequestAudit::goodbye(uint64_t connection) {
  // Records of the connection come before its end.
  sendWaiting();
  auto message = kj::heap<capnp::MallocMessageBuilder>();
  message->initRoot<schema::AuditMessage>().setGone(connection);
  send(kj::mv(message));
}

void RequestAudit::record(const RequestPeer& peer, Message::Type type, const RequestFacts& facts,
                          const RequestResult& result, uint64_t durationUs) {
  auto bytes = [](const std::string& text) {
    return kj::arrayPtr(reinterpret_cast<const kj::byte*>(text.data()), text.size());
  };
  auto message = kj::heap<capnp::MallocMessageBuilder>(RECORD_WORDS);
  auto record = message->initRoot<schema::AuditMessage>().initRequest();
  record.setRequest(nameOfRequest(type));
  record.setPid(peer.pid);
  record.setUid(peer.uid);
  record.setGid(peer.gid);
  record.setConnection(peer.connection);
  record.setHandle(bytes(facts.handle));
  record.setHandleBytes(facts.handleBytes);
  record.setOutcome(result.outcome);
  record.setCause(bytes(result.cause));
  record.setDurationUs(durationUs);
  record.setScriptSha256(facts.scriptDigest.c_str());
  record.setScriptBytes(facts.scriptBytes);
  record.setJobId(facts.job);
  waiting.add(kj::mv(message));
  if (waiting.size() >= MOST_WAITING) return sendWaiting();
  if (waiting.size() > 1) return;
  // When this process has nothing else to do and before it waits for events: the next request of
  // the same client comes first.
  sending = kj::evalLast([this]() { sendWaiting(); }).eagerlyEvaluate(nullptr);
}

void RequestAudit::sendWaiting() {
  for (auto& message : waiting) {
    message->getRoot<schema::AuditMessage>().getRequest().setLost(lost);
    lost = send(kj::mv(message)) ? 0 : lost + 1;
  }
  waiting.resize(0);
}

}  // namespace warden::frontend
