#include "privhelper/cgroups.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <memory>

#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr const char* V1_CONTROLLERS[] = {"pids", "memory", "cpu", "cpuacct", "devices", "freezer"};
constexpr kj::StringPtr PREFIX = "instance-"_kj;

// A killed process leaves its cgroup a moment after its pidfd reports the end.
constexpr int REMOVE_ATTEMPTS = 200;
constexpr int REMOVE_PAUSE_MS = 5;

bool isFilesystem(kj::StringPtr path, long magic) {
  struct statfs fs;
  return statfs(path.cStr(), &fs) == 0 && fs.f_type == magic;
}

bool writeFile(int directory, const char* name, kj::StringPtr value) {
  int fd = openat(directory, name, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  Fd owned(fd);
  return write(fd, value.begin(), value.size()) == static_cast<ssize_t>(value.size());
}

bool removeDirectory(int parent, const char* name) {
  for (int attempt = 0; attempt < REMOVE_ATTEMPTS; ++attempt) {
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return true;
    if (errno != EBUSY) return false;
    poll(nullptr, 0, REMOVE_PAUSE_MS);
  }
  return false;
}

}  // namespace

Cgroups::Cgroups(kj::StringPtr mountPoint, kj::StringPtr parent) : parentName(parent.cStr()) {
  bool hasPids = false;
  if (isFilesystem(mountPoint, CGROUP2_SUPER_MAGIC)) {
    addHierarchy(mountPoint, "unified", true);
    auto& h = found.back();
    // Delegation to children; a controller that is absent, or enabled already, changes nothing.
    for (kj::StringPtr controller : {"+pids"_kj, "+memory"_kj, "+cpu"_kj}) {
      writeFile(roots.back(), "cgroup.subtree_control", controller);
      writeFile(h.parent, "cgroup.subtree_control", controller);
    }
    hasPids = faccessat(h.parent, "pids.max", F_OK, 0) == 0;
  } else {
    auto unified = kj::str(mountPoint, "/unified");
    if (isFilesystem(unified, CGROUP2_SUPER_MAGIC)) addHierarchy(unified, "unified", true);
    for (kj::StringPtr controller : V1_CONTROLLERS) {
      auto path = kj::str(mountPoint, '/', controller);
      if (!isFilesystem(path, CGROUP_SUPER_MAGIC)) continue;
      addHierarchy(path, controller.cStr(), false);
      if (controller == "pids") hasPids = true;
    }
  }
  KJ_REQUIRE(hasPids, "no cgroup hierarchy with a pids controller; mount one", mountPoint);
}

Cgroups::~Cgroups() noexcept(false) {
  for (auto& root : roots)
    unlinkat(root, parentName.c_str(), AT_REMOVEDIR);
}

void Cgroups::addHierarchy(kj::StringPtr path, std::string name, bool version2) {
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
    if (theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino) return;
  }
  roots.add(kj::mv(root));
  found.add(CgroupHierarchy{kj::mv(name), version2, kj::mv(parent)});
}

kj::Vector<ContainerId> Cgroups::stale() const {
  kj::Vector<ContainerId> ids;
  for (auto& hierarchy : found) {
    int fd;
    KJ_SYSCALL(fd = openat(hierarchy.parent, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC));
    std::unique_ptr<DIR, int (*)(DIR*)> directory(fdopendir(fd), closedir);
    KJ_REQUIRE(directory != nullptr);
    while (dirent* entry = readdir(directory.get())) {
      kj::StringPtr name = entry->d_name;
      if (!name.startsWith(PREFIX)) continue;
      KJ_IF_MAYBE (id, ContainerId::parse(name.slice(PREFIX.size()))) {
        ids.add(*id);
      }
    }
  }
  return ids;
}

bool Cgroups::has(const ContainerId& id) const {
  auto name = kj::str(PREFIX, id.text());
  for (auto& hierarchy : found) {
    if (faccessat(hierarchy.parent, name.cStr(), F_OK, AT_SYMLINK_NOFOLLOW) == 0) return true;
  }
  return false;
}

bool Cgroups::killStale(const ContainerId& id, int timeoutMs) const {
  // A loop, because a process may fork between the reading of the list and the signal.
  auto file = kj::str(PREFIX, id.text(), "/cgroup.procs");
  for (int waited = 0; waited < timeoutMs; waited += REMOVE_PAUSE_MS) {
    bool empty = true;
    for (auto& hierarchy : found) {
      int fd = openat(hierarchy.parent, file.cStr(), O_RDONLY | O_CLOEXEC);
      if (fd < 0) continue;
      Fd owned(fd);
      auto text = readAll(fd, 16 << 20);
      for (size_t i = 0; i < text.size();) {
        pid_t pid = 0;
        while (i < text.size() && text[i] != '\n')
          pid = pid * 10 + (text[i++] - '0');
        ++i;
        empty = false;
        if (pid > 1) kill(pid, SIGKILL);
      }
    }
    if (empty) return true;
    poll(nullptr, 0, REMOVE_PAUSE_MS);
  }
  return false;
}

bool Cgroups::removeStale(const ContainerId& id) const {
  auto name = kj::str(PREFIX, id.text());
  bool all = true;
  for (auto& hierarchy : found)
    all &= removeDirectory(hierarchy.parent, name.cStr());
  return all;
}

ContainerCgroups::ContainerCgroups(const Cgroups& cgroups, const ContainerId& id)
    : cgroups(cgroups), name(kj::str(PREFIX, id.text())) {}

ContainerCgroups::ContainerCgroups(const Cgroups& cgroups, const ContainerId& id,
                                   uint32_t pidsLimit)
    : ContainerCgroups(cgroups, id) {
  make(pidsLimit);
}

void ContainerCgroups::make(uint32_t pidsLimit) {
  for (auto& hierarchy : cgroups.hierarchies()) {
    step("make cgroup", [&] { return mkdirat(hierarchy.parent, name.cStr(), 0755); });
    ++made;
    Fd directory(step("open cgroup", [&] {
      return openat(hierarchy.parent, name.cStr(), O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    }));
    if (pidsLimit != 0) {
      // Only where this hierarchy has the controller.
      auto limit = kj::str(pidsLimit);
      if (!writeFile(directory, "pids.max", limit) && errno != ENOENT) {
        throw StepError("limit pids", errno);
      }
    }
    if (hierarchy.version2) {
      version2 = kj::mv(directory);
    } else {
      tasks.add(Fd(step("open cgroup tasks",
                        [&] { return openat(directory, "tasks", O_WRONLY | O_CLOEXEC); })));
    }
  }
}

ContainerCgroups::~ContainerCgroups() noexcept(false) {
  auto hierarchies = cgroups.hierarchies();
  while (made > 0)
    removeDirectory(hierarchies[--made].parent, name.cStr());
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

}  // namespace warden::privhelper
