#pragma once
// The listening socket: accepts clients, up to a limit, and ends them all when the server drains.

#include <kj/async-unix.h>
#include <kj/list.h>
#include <spdlog/logger.h>

#include "base/fd.h"
#include "frontend/edge-connection.h"
#include "frontend/fair-limit.h"
#include "frontend/session.h"

namespace warden::frontend {

class EdgeServer : private EdgeContext, private kj::TaskSet::ErrorHandler {
 public:
  struct Options {
    // More are answered with an Error and closed, also those of a user who has its share
    // (FairLimit). Root may have all.
    uint32_t maxConnections;
    uint32_t maxRequestBytes;  // of one frame's payload
    // Of unfinished requests, and of responses that are not read, all connections together. A
    // connection that would hold more is closed, unless its share is small.
    size_t maxUnfinishedBytes = 256 << 20;
    size_t maxUnreadBytes = 256 << 20;
  };

  EdgeServer(kj::UnixEventPort& port, Fd listener, SessionFactory& sessions, Options options,
             spdlog::logger& logger);
  // `listener` is bound and listening; it is made non-blocking. The rest outlives the server.
  ~EdgeServer() noexcept(false);

  kj::Promise<void> run();
  // Accepts until drain() is called, then closes the listener and resolves; rejects only when the
  // listening socket fails for good. To be called once, before drain().

  kj::Promise<void> drain();
  // Stops accepting, closes the connections that are idle or in Link, Run or Stream, lets the other
  // requests finish, then resolves. A client that has not read its response 5 s later is cut off.
  // To be called once.

  size_t connectionCount() const { return connections.size(); }
  size_t requestsUnderWay() const { return underWay; }
  const RequestCounts& requestCounts() const { return counts; }
  size_t unreadResponseBytes() const { return unreadBytes; }
  size_t unfinishedRequestBytes() const { return unfinishedBytes; }
  bool isDraining() const override { return drainFulfiller == nullptr; }

 private:
  kj::UnixEventPort& port;
  Fd listener;
  kj::Maybe<kj::UnixEventPort::FdObserver> observer;
  SessionFactory& sessions;
  Options options;
  spdlog::logger& logger;
  uint64_t lastErrorNumber = 0;
  size_t unfinishedBytes = 0;
  size_t unreadBytes = 0;
  size_t underWay = 0;
  RequestCounts counts;
  kj::TimePoint nextMalformedLog = kj::origin<kj::TimePoint>();
  bool acceptFailed = false;  // so that a lasting shortage is logged once
  kj::Array<kj::byte> inputBuffer;
  kj::Own<kj::PromiseFulfiller<void>> drainFulfiller;
  kj::ForkedPromise<void> drainBegins;
  kj::ForkedPromise<void> drainTimesOut;
  FairLimit users;  // of connections, but for root's
  kj::List<EdgeConnection, &EdgeConnection::link> connections;
  kj::TaskSet tasks;  // one for each connection; destroyed before what they use

  kj::Promise<void> acceptLoop();
  kj::Promise<void> acceptLater(int error);
  void accepted(Fd socket);
  void serve(Fd socket, kj::Maybe<Place> place);
  void refuse(Fd socket, kj::StringPtr text);

  // EdgeContext
  kj::UnixEventPort& eventPort() override { return port; }
  spdlog::logger& log() override { return logger; }
  kj::ArrayPtr<kj::byte> readBuffer() override { return inputBuffer; }
  bool holdInput(size_t before, size_t now) override {
    unfinishedBytes += now - before;
    return unfinishedBytes <= options.maxUnfinishedBytes;
  }
  bool holdOutput(size_t before, size_t now) override {
    unreadBytes += now - before;
    return unreadBytes <= options.maxUnreadBytes;
  }
  void requestBegins() override { ++underWay; }
  void requestEnds(Message::Type type, RequestOutcome outcome) override {
    --underWay;
    counts.add(type, outcome);
  }
  void frameIsMalformed(int socket, kj::StringPtr reason) override;
  uint64_t nextErrorNumber() override { return ++lastErrorNumber; }
  kj::Promise<void> whenDrainTimesOut() override { return drainTimesOut.addBranch(); }
  kj::Promise<void> yield() override;

  void taskFailed(kj::Exception&& exception) override;
};

}  // namespace warden::frontend
