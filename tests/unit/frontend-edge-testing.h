#pragma once
// The edge on a real unix socket, with a session of the test's own behind it.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <kj/thread.h>
#include <spdlog/sinks/ostream_sink.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <sstream>
#include <thread>

#include "base/fd.h"
#include "base/unix-address.h"
#include "frontend/edge-server.h"

namespace warden::frontend {

constexpr uint64_t FILE_BYTES = 8 << 20;

inline std::string payloadOf(const kj::Array<kj::byte>& bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
}

inline kj::Array<kj::byte> bytesOf(const std::string& text) {
  return kj::heapArray<kj::byte>(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

struct Shared {
  std::atomic<int> dropped{0};  // promises of Link that went away unresolved
  std::atomic<int> linking{0};  // Links under way
  std::atomic<int> sessions{0};
  Fd file;  // what Stream sends
};

// Echo answers with its request; Link waits for ever; Create and Destroy wait 200 ms; Stream sends
// a file between two memory parts; Info has a bug; NetIn fails half way; Stop asks to close.
class TestSession final : public Session {
 public:
  TestSession(Shared& shared, kj::Timer& timer) : shared(shared), timer(timer) {
    ++shared.sessions;
  }
  ~TestSession() noexcept(false) { --shared.sessions; }

  kj::Promise<Continuation> handle(Message::Type type, kj::Array<kj::byte> request,
                                   ResponseWriter& out) override {
    switch (type) {
      case Message::Link: {
        ++shared.linking;
        kj::Promise<Continuation> never = kj::NEVER_DONE;
        return never.attach(kj::defer([this]() { ++shared.dropped; }));
      }
      case Message::Create:
        return timer.afterDelay(200 * kj::MILLISECONDS)
            .then([type, &out, request = kj::mv(request)]() mutable {
              return answer(type, kj::mv(request), out);
            });
      case Message::Stream:
        return stream(type, FILE_BYTES, out);
      case Message::NetIn:
        return stream(type, FILE_BYTES + 1, out);
      case Message::Info:
        KJ_FAIL_ASSERT("a bug of the test");
      case Message::Stop:
        return answer(type, kj::mv(request), out).then([](Continuation) {
          return Continuation::CLOSE;
        });
      default:
        return answer(type, kj::mv(request), out);
    }
  }

 private:
  Shared& shared;
  kj::Timer& timer;

  static kj::Promise<Continuation> answer(Message::Type type, kj::Array<kj::byte> bytes,
                                          ResponseWriter& out) {
    auto parts = kj::heapArrayBuilder<PayloadPart>(1);
    parts.add(kj::mv(bytes));
    return out.send(type, parts.finish()).then([]() { return Continuation::KEEP_OPEN; });
  }

  kj::Promise<Continuation> stream(Message::Type type, uint64_t size, ResponseWriter& out) {
    auto parts = kj::heapArrayBuilder<PayloadPart>(3);
    parts.add(bytesOf("before"));
    parts.add(FileRange{shared.file, 0, size});
    parts.add(bytesOf("after"));
    return out.send(type, parts.finish()).then([]() { return Continuation::KEEP_OPEN; });
  }
};

class TestSessions final : public SessionFactory {
 public:
  TestSessions(Shared& shared, kj::Timer& timer) : shared(shared), timer(timer) {}
  kj::Own<Session> open(int) override { return kj::heap<TestSession>(shared, timer); }

 private:
  Shared& shared;
  kj::Timer& timer;
};

class Client {
 public:
  explicit Client(const UnixAddress& address) : fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    timeval timeout{10, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    if (connect(fd, address.get(), address.size()) < 0) {
      fd = nullptr;
    }
  }

  void sendRaw(const std::string& bytes) const {
    ASSERT_EQ(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  void send(Message::Type type, const std::string& payload = "") const {
    auto frame = encodeFrame(type, bytesOf(payload));
    sendRaw(std::string(reinterpret_cast<char*>(frame.begin()), frame.size()));
  }

  // "TYPE:payload", "end" when the server has closed the connection, "error" otherwise.
  std::string receive() {
    for (;;) {
      auto decoded = decoder.next();
      if (decoded.is<Frame>()) {
        auto& frame = decoded.get<Frame>();
        return Message::Type_Name(frame.type) + ":" + payloadOf(frame.payload);
      }
      if (decoded.is<MalformedFrame>()) return "malformed";
      kj::byte buffer[65536];
      ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
      if (n == 0) return "end";
      if (n < 0) return std::string("error: ") + strerror(errno);
      decoder.feed(kj::arrayPtr(buffer, n));
    }
  }
  std::string ask(Message::Type type, const std::string& payload = "") {
    send(type, payload);
    return receive();
  }

  Fd fd;

 private:
  FrameDecoder decoder{1 << 30};
};

class EdgeTest : public testing::Test {
 protected:
  std::string name = "warden-edge-test-" + std::to_string(getpid()) + "-" +
                     testing::UnitTest::GetInstance()->current_test_info()->name();
  UnixAddress address = UnixAddress::notify("@" + name);
  std::unique_ptr<Shared> sharedState = std::make_unique<Shared>();
  Shared& shared = *sharedState;
  std::ostringstream logText;
  std::string fileContent;
  std::unique_ptr<kj::Thread> thread;
  std::atomic<const kj::Executor*> executor{nullptr};
  EdgeServer* server = nullptr;
  kj::PromiseFulfiller<void>* stop = nullptr;
  std::atomic<bool> drained{false};
  std::atomic<bool> accepting{true};

  void start(uint32_t maxConnections = 1000, size_t maxUnfinishedBytes = 64 << 20,
             size_t maxUnreadBytes = 64 << 20) {
    fileContent.resize(FILE_BYTES);
    for (size_t i = 0; i < fileContent.size(); ++i)
      fileContent[i] = i * 2654435761u >> 24;
    shared.file = Fd(memfd_create("stream", MFD_CLOEXEC));
    writeAll(shared.file, bytesOf(fileContent));
    Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(bind(listener, address.get(), address.size()), 0);
    ASSERT_EQ(listen(listener, 4096), 0);
    thread = std::make_unique<kj::Thread>([this, maxConnections, maxUnfinishedBytes, maxUnreadBytes,
                                           fd = kj::mv(listener)]() mutable {
      serve(kj::mv(fd), {maxConnections, 1 << 20, maxUnfinishedBytes, maxUnreadBytes});
    });
    while (executor == nullptr)
      std::this_thread::yield();
  }

  void serve(Fd listener, EdgeServer::Options options) {
    kj::UnixEventPort port;
    kj::EventLoop loop(port);
    kj::WaitScope scope(loop);
    TestSessions sessions(shared, port.getTimer());
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(logText);
    spdlog::logger logger("test", sink);
    EdgeServer edge(port, kj::mv(listener), sessions, options, logger);
    auto paf = kj::newPromiseAndFulfiller<void>();
    stop = paf.fulfiller.get();
    server = &edge;
    executor = &kj::getCurrentThreadExecutor();
    auto running = edge.run().then([this]() { accepting = false; }).eagerlyEvaluate(nullptr);
    paf.promise.wait(scope);
  }

  template <typename Func>
  auto inServer(Func&& func) {
    return executor.load()->executeSync(kj::fwd<Func>(func));
  }

  void drain() {
    inServer([this]() {
      server->drain().then([this]() { drained = true; }).detach([](kj::Exception&&) {});
    });
  }

  size_t connectionCount() {
    return inServer([this]() { return server->connectionCount(); });
  }

  template <typename Condition>
  static bool eventually(Condition&& condition) {
    for (int i = 0; i < 5000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  void TearDown() override {
    if (thread == nullptr) return;
    inServer([this]() { stop->fulfill(); });
    thread = nullptr;
  }
};

}  // namespace warden::frontend
