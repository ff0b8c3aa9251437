// The host's side of the floor.

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "base/unix-address.h"
#include "schema/wshd.capnp.h"
#include "tests/bench/floor.h"

namespace warden::bench {

namespace {

void writeFile(const std::string& path, const std::string& text) {
  int raw;
  KJ_SYSCALL(raw = open(path.c_str(), O_WRONLY | O_CLOEXEC), path.c_str());
  Fd fd(raw);
  KJ_SYSCALL(write(fd, text.data(), text.size()), path.c_str());
}

Fd startMount(const char* type) {
  int fd;
  KJ_SYSCALL(fd = fsopen(type, FSOPEN_CLOEXEC), type);
  return Fd(fd);
}

void configure(int context, const char* key, const std::string& value) {
  KJ_SYSCALL(fsconfig(context, FSCONFIG_SET_STRING, key, value.c_str(), 0), key, value.c_str());
}

Fd finishMount(int context, unsigned attributes) {
  KJ_SYSCALL(fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0));
  int fd;
  KJ_SYSCALL(fd = fsmount(context, FSMOUNT_CLOEXEC, attributes));
  return Fd(fd);
}

void awaitAnswer(int connection) {
  capnp::MallocMessageBuilder message;
  auto request = message.initRoot<schema::WshdRequest>();
  request.setSequence(1);
  request.setPing();
  sendPacket(connection, message);
  pollfd p{connection, POLLIN, 0};
  KJ_REQUIRE(poll(&p, 1, 10'000) == 1, "process 1 does not answer");
  KJ_ASSERT_NONNULL(receivePacket(connection));
}

}  // namespace

void sendFds(int socket, int first, int second) {
  char byte = 0;
  iovec vector{&byte, 1};
  int fds[] = {first, second};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(fds))] = {};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(fds));
  memcpy(CMSG_DATA(c), fds, sizeof(fds));
  KJ_SYSCALL(sendmsg(socket, &header, MSG_NOSIGNAL));
}

void receiveFds(int socket, int& first, int& second) {
  char byte;
  iovec vector{&byte, 1};
  int fds[2];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(fds))];
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  if (recvmsg(socket, &header, MSG_CMSG_CLOEXEC) != 1 || CMSG_FIRSTHDR(&header) == nullptr) {
    _exit(1);  // the parent gave up
  }
  memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof(fds));
  first = fds[0];
  second = fds[1];
}

FloorContainer::FloorContainer(const FloorHost& host, unsigned number)
    : host(host),
      directory(host.directory + "/" + std::to_string(number)),
      addresses(floorAddresses(number)) {
  try {
    create();
  } catch (...) {
    destroy();
    throw;
  }
}

FloorContainer::~FloorContainer() noexcept {
  destroy();
}

void FloorContainer::create() {
  std::vector<Fd> tasks = makeCgroups();
  for (auto part : {"", "/lower", "/upper", "/work", "/rootfs", "/run"}) {
    KJ_SYSCALL(mkdir((directory + part).c_str(), 0755));
  }
  for (auto part : {"/upper", "/work"}) {
    KJ_SYSCALL(chown((directory + part).c_str(), FIRST_HOST_ID, FIRST_HOST_ID));
  }
  SocketPair connection = makePacketPair();
  SocketPair control = makePacketPair();
  Fd listener = makeListener();
  ChildPlan plan{directory + "/rootfs", {},       host.program, connection.right, listener,
                 control.right,         addresses};
  for (auto& fd : tasks)
    plan.tasks.push_back(fd);
  cloneChild(plan);
  mapIds();
  connectNetwork();
  Fd overlay = mountOverlay();
  Fd dev = mountDev();
  sendFds(control.left, overlay, dev);
  connection.right = nullptr;
  awaitAnswer(connection.left);
}

std::vector<Fd> FloorContainer::makeCgroups() {
  std::vector<Fd> tasks;
  for (auto& parent : host.cgroupParents) {
    std::string cgroup = parent + directory.substr(directory.rfind('/'));
    KJ_SYSCALL(mkdir(cgroup.c_str(), 0755), cgroup.c_str());
    cgroups.push_back(cgroup);
    limit(cgroup);
    openStatistics(cgroup);
    int fd;
    KJ_SYSCALL(fd = open((cgroup + "/tasks").c_str(), O_WRONLY | O_CLOEXEC));
    tasks.push_back(Fd(fd));
  }
  return tasks;
}

void FloorContainer::limit(const std::string& cgroup) {
  auto isOf = [&](const char* controller) { return cgroup.find(controller) != std::string::npos; };
  if (isOf("/devices/")) {
    writeFile(cgroup + "/devices.deny", "a");
    for (auto rule :
         {"c 1:3 rwm", "c 1:5 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:* rwm", "c 136:* rwm"}) {
      writeFile(cgroup + "/devices.allow", rule);
    }
  }
  if (isOf("/pids/")) writeFile(cgroup + "/pids.max", "4096");
}

