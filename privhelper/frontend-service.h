#pragma once
// The frontend as a service of its own, started by the service manager: it connects to a socket of
// the helper's and gets what it needs as descriptors.

#include <sys/types.h>

#include "privhelper/audit-log.h"
#include "privhelper/frontend.h"

namespace warden::privhelper {

class FrontendService final : public Frontend {
  // One at a time: others wait in the socket's queue, unheard, until it has gone. Its end is the
  // end of its connection; ending and starting its process is the service manager's business. Who
  // says nothing is not waited for: another process of its user could keep the frontend out.

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
  void saidHello() override { helloDueUs = NEVER_US; }
  uint64_t killAtUs() const override { return helloDueUs; }
  // HELLO_US after the connection, until it has said hello.
  void kill() override;
  // Closes the connection, and says so on the record.

  static constexpr uint64_t HELLO_US = 5'000'000;
  // The frontend greets within milliseconds, in an emulated machine within a second.

 private:
  Fd listener;
  uid_t user;
  FrontendDescriptors descriptors;
  kj::String configName;
  AuditLog& log;
  bool connected = false;
  pid_t peer = -1;
  uint64_t helloDueUs = NEVER_US;

  void handOver(Fd connection);
};

}  // namespace warden::privhelper
