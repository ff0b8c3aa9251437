#pragma once
// Pidfds of containers' first processes, kept by the service manager (FileDescriptorStoreMax= of
// systemd.service(5)) while there is no helper: after a restart a container's process is known by
// the descriptor that its create has made, not by a number that may be another's.

#include <map>
#include <set>
#include <string>

#include "base/container-id.h"
#include "base/pidfd.h"
#include "base/service-manager.h"

namespace warden::privhelper {

class KeptProcesses {
 public:
  KeptProcesses(const ServiceManager& manager, kj::Vector<PassedDescriptor> stored);
  // `stored`: what an earlier helper has kept, by the containers' ids. Without a service manager
  // nothing is kept, and processes are looked up by their numbers.

  kj::Maybe<Pidfd> take(const ContainerId& id, pid_t pid);
  // None: nothing is kept, or it is another process than the one with this number.

  void keep(const ContainerId& id, const Pidfd& process);
  void forget(const ContainerId& id);

  void forgetOthers();
  // Those that nobody has taken: their containers were not.

 private:
  const ServiceManager& manager;
  std::map<std::string, Fd> stored;
  std::set<std::string> kept;
};

}  // namespace warden::privhelper
