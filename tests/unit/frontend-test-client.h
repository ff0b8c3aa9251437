#pragma once
// The core as the edge sees it, with real sockets and shells behind it.

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <sys/resource.h>
#include <unistd.h>

#include "frontend/core.h"
#include "tests/unit/frontend-test-peer.h"

namespace warden::frontend {
class RecordingWriter final : public ResponseWriter {
 public:
  using ResponseWriter::send;

  struct Sent {
    Message::Type type;
    std::string payload;
  };
  std::vector<Sent> sent;
  bool blocked = false;  // takes nothing, as a client that does not read
  int refused = 0;       // responses, because of that

  kj::Promise<void> send(Message::Type type, kj::Array<PayloadPart> payload) override {
    if (blocked) {
      ++refused;
      return kj::NEVER_DONE;
    }
    std::string bytes;
    for (auto& part : payload) {
      if (part.is<FileRange>()) {
        auto& range = part.get<FileRange>();
        std::string chunk(range.size, '\0');
        KJ_ASSERT(pread(range.fd, chunk.data(), chunk.size(), range.offset) ==
                  static_cast<ssize_t>(chunk.size()));
        bytes += chunk;
      } else {
        auto& array = part.get<kj::Array<kj::byte>>();
        bytes.append(array.asChars().begin(), array.size());
      }
    }
    sent.push_back({type, bytes});
    return kj::READY_NOW;
  }
};

inline kj::Array<kj::byte> encode(const google::protobuf::MessageLite& message) {
  auto text = message.SerializeAsString();
  return kj::heapArray(kj::arrayPtr(text.data(), text.size()).asBytes());
}

class Client {
 public:
  Client(Core& core, kj::WaitScope& scope)
      : socket(makePacketPair()), session(core.open(socket.left)), scope(scope) {}

  SocketPair socket;  // whose peer is this process
  RecordingWriter out;
  kj::Own<Session> session;

  kj::Promise<Continuation> begin(Message::Type type,
                                  const google::protobuf::MessageLite& request) {
    return session->handle(type, encode(request), out);
  }

  template <typename Response, typename Request>
  Response call(Message::Type type, const Request& request) {
    auto continuation = begin(type, request).wait(scope);
    KJ_ASSERT(continuation == Continuation::KEEP_OPEN);
    return last<Response>(type);
  }

  template <typename Response>
  Response last(Message::Type type) {
    auto& sent = out.sent.back();
    KJ_ASSERT(sent.type == type, Message::Type_Name(sent.type).c_str(), errorText().c_str());
    Response response;
    KJ_ASSERT(response.ParseFromString(sent.payload));
    return response;
  }

  template <typename Request>
  std::string error(Message::Type type, const Request& request) {
    begin(type, request).wait(scope);
    return errorText();
  }

  std::string errorText() {
    if (out.sent.empty() || out.sent.back().type != Message::Error) return "no error";
    ErrorResponse response;
    KJ_ASSERT(response.ParseFromString(out.sent.back().payload));
    return response.message();
  }

  std::string create(const std::string& handle) {
    CreateRequest request;
    request.set_handle(handle);
    return call<CreateResponse>(Message::Create, request).handle();
  }

  uint32_t spawn(const std::string& handle, const std::string& script, bool discard = false) {
    SpawnRequest request;
    request.set_handle(handle);
    request.set_script(script);
    request.set_discard_output(discard);
    return call<SpawnResponse>(Message::Spawn, request).job_id();
  }

  InfoResponse info(const std::string& handle) {
    InfoRequest request;
    request.set_handle(handle);
    return call<InfoResponse>(Message::Info, request);
  }

  RunResponse run(const std::string& handle, const std::string& script) {
    return call<RunResponse>(Message::Run, runRequest(handle, script));
  }

  static RunRequest runRequest(const std::string& handle, const std::string& script) {
    RunRequest request;
    request.set_handle(handle);
    request.set_script(script);
    return request;
  }

  static LinkRequest linkRequest(const std::string& handle, uint32_t job) {
    LinkRequest request;
    request.set_handle(handle);
    request.set_job_id(job);
    return request;
  }

  static StreamRequest streamRequest(const std::string& handle, uint32_t job) {
    StreamRequest request;
    request.set_handle(handle);
    request.set_job_id(job);
    return request;
  }

  std::pair<std::string, std::string> streamed(StreamResponse& end) {
    std::pair<std::string, std::string> output;
    for (auto& sent : out.sent) {
      if (sent.type != Message::Stream) continue;
      StreamResponse response;
      KJ_ASSERT(response.ParseFromString(sent.payload));
      if (response.name() == "stdout") output.first += response.data();
      if (response.name() == "stderr") output.second += response.data();
      if (response.has_exit_status()) end = response;
    }
    return output;
  }

 private:
  kj::WaitScope& scope;
};

template <typename Request>
Request named(const std::string& handle) {
  Request request;
  request.set_handle(handle);
  return request;
}

class FlowTest : public ::testing::Test {
 protected:
  ~FlowTest() noexcept override = default;

  TemporaryDirectory image;
  TemporaryDirectory depot;
  Config config;
  kj::UnixEventPort port;
  kj::EventLoop loop{port};
  kj::WaitScope scope{loop};
  std::unique_ptr<HelperPeer> helper;
  std::unique_ptr<Core> core;
  kj::Promise<void> running = nullptr;
  bool helperLost = false;
  uint64_t descriptors = 10000;
  HostFacts host{"", "32768\t60999\n"};
  std::unique_ptr<Client> client;

  void SetUp() override {
    config.server.containerDepotPath = depot.path();
    config.server.containerRootfsPath = image.path();
    config.server.containerRlimits[RLIMIT_NOFILE] = 1024;
    config.user.poolSize = 4;
  }

  void startCore() {
    scope.setBusyPollInterval(64);
    auto sockets = makePacketPair();
    helper = std::make_unique<HelperPeer>(kj::mv(sockets.left), depot);
    core = std::make_unique<Core>(port, port.getTimer(), config, kj::mv(sockets.right),
                                  image.open(), host, descriptors);
    running = core->run().eagerlyEvaluate([this](kj::Exception&&) { helperLost = true; });
    client = std::make_unique<Client>(*core, scope);
    // Answered when it is known that there are no containers of an earlier frontend.
    Client(*core, scope).call<ListResponse>(Message::List, ListRequest());
  }

  std::unique_ptr<Client> connect() { return std::make_unique<Client>(*core, scope); }

  void sleep(int milliseconds) {
    port.getTimer().afterDelay(milliseconds * kj::MILLISECONDS).wait(scope);
  }
};

class CoreTest : public FlowTest {
 protected:
  void SetUp() override {
    FlowTest::SetUp();
    startCore();
  }
};

}  // namespace warden::frontend
