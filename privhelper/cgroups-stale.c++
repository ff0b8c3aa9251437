// Containers that an earlier server has left: found, and ended, by their cgroups.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "privhelper/cgroups-version.h"

namespace warden::privhelper {

namespace {

constexpr size_t LARGEST_LIST = 16 << 20;
constexpr size_t PIDFDS_AT_ONCE = 64;
constexpr int FREEZE_MS = 100;

kj::Maybe<std::vector<pid_t>> processesIn(int parent, kj::StringPtr name) {
  // Sorted. Empty where there is no such cgroup; null where that cannot be told, for lack of
  // descriptors or memory: nothing may be taken for ended then.
  std::vector<pid_t> pids;
  int fd = openat(parent, kj::str(name, "/cgroup.procs").cStr(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return kj::mv(pids);
  if (fd < 0) return nullptr;
  Fd owned(fd);
  kj::Array<kj::byte> text;
  if (kj::runCatchingExceptions([&] { text = readAll(fd, LARGEST_LIST); }) != nullptr) {
    return nullptr;
  }
  pid_t pid = 0;
  for (char c : text.asChars()) {
    if (c != '\n') {
      pid = pid * 10 + (c - '0');
      continue;
    }
    // 0: of a pid namespace that this process does not see.
    if (pid > 1) pids.push_back(pid);
    pid = 0;
  }
  std::sort(pids.begin(), pids.end());
  return kj::mv(pids);
}

bool hasProcess(int parent, kj::StringPtr name, pid_t pid) {
  KJ_IF_MAYBE (pids, processesIn(parent, name)) {
    return std::binary_search(pids->begin(), pids->end(), pid);
  }
  return false;
}

void killBatch(int parent, kj::StringPtr name, kj::ArrayPtr<const pid_t> pids) {
  // A number may have passed on to a process elsewhere since the list was read. What the descriptor
  // refers to is in the cgroup when it lives and its number is in a list that was read after the
  // descriptor was opened.
  std::vector<std::pair<pid_t, Fd>> processes;
  for (pid_t pid : pids) {
    int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (fd >= 0) processes.emplace_back(pid, Fd(fd));
  }
  auto present = processesIn(parent, name).orDefault({});
  for (auto& [pid, fd] : processes) {
    if (!std::binary_search(present.begin(), present.end(), pid)) continue;
    syscall(SYS_pidfd_send_signal, fd.get(), SIGKILL, nullptr, 0);
  }
}

class Frozen {
  // Holds the container's processes still, so that none forks while they are signalled. They die
  // when it ends: on version 1 a frozen process does not.

 public:
  Frozen(const Cgroups& cgroups, kj::StringPtr name)
      : hierarchy(cgroups.find(Controller::FREEZER)), name(name) {
    KJ_IF_MAYBE (h, hierarchy) {
      CgroupDirectory directory(*h, name, "freeze");
      h->version->freeze(directory, true);
      // A process that is being frozen does not return from the kernel any more, nor do its
      // children: one that is stuck there needs no waiting for.
      kj::runCatchingExceptions([&] {
        for (int waited = 0; waited < FREEZE_MS && !h->version->isFrozen(directory); ++waited)
          poll(nullptr, 0, 1);
      });
    }
  }
  ~Frozen() {
    KJ_IF_MAYBE (h, hierarchy) {
      h->version->freeze(CgroupDirectory(*h, name, "thaw"), false);
    }
  }
  KJ_DISALLOW_COPY(Frozen);

 private:
  kj::Maybe<const CgroupHierarchy&> hierarchy;
  kj::StringPtr name;
};

bool killAtOnce(const Cgroups& cgroups, kj::StringPtr name) {
  // cgroup.kill (Linux 5.14). False: there is none.
  bool killed = false;
  for (auto& hierarchy : cgroups.hierarchies()) {
    if (!hierarchy.isVersion2()) continue;
    killed |= CgroupDirectory(hierarchy, name, "kill").tryWrite("cgroup.kill", "1") == 0;
  }
  return killed;
}

void killFrozen(const Cgroups& cgroups, kj::StringPtr name) {
  Frozen frozen(cgroups, name);
  for (auto& hierarchy : cgroups.hierarchies()) {
    auto pids = processesIn(hierarchy.parent, name).orDefault({});
    for (size_t i = 0; i < pids.size(); i += PIDFDS_AT_ONCE) {
      size_t count = std::min(PIDFDS_AT_ONCE, pids.size() - i);
      killBatch(hierarchy.parent, name, kj::arrayPtr(pids.data() + i, count));
    }
  }
}

bool isEmpty(const Cgroups& cgroups, kj::StringPtr name) {
  for (auto& hierarchy : cgroups.hierarchies()) {
    KJ_IF_MAYBE (pids, processesIn(hierarchy.parent, name)) {
      if (pids->empty()) continue;
    }
    return false;
  }
  return true;
}

}  // namespace

kj::Vector<ContainerId> Cgroups::stale() const {
  kj::Vector<ContainerId> ids;
  for (auto& hierarchy : found) {
    int fd;
    KJ_SYSCALL(fd = openat(hierarchy.parent, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC));
    std::unique_ptr<DIR, int (*)(DIR*)> directory(fdopendir(fd), closedir);
    KJ_REQUIRE(directory != nullptr);
    while (dirent* entry = readdir(directory.get())) {
      kj::StringPtr name = entry->d_name;
      if (!name.startsWith(CONTAINER_PREFIX)) continue;
      KJ_IF_MAYBE (id, ContainerId::parse(name.slice(CONTAINER_PREFIX.size()))) {
        ids.add(*id);
      }
    }
  }
  return ids;
}

bool Cgroups::has(const ContainerId& id) const {
  auto name = kj::str(CONTAINER_PREFIX, id.text());
  for (auto& hierarchy : found) {
    if (faccessat(hierarchy.parent, name.cStr(), F_OK, AT_SYMLINK_NOFOLLOW) == 0) return true;
  }
  return false;
}

bool Cgroups::hasEverywhere(const ContainerId& id, pid_t pid) const {
  auto name = kj::str(CONTAINER_PREFIX, id.text());
  for (auto& hierarchy : found) {
    if (!hasProcess(hierarchy.parent, name, pid)) return false;
  }
  return true;
}

bool Cgroups::killOnce(const ContainerId& id, bool first) const {
  auto name = kj::str(CONTAINER_PREFIX, id.text());
  if (isEmpty(*this, name)) return true;
  bool killed = killAtOnce(*this, name);
  // Also what cgroup.kill has not reached: processes that a server has left frozen, or that had
  // joined only some of the cgroups.
  if (!killed || !first) killFrozen(*this, name);
  return false;
}

}  // namespace warden::privhelper
