#pragma once
// One container: everything that a create makes, undone in the reverse order.

#include <capnp/message.h>

#include "base/pidfd.h"
#include "privhelper/cgroups.h"
#include "privhelper/container-directory.h"
#include "privhelper/launcher.h"

namespace warden::privhelper {

class FirstProcess {
  // The process that becomes wshd. The destructor kills it, and with it everything in its pid
  // namespace, and waits for the end.

 public:
  FirstProcess(Launcher& launcher, kj::Maybe<int> cgroup);
  // Only asks for it: the kernel makes the namespaces while the caller goes on.
  ~FirstProcess() noexcept(false);
  KJ_DISALLOW_COPY(FirstProcess);

  void awaitBirth();
  const Pidfd& pidfd() const { return process; }

  void join(kj::ArrayPtr<const Fd> taskFiles);
  void build(kj::StringPtr hostname, int root, int devices, int connection, int listener);
  void awaitExec();
  // Returns when wshd runs. Throws StepError with the step that failed in the process.

 private:
  Launcher& launcher;
  Fd setup;
  Pidfd process;
  bool requested = false;

  void send(capnp::MessageBuilder& message, kj::ArrayPtr<const int> fds);
  void receiveEnd();
};

struct ContainerHost {
  // What containers are made with.
  const Policy& policy;
  const Cgroups& cgroups;
  const Depot& depot;
  Launcher& launcher;
};

class Container {
 public:
  Container(const ContainerHost& host, const CreateOrder& order);
  // Throws StepError; then nothing is left.

  const ContainerId& id() const { return containerId; }
  uint32_t slot() const { return slotNumber; }
  const Pidfd& wshd() const { return process.pidfd(); }

  bool tryRemoveCgroups() { return cgroups.tryRemove(); }
  // When wshd has ended, before the destructor: as ContainerCgroups::tryRemove.

  Fd takeConnection() { return kj::mv(connection); }
  Fd openState() const { return directory.openState(); }

 private:
  ContainerId containerId;
  uint32_t slotNumber;
  ContainerCgroups cgroups;
  FirstProcess process;
  ContainerDirectory directory;
  Fd connection;

  void build(const ContainerHost& host, const CreateOrder& order);
  Fd prepareRoot(const ContainerHost& host, const CreateOrder& order);
};

}  // namespace warden::privhelper
