#include "privhelper/cgroups.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "privhelper/cgroups-version.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr uint32_t bit(Controller controller) {
  return 1u << int(controller);
}

struct NamedController {
  const char* name;
  Controller controller;
};

constexpr NamedController V1_CONTROLLERS[] = {
    {"pids", Controller::PIDS},       {"memory", Controller::MEMORY},
    {"cpu", Controller::CPU},         {"cpuacct", Controller::CPU_USAGE},
    {"devices", Controller::DEVICES}, {"freezer", Controller::FREEZER},
};

// By a file that is there when the controller is.
constexpr NamedController V2_CONTROLLERS[] = {
    {"pids.max", Controller::PIDS},         {"memory.max", Controller::MEMORY},
    {"cpu.weight", Controller::CPU},        {"cpu.stat", Controller::CPU_USAGE},
    {"cgroup.freeze", Controller::FREEZER},
};

// A killed process leaves its cgroup a moment after its pidfd reports the end.
constexpr int REMOVE_ATTEMPTS = 200;
constexpr int REMOVE_PAUSE_MS = 5;

constexpr uint64_t MIN_SHARES = 2;
constexpr uint64_t MAX_SHARES = 262144;

bool isFilesystem(kj::StringPtr path, long magic) {
  struct statfs fs;
  return statfs(path.cStr(), &fs) == 0 && fs.f_type == magic;
}

enum class Removal { DONE, BUSY, FAILED };

Removal tryRemoval(int parent, const char* name) {
  if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return Removal::DONE;
  return errno == EBUSY ? Removal::BUSY : Removal::FAILED;
}

bool removeWaiting(int parent, const char* name, int& attempts) {
  // `attempts` are those that are left, of all hierarchies together.
  for (;;) {
    Removal removal = tryRemoval(parent, name);
    if (removal != Removal::BUSY || attempts <= 0) return removal == Removal::DONE;
    --attempts;
    poll(nullptr, 0, REMOVE_PAUSE_MS);
  }
}

}  // namespace

bool CgroupHierarchy::isVersion2() const {
  return version == &cgroupVersion2();
}

Cgroups::Cgroups(kj::StringPtr mountPoint, kj::StringPtr parent, kj::StringPtr delegated)
    : parentName(parent.cStr()) {
  if (isFilesystem(mountPoint, CGROUP2_SUPER_MAGIC)) {
    addUnified(mountPoint, delegated);
  } else {
    for (auto& [name, controller] : V1_CONTROLLERS) {
      auto path = kj::str(mountPoint, '/', name);
      if (!isFilesystem(path, CGROUP_SUPER_MAGIC)) continue;
      addHierarchy(path, name, cgroupVersion1(), bit(controller));
    }
    auto unified = kj::str(mountPoint, "/unified");
    if (isFilesystem(unified, CGROUP2_SUPER_MAGIC)) addUnified(unified, delegated);
  }
  KJ_REQUIRE(find(Controller::PIDS) != nullptr,
             "no cgroup hierarchy with a pids controller; mount one", mountPoint);
  restrictDevices();
}

Cgroups::~Cgroups() noexcept(false) {
  for (auto& root : roots)
    unlinkat(root, parentName.c_str(), AT_REMOVEDIR);
}

void Cgroups::addUnified(kj::StringPtr mountPoint, kj::StringPtr delegated) {
  addHierarchy(kj::str(mountPoint, '/', delegated), "unified", cgroupVersion2(),
               bit(Controller::DEVICES));
  auto& hierarchy = found.back();
  CgroupHierarchy root{"", hierarchy.version, duplicate(roots.back()), 0};
  // Delegation to children; a controller that is absent, or enabled already, changes nothing.
  for (kj::StringPtr controller : {"+pids"_kj, "+memory"_kj, "+cpu"_kj}) {
    CgroupDirectory(root, ".", "delegate").tryWrite("cgroup.subtree_control", controller);
    CgroupDirectory(hierarchy, ".", "delegate").tryWrite("cgroup.subtree_control", controller);
  }
  for (auto& [file, controller] : V2_CONTROLLERS) {
    if (CgroupDirectory(hierarchy, ".", "look").has(file)) hierarchy.controllers |= bit(controller);
  }
}

void Cgroups::addHierarchy(kj::StringPtr path, std::string name, const CgroupVersion& version,
                           uint32_t controllers) {
  int rootFd;
  KJ_SYSCALL(rootFd = open(path.cStr(), O_DIRECTORY | O_RDONLY | O_CLOEXEC), path);
  Fd root(rootFd);
  if (mkdirat(root, parentName.c_str(), 0755) < 0 && errno != EEXIST) {
    KJ_FAIL_SYSCALL("mkdir", errno, path, parentName.c_str());
  }
  int parentFd;
  KJ_SYSCALL(parentFd = openat(root, parentName.c_str(), O_DIRECTORY | O_RDONLY | O_CLOEXEC));
  Fd parent(parentFd);
  // Controllers that are mounted together (cpu,cpuacct) are reached by either name.
  struct stat ours;
  KJ_SYSCALL(fstat(parent, &ours));
  for (auto& other : found) {
    struct stat theirs;
    KJ_SYSCALL(fstat(other.parent, &theirs));
    if (theirs.st_dev != ours.st_dev || theirs.st_ino != ours.st_ino) continue;
    other.controllers |= controllers;
    return;
  }
  roots.add(kj::mv(root));
  found.add(CgroupHierarchy{kj::mv(name), &version, kj::mv(parent), controllers});
}

