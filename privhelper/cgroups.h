#pragma once
// The cgroups of containers: instance-<id> below a parent of ours in each hierarchy that there is
// (cgroups(7); Linux Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst).

#include <kj/vector.h>

#include <string>

#include "base/container-id.h"
#include "base/fd.h"

namespace warden::privhelper {

struct CgroupHierarchy {
  std::string name;  // "pids", "memory", ... ; "unified" for version 2
  bool version2;
  Fd parent;  // our directory
};

class Cgroups {
  // The hierarchies of this host: version 1 controllers mounted one by one, version 2 alone, or
  // both (hybrid). Found once, at start.

 public:
  Cgroups(kj::StringPtr mountPoint, kj::StringPtr parentName);
  // Makes the parents. Throws when no hierarchy with a pids controller is found: without it a fork
  // bomb in one container takes the host down.

  ~Cgroups() noexcept(false);
  // Removes the parents where they are empty.
  KJ_DISALLOW_COPY(Cgroups);

  kj::ArrayPtr<const CgroupHierarchy> hierarchies() const { return found; }

  bool has(const ContainerId& id) const;
  // True: a cgroup of this container is there.

  kj::Vector<ContainerId> stale() const;
  // Ids that have cgroups here.

  bool killStale(const ContainerId& id, int timeoutMs) const;
  // Kills every process in the container's cgroups and waits until they are empty. False: they were
  // not in time.

  bool removeStale(const ContainerId& id) const;
  // False: a cgroup is still busy.

 private:
  kj::Vector<CgroupHierarchy> found;
  kj::Vector<Fd> roots;
  std::string parentName;

  void addHierarchy(kj::StringPtr path, std::string name, bool version2);
};

class ContainerCgroups {
  // One container's directory in each hierarchy. The destructor removes them; all processes must
  // have ended.

 public:
  ContainerCgroups(const Cgroups& cgroups, const ContainerId& id, uint32_t pidsLimit);
  ~ContainerCgroups() noexcept(false);
  KJ_DISALLOW_COPY(ContainerCgroups);

  kj::ArrayPtr<const Fd> taskFiles() const { return tasks; }
  // Version 1: a process joins by writing "0" to each. Opened here, where there is permission;
  // writing another process's pid would wait for an RCU grace period.

  void leave() { made = 0; }
  // The destructor then removes nothing.

  void closeFiles();
  // Once the container's first process has joined.

  kj::Maybe<int> version2Directory() const;
  // For CLONE_INTO_CGROUP.

 private:
  const Cgroups& cgroups;
  kj::String name;
  kj::Vector<Fd> tasks;
  kj::Maybe<Fd> version2;
  size_t made = 0;  // directories exist in the first `made` hierarchies

  ContainerCgroups(const Cgroups& cgroups, const ContainerId& id);
  // Of nothing yet: the destructor runs also when what follows in the other constructor throws.

  void make(uint32_t pidsLimit);
};

}  // namespace warden::privhelper
