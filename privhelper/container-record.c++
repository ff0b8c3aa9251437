#include "privhelper/container-record.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "privhelper/step.h"
#include "schema/helper-state.capnp.h"

namespace warden::privhelper {

namespace {

constexpr char FILE_NAME[] = "helper.state";
constexpr char NEW_FILE_NAME[] = "helper.state.new";
constexpr size_t LARGEST_FILE = 1 << 20;

// Entries that say nothing any more, before the file is made anew: some 50 bytes each.
constexpr uint32_t MOST_SUPERSEDED = 1000;

constexpr char READ[] = "read record";
constexpr char WRITE[] = "write record";

constexpr int START_TIME_FIELD = 22;  // proc(5), /proc/PID/stat

[[noreturn]] void unusable(kj::StringPtr why) {
  throw StepError(READ, 0, why);
}

kj::String readSmallFile(const char* path) {
  Fd file(step(READ, [&] { return open(path, O_RDONLY | O_CLOEXEC); }));
  auto bytes = readAll(file, 4096);
  return kj::heapString(bytes.asChars());
}

uint64_t startTimeIn(kj::StringPtr stat) {
  // The second field, the program's name in parentheses, may itself contain anything.
  const char* at = strrchr(stat.cStr(), ')');
  for (int field = 2; at != nullptr && field < START_TIME_FIELD; ++field)
    at = strchr(at + 1, ' ');
  if (at == nullptr) unusable("/proc/PID/stat has another form");
  return strtoull(at + 1, nullptr, 10);
}

void append(kj::Vector<kj::byte>& bytes, capnp::MessageBuilder& message) {
  bytes.addAll(capnp::messageToFlatArray(message).asBytes());
}

void put(schema::StateEntry::Builder out, const StateChange& change) {
  KJ_SWITCH_ONEOF(change) {
    KJ_CASE_ONEOF(port, MappedPort) {
      auto mapped = out.initPortMapped();
      mapped.setHostPort(port.hostPort);
      mapped.setContainerPort(port.containerPort);
    }
    KJ_CASE_ONEOF(rule, OutRule) {
      put(out.initOutAllowed(), rule);
    }
    KJ_CASE_ONEOF(shape, Bandwidth) {
      auto bandwidth = out.initBandwidth();
      bandwidth.setRate(shape.rate);
      bandwidth.setBurst(shape.burst);
      bandwidth.setGeneration(shape.generation);
      bandwidth.setComplete(shape.complete);
    }
    KJ_CASE_ONEOF(cpu, CpuShares) {
      out.setCpuShares(cpu.shares);
    }
    KJ_CASE_ONEOF(limits, DiskLimits) {
      put(out.initDiskLimits(), limits);
    }
  }
}

void append(kj::Vector<kj::byte>& bytes, const StateChange& change) {
  capnp::MallocMessageBuilder message;
  put(message.initRoot<schema::StateEntry>(), change);
  append(bytes, message);
}

StateChange changeFrom(schema::StateEntry::Reader entry) {
  StateChange change;
  switch (entry.which()) {
    case schema::StateEntry::PORT_MAPPED: {
      auto mapped = entry.getPortMapped();
      change = MappedPort{mapped.getHostPort(), mapped.getContainerPort()};
      return change;
    }
    case schema::StateEntry::OUT_ALLOWED:
      change = ruleFrom(entry.getOutAllowed());
      return change;
    case schema::StateEntry::BANDWIDTH: {
      auto bandwidth = entry.getBandwidth();
      change = Bandwidth{bandwidth.getRate(), bandwidth.getBurst(), bandwidth.getGeneration(),
                         bandwidth.getComplete()};
      return change;
    }
    case schema::StateEntry::CPU_SHARES:
      change = CpuShares{entry.getCpuShares()};
      return change;
    case schema::StateEntry::DISK_LIMITS:
      change = limitsFrom(entry.getDiskLimits());
      return change;
    case schema::StateEntry::CREATED:
      break;
  }
  unusable("an entry is of an unknown kind");
}

void put(schema::CreatedState::Builder out, const ContainerFacts& facts, const Policy& policy) {
  out.setVersion(schema::STATE_VERSION);
  out.setBootId(readBootId());
  out.setId(facts.id.text());
  out.setSlot(facts.slot);
  out.setNetwork(facts.network);
  out.setRootUid(policy.rootUid(facts.slot));
  out.setVcapUid(policy.vcapUid(facts.slot));
  out.setAddress(policy.network.containerAddress(facts.network));
  out.setOwnerUid(facts.owner);
  out.setPrivilegedJobs(facts.privilegedJobs);
  auto wshd = out.initWshd();
  wshd.setPid(facts.wshd.pid);
  wshd.setStartTime(facts.wshd.startTime);
  wshd.setInode(facts.wshd.inode);
  auto disk = out.initDisk();
  disk.setBackend(facts.disk.backend);
  disk.setLoopDevice(facts.disk.loopDevice);
  disk.setFreeBlocks(facts.disk.freeBlocks);
  disk.setFreeInodes(facts.disk.freeInodes);
}

ContainerFacts factsFrom(schema::CreatedState::Reader in, const ContainerId& id,
                         const Policy& policy) {
  if (in.getVersion() != schema::STATE_VERSION) {
    unusable(kj::str("it is of version ", in.getVersion(), ", and this helper's is ",
                     uint32_t(schema::STATE_VERSION)));
  }
  if (in.getBootId() != readBootId()) unusable("it is of another boot of the host");
  if (in.getId() != id.text()) unusable(kj::str("it is of container ", in.getId()));
  uint32_t slot = in.getSlot(), network = in.getNetwork();
  if (slot >= policy.slotCount || in.getRootUid() != policy.rootUid(slot) ||
      in.getVcapUid() != policy.vcapUid(slot)) {
    unusable("the configuration has other user ids now");
  }
  if (network >= policy.network.poolSize ||
      in.getAddress() != policy.network.containerAddress(network)) {
    unusable("the configuration has other networks now");
  }
  auto wshd = in.getWshd();
  auto disk = in.getDisk();
  return {.id = id,
          .slot = slot,
          .network = network,
          .owner = in.getOwnerUid(),
          .privilegedJobs = in.getPrivilegedJobs(),
          .wshd = {wshd.getPid(), wshd.getStartTime(), wshd.getInode()},
          .disk = {.backend = kj::str(disk.getBackend()),
                   .loopDevice = disk.getLoopDevice(),
                   .freeBlocks = disk.getFreeBlocks(),
                   .freeInodes = disk.getFreeInodes()}};
}

kj::Array<capnp::word> readWords(int file) {
  auto bytes = readAll(file, LARGEST_FILE);
  auto words = kj::heapArray<capnp::word>(bytes.size() / sizeof(capnp::word));
  memcpy(words.begin(), bytes.begin(), words.size() * sizeof(capnp::word));
  return words;
}

kj::Own<capnp::FlatArrayMessageReader> takeEntry(kj::ArrayPtr<const capnp::word>& rest) {
  // None: there is no whole one any more.
  if (rest.size() == 0 || capnp::expectedSizeInWordsFromPrefix(rest) > rest.size()) return {};
  auto message = kj::heap<capnp::FlatArrayMessageReader>(rest);
  rest = kj::arrayPtr(message->getEnd(), rest.end());
  return message;
}

}  // namespace

kj::String readBootId() {
  return readSmallFile("/proc/sys/kernel/random/boot_id");
}

ProcessFacts factsOf(const Pidfd& process) {
  ProcessFacts facts{.pid = process.pid()};
  facts.startTime = startTimeIn(readSmallFile(kj::str("/proc/", process.pid(), "/stat").cStr()));
  struct stat status;
  step(READ, [&] { return fstat(process.fd(), &status); });
  facts.inode = status.st_ino;
  // Alive after the file was read: it is of this process, not of a later one with its number.
  if (process.waitExit(0)) throw StepError(READ, ESRCH, "its first process has ended");
  return facts;
}

ContainerRecord::ContainerRecord(ContainerFacts facts, const DiskLimits& limits)
    : fixed(kj::mv(facts)), disk(limits) {}

ContainerRecord ContainerRecord::read(int directory, const ContainerId& id, const Policy& policy) {
  Fd file(step(READ, [&] {
    return openat(directory, FILE_NAME, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  }));
  struct stat status;
  step(READ, [&] { return fstat(file, &status); });
  if (!S_ISREG(status.st_mode) || status.st_uid != 0 || (status.st_mode & 077) != 0) {
    unusable("it is not root's alone");
  }
  try {
    auto words = readWords(file);
    kj::ArrayPtr<const capnp::word> rest = words;
    auto first = takeEntry(rest);
    if (first.get() == nullptr || !first->getRoot<schema::StateEntry>().isCreated()) {
      unusable("it has no beginning");
    }
    auto created = first->getRoot<schema::StateEntry>().getCreated();
    ContainerRecord record(factsFrom(created, id, policy), {});
    for (auto next = takeEntry(rest); next.get() != nullptr; next = takeEntry(rest))
      record.apply(changeFrom(next->getRoot<schema::StateEntry>()));
    // What is not whole would hide what is appended to it.
    step(READ, [&] { return ftruncate(file, (words.size() - rest.size()) * sizeof(capnp::word)); });
    return record;
  } catch (const kj::Exception& e) {
    unusable(e.getDescription());
  }
}

kj::Array<kj::byte> ContainerRecord::encode(const Policy& policy) const {
  kj::Vector<kj::byte> bytes;
  capnp::MallocMessageBuilder first;
  put(first.initRoot<schema::StateEntry>().initCreated(), fixed, policy);
  append(bytes, first);
  for (auto& port : portList)
    append(bytes, StateChange(port));
  for (auto& rule : ruleList)
    append(bytes, StateChange(rule));
  KJ_IF_MAYBE (bandwidth, shape) {
    append(bytes, StateChange(*bandwidth));
  }
  append(bytes, StateChange(CpuShares{shares}));
  append(bytes, StateChange(disk));
  return bytes.releaseAsArray();
}

void ContainerRecord::write(int directory, const Policy& policy) const {
  auto bytes = encode(policy);
  KJ_ON_SCOPE_FAILURE(unlinkat(directory, NEW_FILE_NAME, 0));
  Fd file(step(WRITE, [&] {
    return openat(directory, NEW_FILE_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                  0600);
  }));
  size_t written = step(WRITE, [&] { return ::write(file, bytes.begin(), bytes.size()); });
  if (written != bytes.size()) throw StepError(WRITE, ENOSPC);
  step(WRITE, [&] { return renameat(directory, NEW_FILE_NAME, directory, FILE_NAME); });
}

void ContainerRecord::remove(int directory) noexcept {
  unlinkat(directory, FILE_NAME, 0);
}

void ContainerRecord::apply(const StateChange& change) {
  KJ_SWITCH_ONEOF(change) {
    KJ_CASE_ONEOF(port, MappedPort) {
      portList.add(port);
    }
    KJ_CASE_ONEOF(rule, OutRule) {
      ruleList.add(rule);
    }
    KJ_CASE_ONEOF(bandwidth, Bandwidth) {
      shape = bandwidth;
      ++superseded;
    }
    KJ_CASE_ONEOF(cpu, CpuShares) {
      shares = cpu.shares;
      ++superseded;
    }
    KJ_CASE_ONEOF(limits, DiskLimits) {
      disk = limits;
      ++superseded;
    }
  }
}

ContainerRecord::Change::Change(ContainerRecord& record, int directory, const Policy& policy,
                                StateChange changeParam)
    : record(record), change(kj::mv(changeParam)) {
  if (record.superseded > MOST_SUPERSEDED) {
    record.write(directory, policy);
    record.superseded = 0;
  }
  kj::Vector<kj::byte> bytes;
  append(bytes, change);
  file = Fd(step(WRITE, [&] {
    return openat(directory, FILE_NAME, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
  }));
  struct stat status;
  step(WRITE, [&] { return fstat(file, &status); });
  sizeBefore = status.st_size;
  KJ_ON_SCOPE_FAILURE((void)!ftruncate(file, sizeBefore));
  size_t written = step(WRITE, [&] { return ::write(file, bytes.begin(), bytes.size()); });
  if (written != bytes.size()) throw StepError(WRITE, ENOSPC);
}

ContainerRecord::Change::~Change() noexcept(false) {
  // Shrinking needs no room on the disk.
  if (file != nullptr) (void)!ftruncate(file, sizeBefore);
}

void ContainerRecord::Change::made() {
  file = nullptr;
  record.apply(change);
}

}  // namespace warden::privhelper