void Cgroups::restrictDevices() {
  KJ_IF_MAYBE (hierarchy, find(Controller::DEVICES)) {
    CgroupDirectory parent(*hierarchy, ".", "restrict devices");
    devicesRestricted = hierarchy->version->restrictDevices(parent);
  } else {
    KJ_FAIL_REQUIRE(
        "no cgroup hierarchy can restrict devices; mount version 1's devices, or "
        "version 2");
  }
}

kj::Maybe<const CgroupHierarchy&> Cgroups::find(Controller controller) const {
  for (auto& hierarchy : found) {
    if (hierarchy.has(controller)) return hierarchy;
  }
  return nullptr;
}

bool Cgroups::removeOnce(const ContainerId& id) const {
  auto name = kj::str(CONTAINER_PREFIX, id.text());
  bool all = true;
  for (auto& hierarchy : found)
    all &= tryRemoval(hierarchy.parent, name.cStr()) == Removal::DONE;
  return all;
}

ContainerCgroups::ContainerCgroups(const Cgroups& cgroups, const ContainerId& id)
    : cgroups(cgroups), name(kj::str(CONTAINER_PREFIX, id.text())) {}

ContainerCgroups::ContainerCgroups(const Cgroups& cgroups, const ContainerId& id,
                                   uint32_t pidsLimit)
    : ContainerCgroups(cgroups, id) {
  make(pidsLimit);
}

ContainerCgroups::ContainerCgroups(const Cgroups& cgroups, const ContainerId& id,
                                   const Adopted& adopted)
    : ContainerCgroups(cgroups, id) {
  made = cgroups.hierarchies().size();
  cpuShares = adopted.cpuShares;
}

void ContainerCgroups::make(uint32_t pidsLimit) {
  for (auto& hierarchy : cgroups.hierarchies()) {
    step("make cgroup", [&] { return mkdirat(hierarchy.parent, name.cStr(), 0755); });
    ++made;
    if (hierarchy.isVersion2()) {
      version2 = Fd(step("open cgroup", [&] {
        return openat(hierarchy.parent, name.cStr(), O_DIRECTORY | O_RDONLY | O_CLOEXEC);
      }));
    } else {
      auto file = kj::str(name, "/tasks");
      tasks.add(Fd(step("open cgroup tasks", [&] {
        return openat(hierarchy.parent, file.cStr(), O_WRONLY | O_CLOEXEC);
      })));
    }
  }
  if (pidsLimit != 0) {
    auto& pids = require(Controller::PIDS, "limit pids");
    CgroupDirectory(pids, name, "limit pids").write("pids.max", kj::str(pidsLimit));
  }
  if (!cgroups.containersInheritDevices()) {
    auto& devices = require(Controller::DEVICES, "restrict devices");
    CgroupDirectory directory(devices, name, "restrict devices");
    if (!devices.version->restrictDevices(directory)) directory.fail(EBUSY);
  }
}

ContainerCgroups::~ContainerCgroups() noexcept(false) {
  auto hierarchies = cgroups.hierarchies();
  int attempts = waits ? REMOVE_ATTEMPTS : 0;
  while (made > 0)
    removeWaiting(hierarchies[--made].parent, name.cStr(), attempts);
}

bool ContainerCgroups::tryRemove() {
  waits = false;
  auto hierarchies = cgroups.hierarchies();
  for (; made > 0; --made) {
    if (tryRemoval(hierarchies[made - 1].parent, name.cStr()) == Removal::BUSY) return false;
    endPoint(hierarchies[made - 1].name.c_str());
  }
  return true;
}

void ContainerCgroups::closeFiles() {
  tasks.clear();
  version2 = nullptr;
}

kj::Maybe<int> ContainerCgroups::version2Directory() const {
  KJ_IF_MAYBE (directory, version2) {
    return directory->get();
  }
  return nullptr;
}

const CgroupHierarchy& ContainerCgroups::require(Controller controller, const char* step) const {
  KJ_IF_MAYBE (hierarchy, cgroups.find(controller)) {
    return *hierarchy;
  }
  throw StepError(step, ENOTSUP);
}

uint64_t ContainerCgroups::limitMemory(kj::Maybe<uint64_t> bytes) {
  constexpr char STEP[] = "limit memory";
  auto& hierarchy = require(Controller::MEMORY, STEP);
  CgroupDirectory directory(hierarchy, name, STEP);
  KJ_IF_MAYBE (wanted, bytes) {
    uint64_t page = sysconf(_SC_PAGESIZE);
    hierarchy.version->limitMemory(directory, kj::min(*wanted / page * page, UNLIMITED_MEMORY));
  }
  return hierarchy.version->memoryLimit(directory);
}

uint64_t ContainerCgroups::clampShares(uint64_t shares) {
  return kj::max(MIN_SHARES, kj::min(MAX_SHARES, shares));
}

uint64_t ContainerCgroups::limitCpu(kj::Maybe<uint64_t> shares) {
  constexpr char STEP[] = "limit cpu";
  auto& hierarchy = require(Controller::CPU, STEP);
  KJ_IF_MAYBE (wanted, shares) {
    uint64_t clamped = clampShares(*wanted);
    hierarchy.version->setCpuShares(CgroupDirectory(hierarchy, name, STEP), clamped);
    cpuShares = clamped;
  }
  return cpuShares;
}

kj::Vector<Statistic> ContainerCgroups::openStatistics() const {
  constexpr char STEP[] = "open statistics";
  kj::Vector<Statistic> statistics;
  KJ_IF_MAYBE (memory, cgroups.find(Controller::MEMORY)) {
    memory->version->openMemory(CgroupDirectory(*memory, name, STEP), statistics);
  }
  KJ_IF_MAYBE (cpu, cgroups.find(Controller::CPU_USAGE)) {
    cpu->version->openCpu(CgroupDirectory(*cpu, name, STEP), statistics);
  }
  return statistics;
}

}  // namespace warden::privhelper
