#pragma once
// What differs between version 1 and version 2 of cgroups: names and meanings of files.

#include <kj/string.h>
#include <kj/vector.h>

#include "privhelper/cgroups.h"

namespace warden::privhelper {

constexpr kj::StringPtr CONTAINER_PREFIX = "instance-"_kj;
// Of the name of a container's cgroups; its id follows.

class CgroupDirectory {
  // One cgroup in one hierarchy: its files, opened for each use, so that no descriptor is kept.
  // Borrows its arguments. What fails throws StepError with the step that is given.

 public:
  CgroupDirectory(const CgroupHierarchy& hierarchy, kj::StringPtr name, const char* step)
      : parent(hierarchy.parent), name(name), step(step) {}

  bool has(const char* file) const;
  kj::String read(const char* file) const;  // without the line's end
  uint64_t readNumber(const char* file) const;
  void write(const char* file, kj::StringPtr value) const;
  int tryWrite(const char* file, kj::StringPtr value) const;  // 0, or errno
  void writeFor(const char* file, kj::StringPtr value, int ms) const;
  // For what the kernel may be at for as long as the container likes: it fails with EINTR when the
  // time is up, or the kernel stops and takes the value.
  kj::Maybe<Fd> open(const char* file) const;  // for reading; none: there is no such
  [[noreturn]] void fail(int error) const;

 private:
  int parent;
  kj::StringPtr name;  // "." is the parent itself
  const char* step;

  kj::String path(const char* file) const { return kj::str(name, '/', file); }
};

constexpr int RECLAIM_MS = 20;
// What a limit that is lowered takes at a time.

class CgroupVersion {
 public:
  virtual uint64_t memoryLimit(const CgroupDirectory& directory) const = 0;
  // Bytes, or UNLIMITED_MEMORY.

  virtual void limitMemory(const CgroupDirectory& directory, uint64_t bytes) const = 0;
  // `bytes` are whole pages, or UNLIMITED_MEMORY. EINTR: the kernel still reclaims.

  virtual void setCpuShares(const CgroupDirectory& directory, uint64_t shares) const = 0;

  virtual void openMemory(const CgroupDirectory& directory,
                          kj::Vector<Statistic>& statistics) const = 0;
  virtual void openCpu(const CgroupDirectory& directory,
                       kj::Vector<Statistic>& statistics) const = 0;

  virtual bool restrictDevices(const CgroupDirectory& directory) const = 0;
  // To the table of cgroups-devices.h, for this cgroup and all below. False: the kernel does not
  // allow that while there are cgroups below.

  virtual void freeze(const CgroupDirectory& directory, bool frozen) const = 0;
  // Only asks for it. What cannot be frozen stays as it is.
  virtual bool isFrozen(const CgroupDirectory& directory) const = 0;
};

const CgroupVersion& cgroupVersion1();
const CgroupVersion& cgroupVersion2();

void openStatistic(const CgroupDirectory& directory, const char* file,
                   schema::Created::Statistics kind, kj::Vector<Statistic>& statistics);
// Nothing, where there is no such file.

}  // namespace warden::privhelper
