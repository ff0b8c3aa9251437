#pragma once
// The frontend as a service of its own, started by the service manager: it connects to a socket of
// the helper's and gets what it needs as descriptors.

#include <sys/types.h>

#include "privhelper/audit-log.h"
#include "privhelper/frontend.h"

namespace warden::privhelper {

class FrontendService final : public Frontend {
  // One at a time: others wait in the socket's queue, unheard, until it has gone. Its end is the
  // end of its connection; ending and starting its process is the service manager's business.

 public:
  FrontendService(Fd listener, uid_t user, FrontendDescriptors descriptors, kj::String configName,
                  AuditLog& log);
  // `listener`: bound, listening, SOCK_SEQPACKET. `user`: the only one that may connect.

  bool isRunning() const override { return connected; }
  bool hasEnded() const override { return connected && connection() < 0; }
  int endEvent() const override { return -1; }
  int startEvent() const override { return connected ? -1 : listener.get(); }
  uint64_t startableAtUs() const override { return NEVER_US; }

  bool start() override;
  // Takes the next connection of the queue. False: its peer is another user than the kernel has to
  // attest (unix(7), SO_PEERCRED), which is recorded, or has gone.
  void startLater() override {}

  void forget() override;
  void end(int signal, uint64_t graceUs) override;
  // Closes the connection.
  uint64_t killAtUs() const override { return NEVER_US; }
  void kill() override {}

 private:
  Fd listener;
  uid_t user;
  FrontendDescriptors descriptors;
  kj::String configName;
  AuditLog& log;
  bool connected = false;

  void handOver(Fd connection);
};

}  // namespace warden::privhelper
