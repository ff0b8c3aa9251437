#pragma once
// The frontend as the helper runs it in standalone mode: started, started again when it dies, told
// to end.

#include <kj/string.h>

#include "base/pidfd.h"
#include "privhelper/audit-log.h"
#include "privhelper/launcher.h"

namespace warden::privhelper {

uint64_t monotonicUs();
constexpr uint64_t NEVER_US = UINT64_MAX;

struct FrontendDescriptors {
  Fd listener;  // warden.sock, bound and listening
  Fd config;    // the configuration's text, sealed
  Fd image;     // O_PATH
  Fd depot;     // O_PATH
  kj::Maybe<Fd> log;
};

class FrontendProcess {
 public:
  FrontendProcess(Launcher& launcher, FrontendDescriptors descriptors, kj::String configName,
                  AuditLog& log);

  void start();
  // A new process with a new connection.

  bool isRunning() const { return process.fd() >= 0; }
  int pidfd() const { return process.fd(); }
  int connection() const { return socket.get(); }  // -1: none
  void disconnect() { socket = nullptr; }
  int auditConnection() const { return audit.get(); }  // schema/audit.capnp; -1: none
  void disconnectAudit() { audit = nullptr; }

  void forget();
  // After its end.

  void end(int signal, uint64_t graceUs);
  // Sends the signal; after the grace time the process is to be killed. The earliest such time
  // counts.
  uint64_t killAtUs() const { return killUs; }
  void kill();

  void startLater();
  // After a start that failed.

  uint64_t startableAtUs() const { return nextStartUs; }
  // A frontend that died young is not started again at once.

 private:
  Launcher& launcher;
  FrontendDescriptors descriptors;
  kj::String configName;
  AuditLog& log;
  Pidfd process;
  Fd socket;
  Fd audit;
  uint64_t startedUs = 0;
  uint64_t nextStartUs = 0;
  uint64_t killUs = NEVER_US;
};

}  // namespace warden::privhelper
