#pragma once
// <depot>/<id>/helper.state (schema/helper-state.capnp): what is known of a container, in memory
// and in the file from which a later helper takes it.

#include <kj/array.h>
#include <kj/one-of.h>
#include <kj/vector.h>

#include "base/fd.h"
#include "base/pidfd.h"
#include "privhelper/disk.h"
#include "privhelper/orders.h"
#include "privhelper/policy.h"

namespace warden::privhelper {

struct ProcessFacts {
  // Which process is meant by a number.
  pid_t pid = 0;
  uint64_t startTime = 0;  // ticks since the boot
  uint64_t inode = 0;      // of its pidfd
};

ProcessFacts factsOf(const Pidfd& process);
// Throws StepError where it has ended.

kj::String readBootId();

struct ContainerFacts {
  // What create has made and nothing changes.
  ContainerId id;
  uint32_t slot;
  uint32_t network;
  uid_t owner;
  bool privilegedJobs;
  ProcessFacts wshd;
  DiskFacts disk;
};

struct CpuShares {
  uint64_t shares;
};

using StateChange = kj::OneOf<MappedPort, OutRule, Bandwidth, CpuShares, DiskLimits>;

class ContainerRecord {
 public:
  ContainerRecord(ContainerFacts facts, const DiskLimits& limits);

  static ContainerRecord read(int directory, const ContainerId& id, const Policy& policy);
  // Of a container's open directory. Throws StepError "read record": there is none, or it is of
  // another boot, of another version, of another container or policy.

  void write(int directory, const Policy& policy) const;
  // A new file, in the place of one that there may be. Throws StepError.

  static void remove(int directory) noexcept;
  // Of a container that is to end: no helper adopts it any more.

  const ContainerFacts& facts() const { return fixed; }
  kj::ArrayPtr<const MappedPort> ports() const { return portList; }
  kj::ArrayPtr<const OutRule> rules() const { return ruleList; }
  kj::Maybe<const Bandwidth&> bandwidth() const { return shape; }
  uint64_t cpuShares() const { return shares; }
  const DiskLimits& diskLimits() const { return disk; }

  class Change {
    // A change that is in the file, and about to be made. Taken back by the destructor, unless it
    // was made.

   public:
    Change(ContainerRecord& record, int directory, const Policy& policy, StateChange change);
    // Throws StepError "write record"; then nothing has changed.
    ~Change() noexcept(false);
    KJ_DISALLOW_COPY(Change);

    void made();

   private:
    ContainerRecord& record;
    StateChange change;
    Fd file;
    uint64_t sizeBefore = 0;
  };

 private:
  ContainerFacts fixed;
  kj::Vector<MappedPort> portList;
  kj::Vector<OutRule> ruleList;
  kj::Maybe<Bandwidth> shape;
  uint64_t shares = 1024;  // the kernel's default
  DiskLimits disk;
  uint32_t superseded = 0;  // entries of the file that a later one has replaced

  void apply(const StateChange& change);
  kj::Array<kj::byte> encode(const Policy& policy) const;
};

}  // namespace warden::privhelper
