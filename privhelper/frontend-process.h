#pragma once
// The frontend as the helper runs it in standalone mode: started, started again when it dies, told
// to end.

#include "base/pidfd.h"
#include "privhelper/audit-log.h"
#include "privhelper/frontend.h"
#include "privhelper/launcher.h"

namespace warden::privhelper {

class FrontendProcess final : public Frontend {
 public:
  FrontendProcess(Launcher& launcher, FrontendDescriptors descriptors, kj::String configName,
                  AuditLog& log);

  bool isRunning() const override { return process.fd() >= 0; }
  bool hasEnded() const override { return false; }  // endEvent() tells
  int endEvent() const override { return process.fd(); }
  int startEvent() const override { return -1; }
  uint64_t startableAtUs() const override { return nextStartUs; }
  // A frontend that died young is not started again at once.

  bool start() override;
  // A new process.
  void startLater() override;

  void forget() override;
  void end(int signal, uint64_t graceUs) override;
  // Sends the signal.
  uint64_t killAtUs() const override { return killUs; }
  void kill() override;

 private:
  Launcher& launcher;
  FrontendDescriptors descriptors;
  kj::String configName;
  AuditLog& log;
  Pidfd process;
  uint64_t startedUs = 0;
  uint64_t nextStartUs = 0;
  uint64_t killUs = NEVER_US;
};

}  // namespace warden::privhelper
