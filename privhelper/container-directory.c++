#include "privhelper/container-directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "base/packet.h"
#include "base/unix-address.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr int BACKLOG = 4;

struct Owner {
  uid_t uid;
  gid_t gid;
};

Fd makeDirectory(int parent, const char* name, mode_t mode, Owner owner, const char* what) {
  step(what, [&] { return mkdirat(parent, name, mode); });
  Fd fd(step(
      what, [&] { return openat(parent, name, O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC); }));
  if (owner.uid != 0) step(what, [&] { return fchown(fd, owner.uid, owner.gid); });
  return fd;
}

void makeFile(int parent, const char* name, kj::ArrayPtr<const kj::byte> content, Owner owner,
              const char* what) {
  Fd fd(step(what, [&] {
    return openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  }));
  while (content.size() > 0) {
    size_t n = step(what, [&] { return write(fd, content.begin(), content.size()); });
    content = content.slice(n, content.size());
  }
  if (owner.uid != 0) step(what, [&] { return fchown(fd, owner.uid, owner.gid); });
}

UnixAddress wshdAddress(int run) {
  return UnixAddress("/proc/self/fd/" + std::to_string(run) + "/wshd.sock");
}

}  // namespace

Depot::Depot(kj::StringPtr path, const DiskBackend& disk, Fd wake)
    : pathName(kj::str(path)), diskBackend(disk), wakeSweeper(kj::mv(wake)) {
  int fd;
  KJ_SYSCALL(fd = ::open(path.cStr(), O_DIRECTORY | O_RDONLY | O_CLOEXEC), path);
  directory = Fd(fd);
  if (mkdirat(directory, REMOVED.cStr(), 0700) < 0 && errno != EEXIST) {
    KJ_FAIL_SYSCALL("mkdir", errno, path, REMOVED);
  }
  KJ_SYSCALL(
      fd = openat(directory, REMOVED.cStr(), O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  removed = Fd(fd);
}

kj::Vector<ContainerId> Depot::ids() const {
  int fd;
  KJ_SYSCALL(fd = openat(directory, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC));
  std::unique_ptr<DIR, int (*)(DIR*)> list(fdopendir(fd), closedir);
  KJ_REQUIRE(list != nullptr);
  kj::Vector<ContainerId> ids;
  while (dirent* entry = readdir(list.get())) {
    KJ_IF_MAYBE (id, ContainerId::parse(entry->d_name)) {
      ids.add(*id);
    }
  }
  return ids;
}

bool Depot::has(const ContainerId& id) const noexcept {
  return faccessat(directory, id.text().cStr(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

Fd Depot::open(const ContainerId& id) const {
  return Fd(step("open container directory", [&] {
    return openat(directory, id.text().cStr(), O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  }));
}

kj::Maybe<uid_t> Depot::rootUidOf(const ContainerId& id) const {
  struct stat status;
  auto layer = kj::str(id.text(), "/tmp/rootfs");
  if (fstatat(directory, layer.cStr(), &status, AT_SYMLINK_NOFOLLOW) < 0) return nullptr;
  return status.st_uid;
}

bool Depot::releaseDisk(const ContainerId& id) const noexcept {
  int raw = openat(directory, id.text().cStr(), O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  // What is no directory has nothing to release.
  if (raw < 0) return errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
  Fd tree(raw);
  return diskBackend.release(tree);
}

bool Depot::discard(const ContainerId& id) const noexcept {
  if (!releaseDisk(id)) return false;
  endPoint("move tree");
  // The frontend chooses ids, and may choose one again before the sweeper has removed its first
  // tree.
  for (;;) {
    char name[48];
    snprintf(name, sizeof(name), "%s-%llu", id.text().cStr(),
             static_cast<unsigned long long>(discarded++));
    if (renameat2(directory, id.text().cStr(), removed, name, RENAME_NOREPLACE) == 0) break;
    // ENOENT may also mean that somebody has removed the place to move it to.
    if (errno != EEXIST) return errno == ENOENT && !has(id);
  }
  endPoint("tree is moved");
  // The pipe may be full: then the sweeper is awake anyhow.
  char wake = 1;
  (void)!write(wakeSweeper, &wake, 1);
  return true;
}

ContainerDirectory::ContainerDirectory(const Depot& depot, const ContainerId& id)
    : depot(depot), id(id) {}

ContainerDirectory::ContainerDirectory(const Depot& depot, const CreateOrder& order,
                                       const Policy& policy)
    : ContainerDirectory(depot, order.id) {
  makeTree(order, policy);
}

void ContainerDirectory::adopt(const DiskFacts& facts, const DiskLimits& limits) {
  directory = depot.open(id);
  if (facts.backend != depot.disk().name()) {
    throw StepError(
        "adopt disk", 0,
        kj::str("its disk is limited by ", facts.backend,
                ", and the configuration or the depot says ", depot.disk().name(), " now"));
  }
  containerDisk = depot.disk().adopt(facts, limits, directory);
  made = true;
}

void ContainerDirectory::leave() {
  made = false;
  if (containerDisk.get() != nullptr) containerDisk->leave();
}

ContainerDirectory::~ContainerDirectory() noexcept(false) {
  containerDisk = nullptr;
  if (made) depot.discard(id);
}

void ContainerDirectory::makeTree(const CreateOrder& order, const Policy& policy) {
  constexpr Owner ROOT{0, 0};
  step("make container directory", [&] { return mkdirat(depot.fd(), id.text().cStr(), 0755); });
  made = true;
  directory = depot.open(id);
  step("link snapshot",
       [&] { return symlinkat("state/snapshot.json", directory, "snapshot.json"); });
  makeDirectory(directory, "state", 0700, {policy.frontendUid, policy.frontendGid},
                "make state directory");
  run = makeDirectory(directory, "run", 0755, ROOT, "make run directory");

  containerDisk = depot.disk().make(order.slot, directory);
  int tmp = containerDisk->directory();
  Owner containerRoot{policy.rootUid(order.slot), policy.rootUid(order.slot)};
  makeDirectory(tmp, "work", 0755, containerRoot, "make work directory");
  Fd layer = makeDirectory(tmp, "rootfs", 0755, containerRoot, "make layer directory");
  fillLayer(layer, order, policy);
}

void ContainerDirectory::fillLayer(int layer, const CreateOrder& order, const Policy& policy) {
  // Directories of the container's own layer hide what an image may have in their places but a
  // directory: no symbolic link of an image redirects a mount or one of these files.
  Owner root{policy.rootUid(order.slot), policy.rootUid(order.slot)};
  Owner vcap{policy.vcapUid(order.slot), policy.vcapUid(order.slot)};
  const char* what = "fill layer";
  for (const char* name : {"dev", "proc", "sys"})
    makeDirectory(layer, name, 0755, root, what);
  Fd tmp = makeDirectory(layer, "tmp", 0755, root, what);
  step(what, [&] { return fchmod(tmp, 01777); });
  Fd home = makeDirectory(layer, "home", 0755, root, what);
  makeDirectory(home, "vcap", 0755, vcap, what);
  Fd etc = makeDirectory(layer, "etc", 0755, root, what);
  for (const EtcFile& file : order.etcFiles) {
    makeFile(etc, file.name, file.content, root, "write files in /etc");
  }
}

kj::String ContainerDirectory::layerPath() const {
  return kj::str(depot.path(), '/', id.text(), "/tmp/rootfs");
}

kj::String ContainerDirectory::workPath() const {
  return kj::str(depot.path(), '/', id.text(), "/tmp/work");
}

Fd ContainerDirectory::openState() const {
  return Fd(step("open state directory", [&] {
    return openat(directory, "state", O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  }));
}

Fd ContainerDirectory::connect() const {
  const char* what = "connect to wshd";
  Fd place(step(what, [&] { return openat(directory, "run", O_PATH | O_NOFOLLOW | O_CLOEXEC); }));
  Fd socket(step(
      what, [&] { return ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }));
  allowLargestPacket(socket);
  UnixAddress address = wshdAddress(place);
  // EAGAIN where as many as it lets wait are waiting already.
  step(what, [&] { return ::connect(socket, address.get(), address.size()); });
  setNonblocking(socket, false);
  return socket;
}

Fd ContainerDirectory::listen(const Policy& policy) const {
  Fd socket(step("make wshd socket",
                 [&] { return ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0); }));
  UnixAddress address = wshdAddress(run);
  // The mode of a socket file is that of the socket at bind (unix(7)): no moment of wider access.
  step("make wshd socket", [&] { return fchmod(socket, 0660); });
  step("make wshd socket", [&] { return bind(socket, address.get(), address.size()); });
  step("make wshd socket",
       [&] { return fchownat(run, "wshd.sock", 0, policy.frontendGid, AT_SYMLINK_NOFOLLOW); });
  step("make wshd socket", [&] { return ::listen(socket, BACKLOG); });
  return socket;
}

void ContainerDirectory::writePid(pid_t pid) {
  makeFile(run, "wshd.pid", kj::str(pid, '\n').asBytes(), {0, 0}, "write wshd.pid");
  run = nullptr;
}

}  // namespace warden::privhelper
