#pragma once
// What systemd gives to a service and wants to be told, by its documented protocols alone
// (sd_listen_fds(3), sd_notify(3)): a few lines, instead of a library in privileged processes.

#include <kj/string.h>
#include <kj/vector.h>

#include <string>

#include "base/fd.h"

namespace warden {

struct PassedDescriptor {
  std::string name;  // FileDescriptorName= of the socket unit, FDNAME= of what was stored
  Fd fd;
};

kj::Vector<PassedDescriptor> takePassedDescriptors();
// $LISTEN_FDS, if they are meant for this process ($LISTEN_PID); CLOEXEC from now on. To be called
// once, before anything else opens or closes descriptors.

kj::Maybe<Fd> takeNamed(kj::Vector<PassedDescriptor>& passed, kj::StringPtr name);
// The first of that name.

class ServiceManager {
  // The connection to $NOTIFY_SOCKET.

 public:
  ServiceManager() = default;
  // Nobody is told anything.

  static ServiceManager fromEnvironment();
  // No path is used afterwards, so that it works in a sandbox too. Nobody is told anything where
  // there is no such variable.

  void ready() const { tell("READY=1"); }

  void store(kj::StringPtr name, int fd) const;
  // Keeps a duplicate until forget(), or the end of the unit; the next process of the service gets
  // it among takePassedDescriptors().
  void forget(kj::StringPtr name) const;

 private:
  Fd socket;

  void tell(kj::StringPtr state, kj::Maybe<int> fd = nullptr) const;
  // Never waits, and never fails: who does not hear of it is the service manager.
};

}  // namespace warden
