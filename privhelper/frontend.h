#pragma once
// The frontend as the broker sees it: two connections, and a beginning and an end that depend on
// who starts it, the helper (frontend-process.h) or the service manager (frontend-service.h).

#include <kj/string.h>

#include "base/fd.h"

namespace warden::privhelper {

uint64_t monotonicUs();
constexpr uint64_t NEVER_US = UINT64_MAX;

struct FrontendDescriptors {
  // What it gets.
  Fd listener;  // warden.sock, bound and listening
  Fd config;    // the configuration's text, sealed
  Fd image;     // O_PATH
  Fd depot;     // O_PATH
  kj::Maybe<Fd> log;
  kj::Maybe<Fd> health;  // listens for /healthz and /metrics
};

class Frontend {
 public:
  Frontend() = default;
  virtual ~Frontend() noexcept(false) {}
  KJ_DISALLOW_COPY(Frontend);

  int connection() const { return socket.get(); }  // -1: none
  void disconnect() { socket = nullptr; }
  int auditConnection() const { return audit.get(); }  // schema/audit.capnp; -1: none
  void disconnectAudit() { audit = nullptr; }

  virtual bool isRunning() const = 0;
  virtual bool hasEnded() const = 0;
  // True: it has been running, and forget() is due.

  virtual int endEvent() const = 0;    // readable at its end; -1: the connection tells
  virtual int startEvent() const = 0;  // readable when start() is due; -1: a matter of time
  virtual uint64_t startableAtUs() const = 0;

  virtual bool start() = 0;
  // With new connections. False: there is none yet. Throws StepError.
  virtual void startLater() = 0;
  // After a start that failed.

  virtual void forget() = 0;
  // After its end.

  virtual void saidHello() {}
  // It has sent its first request, and is what it was taken for.

  virtual void end(int signal, uint64_t graceUs) = 0;
  // Tells it to end; after the grace time it is to be killed. The earliest such time counts.
  virtual uint64_t killAtUs() const = 0;
  virtual void kill() = 0;

 protected:
  Fd socket;
  Fd audit;
};

}  // namespace warden::privhelper
