#pragma once
// One container: everything that a create makes, undone in the reverse order.

#include <capnp/message.h>

#include "base/pidfd.h"
#include "privhelper/cgroups.h"
#include "privhelper/container-directory.h"
#include "privhelper/container-record.h"
#include "privhelper/kept-processes.h"
#include "privhelper/launcher.h"
#include "privhelper/network.h"

namespace warden::privhelper {

class FirstProcess {
  // The process that becomes wshd. The destructor kills it, and with it everything in its pid
  // namespace, and waits for the end.

 public:
  FirstProcess(Launcher& launcher, kj::Maybe<int> cgroup, uint32_t profile);
  // Only asks for it: the kernel makes the namespaces while the caller goes on.
  explicit FirstProcess(Launcher& launcher) : launcher(launcher) {}
  // Of nothing yet, for adopt().
  ~FirstProcess() noexcept(false);
  KJ_DISALLOW_COPY(FirstProcess);

  bool end();
  // As the destructor; false: it has not ended in time.
  void leave() { process = Pidfd(); }
  // The destructor then does nothing.

  void adopt(Pidfd adopted) { process = kj::mv(adopted); }
  // One that lives on from an earlier server.

  void awaitBirth();
  const Pidfd& pidfd() const { return process; }

  void join(kj::ArrayPtr<const Fd> taskFiles);
  struct Orders {
    kj::StringPtr hostname;
    uint32_t vcapGid;
    kj::StringPtr interface;
    uint32_t address;
    uint32_t gateway;
    bool allowIpv6;
    bool privilegedJobs;
    uint32_t bindMounts;
    uint64_t capabilities;
    kj::StringPtr apparmor;
  };
  void build(const Orders& orders, int root, int devices, int connection, int listener);
  void bind(kj::ArrayPtr<const BindOrder> binds, kj::ArrayPtr<const OpenedMount> mounts);
  // Of those that build() has announced, all.
  void connected();
  void awaitExec();
  // Returns when wshd runs. Throws StepError with the step that failed in the process.
  void throwCause();
  // For a step of the caller's that has failed: where the process had ended before, it throws why
  // (StepError), since what ended takes its files in /proc and its namespaces along.

 private:
  Launcher& launcher;
  Fd setup;
  Pidfd process;
  bool requested = false;

  void send(capnp::MessageBuilder& message, kj::ArrayPtr<const int> fds);
  void receiveEnd();
  [[noreturn]] static void throwUnexpectedEnd();
};

struct ContainerHost {
  // What containers are made with.
  const Policy& policy;
  const Cgroups& cgroups;
  const Depot& depot;
  Launcher& launcher;
  Network& network;
  KeptProcesses& kept;
};

class Container {
 public:
  Container(const ContainerHost& host, const CreateOrder& order);
  // Throws StepError; then nothing is left.
  Container(const ContainerHost& host, ContainerRecord record);
  // One that an earlier server has made. Before Network::start(). Throws StepError; then it is as
  // it was.
  ~Container() noexcept(false);
  KJ_DISALLOW_COPY(Container);
  // Ends it and removes what it is made of; but a container that does not end is left whole.

  void leave();
  // To the next start, which finds it by its cgroups and its tree. The destructor then does
  // nothing.

  const ContainerId& id() const { return containerId; }
  uint32_t slot() const { return slotNumber; }
  uid_t owner() const { return ownerUid; }  // the user of the host for whom it was made
  ContainerRecord& record() { return KJ_ASSERT_NONNULL(recordPart); }
  const ContainerRecord& record() const { return KJ_ASSERT_NONNULL(recordPart); }

  void beginEnd();
  // Kills its processes. From here on it is nobody's, whatever becomes of the helper.

  void change(const Policy& policy, StateChange change, kj::FunctionParam<void()> make);
  // Makes a change that is on record before it is made, or not at all. Throws what `make` throws,
  // and StepError where it cannot be recorded.
  const Pidfd& wshd() const { return process.pidfd(); }

  ContainerNetwork& network() { return networkPart; }
  const ContainerNetwork& network() const { return networkPart; }
  ContainerCgroups& cgroups() { return cgroupsPart; }

  Fd takeConnection() { return kj::mv(connection); }
  Fd connectAgain() const { return directory.connect(); }
  // To wshd, which ends the connection that it has when it takes this one. Throws StepError.
  Fd openState() const { return directory.openState(); }
  ContainerDisk& disk() { return directory.disk(); }

 private:
  ContainerId containerId;
  uint32_t slotNumber;
  uid_t ownerUid;
  ContainerCgroups cgroupsPart;
  ContainerNetwork networkPart;
  FirstProcess process;
  ContainerDirectory directory;
  Fd connection;
  kj::Maybe<ContainerRecord> recordPart;

  void build(const ContainerHost& host, const CreateOrder& order);
  void limit(const CreateOrder& order);
  void writeRecord(const ContainerHost& host, const CreateOrder& order);
  Fd prepareRoot(const ContainerHost& host, const CreateOrder& order, int userNamespace);
  Fd prepareOwnRoot(const ContainerHost& host, const CreateOrder& order, int tree);
  void mapBindMounts(const ContainerHost& host, const CreateOrder& order, int userNamespace);
};

}  // namespace warden::privhelper
