#pragma once
// The cgroups of containers: instance-<id> below a parent of ours in each hierarchy that there is
// (cgroups(7); Linux Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst).

#include <kj/vector.h>

#include <string>

#include "base/container-id.h"
#include "base/fd.h"
#include "schema/privhelper.capnp.h"

namespace warden::privhelper {

class CgroupVersion;
class CgroupDirectory;

constexpr uint64_t UNLIMITED_MEMORY = 9223372036854771712u;  // the kernel's own word for it on v1

enum class Controller { PIDS, MEMORY, CPU, CPU_USAGE, DEVICES, FREEZER };

struct CgroupHierarchy {
  std::string name;              // "pids", "memory", ... ; "unified" for version 2
  const CgroupVersion* version;  // cgroups-version.h
  Fd parent;                     // our directory
  uint32_t controllers;          // bit n: Controller n; those of version 1 are looked for first

  bool has(Controller controller) const { return (controllers >> int(controller) & 1) != 0; }
  bool isVersion2() const;
};

class Cgroups {
  // The hierarchies of this host: version 1 controllers mounted one by one, version 2 alone, or
  // both (hybrid). Found once, at start.

 public:
  Cgroups(kj::StringPtr mountPoint, kj::StringPtr parentName, kj::StringPtr delegated = nullptr);
  // Makes the parents, and restricts the devices of all containers (cgroups-devices.h). Throws when
  // there is no hierarchy with a pids controller (without it a fork bomb in one container takes the
  // host down), or none that can restrict devices. Needs CAP_SYS_ADMIN, and with version 2
  // CAP_BPF and CAP_NET_ADMIN: to be called before the sandbox closes. `delegated`: the cgroup of
  // version 2, below its root, that the parent is made in.

  ~Cgroups() noexcept(false);
  // Removes the parents where they are empty.
  KJ_DISALLOW_COPY(Cgroups);

  kj::ArrayPtr<const CgroupHierarchy> hierarchies() const { return found; }

  bool has(const ContainerId& id) const;
  // True: a cgroup of this container is there.

  kj::Maybe<const CgroupHierarchy&> find(Controller controller) const;

  bool containersInheritDevices() const { return devicesRestricted; }
  // False: the parent could not be restricted because stale containers are below it, so that each
  // new container is restricted itself.

  kj::Vector<ContainerId> stale() const;
  // Ids that have cgroups here.

  bool killOnce(const ContainerId& id, bool first) const;
  // Kills every process in the container's cgroups. True: there was none. To be called again, some
  // milliseconds later, until it is true; `first` tells that it was not called before. Processes
  // that fork cannot outrun it, and a process outside of these cgroups is never signalled.

  bool removeOnce(const ContainerId& id) const;
  // Removes the container's cgroups, without waiting. False: one is still busy.

  bool hasEverywhere(const ContainerId& id, pid_t pid) const;
  // True: this process is in the container's cgroup in every hierarchy.

 private:
  kj::Vector<CgroupHierarchy> found;
  kj::Vector<Fd> roots;
  std::string parentName;
  bool devicesRestricted = false;

  void addHierarchy(kj::StringPtr path, std::string name, const CgroupVersion& version,
                    uint32_t controllers);
  void addUnified(kj::StringPtr mountPoint, kj::StringPtr delegated);
  void restrictDevices();
};

struct Statistic {
  schema::Created::Statistics kind;
  Fd file;
};

class ContainerCgroups {
  // One container's directory in each hierarchy. The destructor removes them; all processes must
  // have ended.

 public:
  ContainerCgroups(const Cgroups& cgroups, const ContainerId& id, uint32_t pidsLimit);

  struct Adopted {
    uint64_t cpuShares;
  };
  ContainerCgroups(const Cgroups& cgroups, const ContainerId& id, const Adopted& adopted);
  // Those of a container that lives on. Does nothing yet.

  ~ContainerCgroups() noexcept(false);
  // Waits up to a second for processes to leave, unless tryRemove() was called.
  KJ_DISALLOW_COPY(ContainerCgroups);

  bool tryRemove();
  // One attempt, which does not wait. False: a killed process has still to leave; call again in
  // some milliseconds. What cannot be removed for another reason is left to the next start.

  kj::ArrayPtr<const Fd> taskFiles() const { return tasks; }
  // Version 1: a process joins by writing "0" to each. Opened here, where there is permission;
  // writing another process's pid would wait for an RCU grace period.

  void leave() { made = 0; }
  // The destructor then removes nothing.

  static uint64_t clampShares(uint64_t shares);
  // To what limitCpu sets.

  void closeFiles();
  // Once the container's first process has joined. From then on no descriptor is kept here.

  kj::Maybe<int> version2Directory() const;
  // For CLONE_INTO_CGROUP.

  uint64_t limitMemory(kj::Maybe<uint64_t> bytes);
  // Limits memory, and memory and swap together, when a number is given, rounded down to pages;
  // answers the limit in force, UNLIMITED_MEMORY when there is none. Throws StepError
  // "limit memory", nothing being changed: EBUSY when usage cannot be brought below the limit,
  // ENOTSUP without a memory controller, EINTR when it is to be called again: lowering the limit
  // below the usage reclaims memory first, some milliseconds at a time. What the container does
  // meanwhile may make that endless.

  uint64_t limitCpu(kj::Maybe<uint64_t> shares);
  // Sets the weight, clamped to 2 .. 262144, when one is given; answers the one in force. Throws
  // StepError "limit cpu", ENOTSUP without a cpu controller.

  kj::Vector<Statistic> openStatistics() const;
  // What the host's cgroups have of Created.statistics, in that order. The files are open for
  // reading only, belong to root and have mode 0644 or less: who has the descriptor can read them
  // again and again, and cannot open them again for writing.

 private:
  const Cgroups& cgroups;
  kj::String name;
  kj::Vector<Fd> tasks;
  kj::Maybe<Fd> version2;
  size_t made = 0;  // directories exist in the first `made` hierarchies
  bool waits = true;
  uint64_t cpuShares = 1024;  // the kernel's default

  ContainerCgroups(const Cgroups& cgroups, const ContainerId& id);
  // Of nothing yet: the destructor runs also when what follows in the other constructor throws.

  void make(uint32_t pidsLimit);
  const CgroupHierarchy& require(Controller controller, const char* step) const;
};

}  // namespace warden::privhelper