// Documentation/admin-guide/cgroup-v1/memory.rst: an eventfd that tells of the lack of memory.
void FloorContainer::openStatistics(const std::string& cgroup) {
  auto openFile = [&](const char* name) {
    int fd;
    KJ_SYSCALL(fd = open((cgroup + "/" + name).c_str(), O_RDONLY | O_CLOEXEC), name);
    statistics.push_back(Fd(fd));
    return fd;
  };
  if (cgroup.find("/memory/") != std::string::npos) {
    int event;
    KJ_SYSCALL(event = eventfd(0, EFD_CLOEXEC));
    statistics.push_back(Fd(event));
    writeFile(cgroup + "/cgroup.event_control",
              std::to_string(event) + " " + std::to_string(openFile("memory.oom_control")));
    openFile("memory.stat");
  }
  if (cgroup.find("/cpuacct/") != std::string::npos) {
    openFile("cpuacct.usage");
    openFile("cpuacct.stat");
  }
}

Fd FloorContainer::makeListener() {
  int raw;
  KJ_SYSCALL(raw = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  Fd fd(raw);
  UnixAddress address(directory + "/run/wshd.sock");
  KJ_SYSCALL(bind(fd, address.get(), address.size()));
  KJ_SYSCALL(listen(fd, 1));
  return fd;
}

void FloorContainer::cloneChild(const ChildPlan& plan) {
  int rawPidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC |
                    CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uint64_t>(&rawPidfd);
  arguments.exit_signal = SIGCHLD;
  long child = syscall(SYS_clone3, &arguments, sizeof(arguments));
  if (child < 0) KJ_FAIL_SYSCALL("clone3", errno);
  if (child == 0) becomeContainer(plan);
  pid = static_cast<pid_t>(child);
  pidfd = Fd(rawPidfd);
}

void FloorContainer::mapIds() {
  std::string process = "/proc/" + std::to_string(pid);
  std::string map = "0 " + std::to_string(FIRST_HOST_ID) + " " + std::to_string(ID_COUNT);
  writeFile(process + "/uid_map", map);
  writeFile(process + "/gid_map", map);
}

void FloorContainer::connectNetwork() {
  int raw;
  KJ_SYSCALL(raw =
                 open(("/proc/" + std::to_string(pid) + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC));
  Fd networkNamespace(raw);
  host.route->addPair(addresses, networkNamespace);
}

Fd FloorContainer::mountOverlay() {
  std::string lower = directory + "/lower";
  int raw;
  KJ_SYSCALL(raw =
                 open(("/proc/" + std::to_string(pid) + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC));
  Fd userNamespace(raw);
  KJ_SYSCALL(raw = open_tree(AT_FDCWD, host.image.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  Fd tree(raw);
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_RDONLY;
  attributes.userns_fd = static_cast<uint64_t>(userNamespace.get());
  KJ_SYSCALL(mount_setattr(tree, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)));
  KJ_SYSCALL(move_mount(tree, "", AT_FDCWD, lower.c_str(), MOVE_MOUNT_F_EMPTY_PATH));
  lowerMounted = true;

  Fd context = startMount("overlay");
  configure(context, "lowerdir", lower);
  configure(context, "upperdir", directory + "/upper");
  configure(context, "workdir", directory + "/work");
  return finishMount(context, MOUNT_ATTR_NODEV);
}

Fd FloorContainer::mountDev() {
  Fd context = startMount("tmpfs");
  configure(context, "mode", "0755");
  configure(context, "uid", std::to_string(FIRST_HOST_ID));
  configure(context, "gid", std::to_string(FIRST_HOST_ID));
  Fd dev = finishMount(context, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  struct Node {
    const char* name;
    unsigned majorNumber, minorNumber;
  };
  constexpr Node NODES[] = {{"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
                            {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
  mode_t mask = umask(0);
  for (auto& node : NODES) {
    KJ_SYSCALL(
        mknodat(dev, node.name, S_IFCHR | 0666, makedev(node.majorNumber, node.minorNumber)));
  }
  umask(mask);
  KJ_SYSCALL(mkdirat(dev, "pts", 0755));
  KJ_SYSCALL(mkdirat(dev, "shm", 0755));
  KJ_SYSCALL(symlinkat("pts/ptmx", dev, "ptmx"));
  KJ_SYSCALL(symlinkat("/proc/self/fd", dev, "fd"));
  KJ_SYSCALL(symlinkat("/proc/self/fd/0", dev, "stdin"));
  KJ_SYSCALL(symlinkat("/proc/self/fd/1", dev, "stdout"));
  KJ_SYSCALL(symlinkat("/proc/self/fd/2", dev, "stderr"));
  return dev;
}

void FloorContainer::destroy() noexcept {
  if (pid > 0) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    pid = -1;
  }
  if (lowerMounted) umount2((directory + "/lower").c_str(), MNT_DETACH);
  lowerMounted = false;
  statistics.clear();
  for (auto& cgroup : cgroups) {
    // A process counts as a member until its last part is freed.
    for (int i = 0; i < 1000 && rmdir(cgroup.c_str()) < 0 && errno == EBUSY; ++i)
      usleep(100);
  }
  cgroups.clear();
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
}

}  // namespace warden::bench
