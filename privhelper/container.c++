#include "privhelper/container.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/packet.h"
#include "privhelper/container-mounts.h"
#include "privhelper/id-map.h"
#include "privhelper/step.h"
#include "schema/launcher.capnp.h"
#include "schema/wshd.capnp.h"

namespace warden::privhelper {

namespace {

// A kernel that is this slow has a hung file system below the image or the depot.
constexpr int SETUP_TIMEOUT_MS = 10000;
constexpr int KILL_TIMEOUT_MS = 10000;
// Between the end of a process's connection and its own.
constexpr int EXIT_TIMEOUT_MS = 100;

Fd openProcess(const Pidfd& process) {
  auto path = kj::str("/proc/", process.pid());
  Fd directory(
      step("open process", [&] { return open(path.cStr(), O_PATH | O_DIRECTORY | O_CLOEXEC); }));
  // Alive after the open: the directory is of this process, not of a later one with its number.
  if (!process.signal(0)) throw StepError("open process", ESRCH);
  return directory;
}

void writeMap(int process, const char* file, const IdMap& map) {
  auto text = idMapText(map);
  Fd fd(step("open id map", [&] { return openat(process, file, O_WRONLY | O_CLOEXEC); }));
  step("write id map", [&] { return write(fd, text.begin(), text.size()); });
}

Fd openNamespace(int process, const char* name) {
  return Fd(step("open namespace", [&] { return openat(process, name, O_RDONLY | O_CLOEXEC); }));
}

Fd writeIdMaps(int process, const IdMap& users, const IdMap& groups) {
  // Answers the process's user namespace.
  writeMap(process, "uid_map", users);
  writeMap(process, "gid_map", groups);
  return openNamespace(process, "ns/user");
}

class HeldNamespace {
  // A user namespace without a container, for mapping ids of an image.
 public:
  HeldNamespace(Launcher& launcher, const IdMap& users, const IdMap& groups)
      : holder(launcher.holdUserNamespace()) {
    KJ_ON_SCOPE_FAILURE(holder.signal(SIGKILL));
    descriptor = writeIdMaps(openProcess(holder), users, groups);
  }
  ~HeldNamespace() noexcept(false) { holder.signal(SIGKILL); }
  KJ_DISALLOW_COPY(HeldNamespace);

  int fd() const { return descriptor; }

 private:
  Pidfd holder;
  Fd descriptor;
};

void awaitWshd(int connection) {
  // Asks for an answer: the end of the set-up connection alone could be that of a process that was
  // killed.
  capnp::MallocMessageBuilder message;
  auto request = message.initRoot<schema::WshdRequest>();
  request.setSequence(1);
  request.setPing();
  try {
    sendPacket(connection, message);
    pollfd p{connection, POLLIN, 0};
    int n = step("await wshd", [&] { return poll(&p, 1, SETUP_TIMEOUT_MS); });
    if (n == 0) throw StepError("await wshd", ETIMEDOUT);
    KJ_IF_MAYBE (packet, receivePacket(connection)) {
      if (packet->getRoot<schema::WshdMessage>().isDone()) return;
    }
  } catch (const kj::Exception& e) {
    if (e.getType() != kj::Exception::Type::DISCONNECTED) throw;
  }
  throw StepError("await wshd", 0, "the container's first process ended as it started");
}

}  // namespace

FirstProcess::FirstProcess(Launcher& launcherParam, kj::Maybe<int> cgroup, uint32_t profile)
    : launcher(launcherParam) {
  SocketPair pair = makePacketPair();
  setup = kj::mv(pair.left);
  launcher.requestLaunch(pair.right, cgroup, profile);
  requested = true;
}

FirstProcess::~FirstProcess() noexcept(false) {
  if (requested) kj::runCatchingExceptions([this] { awaitBirth(); });
  end();
}

bool FirstProcess::end() {
  if (process.fd() < 0) return true;
  bool ended = false;
  kj::runCatchingExceptions([&] {
    process.signal(SIGKILL);
    ended = process.waitExit(KILL_TIMEOUT_MS);
  });
  process = Pidfd();
  return ended;
}

void FirstProcess::awaitBirth() {
  requested = false;
  process = launcher.awaitLaunch();
}

void FirstProcess::join(kj::ArrayPtr<const Fd> taskFiles) {
  faultPoint("send cgroups");
  capnp::MallocMessageBuilder message;
  auto setupMessage = message.initRoot<schema::SetupMessage>();
  setupMessage.setFaultAt(childFault());
  setupMessage.setJoin();
  kj::Vector<int> fds;
  for (const Fd& file : taskFiles)
    fds.add(file.get());
  send(message, fds);
}

void FirstProcess::build(const Orders& orders, int root, int devices, int connection,
                         int listener) {
  faultPoint("send orders");
  capnp::MallocMessageBuilder message;
  auto setupMessage = message.initRoot<schema::SetupMessage>();
  setupMessage.setFaultAt(childFault());
  auto build = setupMessage.initBuild();
  build.setHostname(orders.hostname);
  build.setVcapGid(orders.vcapGid);
  build.setInterface(orders.interface);
  build.setAddress(orders.address);
  build.setGateway(orders.gateway);
  build.setAllowIpv6(orders.allowIpv6);
  build.setPrivilegedJobs(orders.privilegedJobs);
  build.setBindMounts(orders.bindMounts);
  build.setCapabilities(orders.capabilities);
  build.setApparmor(orders.apparmor);
  int fds[] = {root, devices, connection, listener};
  send(message, fds);
}

void FirstProcess::bind(kj::ArrayPtr<const BindOrder> binds,
                        kj::ArrayPtr<const OpenedMount> mounts) {
  for (size_t done = 0; done < binds.size();) {
    faultPoint("send bind mounts");
    size_t count = kj::min(binds.size() - done, MAX_PACKET_FDS);
    capnp::MallocMessageBuilder message;
    auto setupMessage = message.initRoot<schema::SetupMessage>();
    setupMessage.setFaultAt(childFault());
    auto targets = setupMessage.initBindMounts(count);
    kj::Vector<int> fds;
    for (size_t i = 0; i < count; ++i) {
      targets[i].setPath(kj::StringPtr(binds[done + i].target.c_str()).asBytes());
      targets[i].setIsDirectory(mounts[done + i].isDirectory);
      fds.add(mounts[done + i].tree);
    }
    send(message, fds);
    done += count;
  }
}

void FirstProcess::connected() {
  faultPoint("tell that the network is there");
  capnp::MallocMessageBuilder message;
  auto setupMessage = message.initRoot<schema::SetupMessage>();
  setupMessage.setFaultAt(childFault());
  setupMessage.setConnected();
  send(message, nullptr);
}

void FirstProcess::send(capnp::MessageBuilder& message, kj::ArrayPtr<const int> fds) {
  try {
    sendPacket(setup, message, fds);
  } catch (const kj::Exception& e) {
    if (e.getType() != kj::Exception::Type::DISCONNECTED) throw;
    // The process has ended; it says why.
    receiveEnd();
    throwUnexpectedEnd();
  }
}

void FirstProcess::throwCause() {
  pollfd p{setup, POLLIN, 0};
  if (process.fd() < 0 || setup == nullptr || poll(&p, 1, 0) <= 0) return;
  receiveEnd();
  if (process.waitExit(EXIT_TIMEOUT_MS)) throwUnexpectedEnd();
}

void FirstProcess::throwUnexpectedEnd() {
  throw StepError("prepare wshd", 0, "the process ended unexpectedly");
}

void FirstProcess::receiveEnd() {
  // Throws the process's report, where there is one. There is nothing after it.
  Fd ending = kj::mv(setup);
  kj::Maybe<StepError> failure;
  try {
    KJ_IF_MAYBE (packet, receivePacket(ending)) {
      auto report = packet->getRoot<schema::StepReport>();
      failure = StepError(report.getStep(), report.getErrno(), report.getDetail());
    }
  } catch (const kj::Exception& e) {
    if (e.getType() != kj::Exception::Type::DISCONNECTED) throw;
  }
  KJ_IF_MAYBE (f, failure) {
    throw kj::mv(*f);
  }
}

void FirstProcess::awaitExec() {
  faultPoint("await wshd");
  pollfd p{setup, POLLIN, 0};
  int n = step("await wshd", [&] { return poll(&p, 1, SETUP_TIMEOUT_MS); });
  if (n == 0) throw StepError("await wshd", ETIMEDOUT);
  // The end of the connection: by exec, or by the end of the process.
  receiveEnd();
  if (process.waitExit(0)) throw StepError("await wshd", 0, "the process ended before it ran wshd");
}

Container::Container(const ContainerHost& host, const CreateOrder& order)
    : containerId(order.id),
      slotNumber(order.slot),
      ownerUid(order.owner),
      cgroupsPart(host.cgroups, order.id, host.policy.pidsLimit),
      networkPart(host.network, order.id, order.network),
      process(host.launcher, cgroupsPart.version2Directory(), order.profile),
      directory(host.depot, order, host.policy) {
  try {
    build(host, order);
  } catch (...) {
    process.throwCause();
    throw;
  }
}

Container::~Container() noexcept(false) {
  if (!process.end()) leave();
}

void Container::leave() {
  directory.leave();
  process.leave();
  networkPart.leave();
  cgroupsPart.leave();
}

void Container::limit(const CreateOrder& order) {
  KJ_IF_MAYBE (bytes, order.memory) {
    faultPoint("limit memory");
    cgroupsPart.limitMemory(*bytes);
  }
  if (order.disk != nullptr) {
    faultPoint("limit disk");
    directory.disk().setLimits(diskLimitsOf(order));
    // Of bytes it takes one call, as long as nothing is written.
    while (!directory.disk().settle()) {
    }
  }
}

void Container::build(const ContainerHost& host, const CreateOrder& order) {
  limit(order);
  Fd devices = mountDevices(host.policy.rootUid(slotNumber));
  Fd listener = directory.listen(host.policy);
  SocketPair pair = makePacketPair();

  process.awaitBirth();
  process.join(cgroupsPart.taskFiles());
  cgroupsPart.closeFiles();
  // Opened before the process takes on its ids, which make its /proc files another's.
  Fd directoryOfProcess = openProcess(process.pidfd());
  IdMap ids = containerIdMap(host.policy, slotNumber);
  Fd userNamespace = writeIdMaps(directoryOfProcess, ids, ids);
  Fd netNamespace = openNamespace(directoryOfProcess, "ns/net");
  Fd root = prepareRoot(host, order, userNamespace);
  mapBindMounts(host, order, userNamespace);
  const NetworkPolicy& addresses = host.policy.network;
  const Profile& profile = host.policy.profiles[order.profile];
  process.build({.hostname = containerId.text(),
                 .vcapGid = host.policy.vcapUid(slotNumber),
                 .interface = networkPart.peerName(),
                 .address = addresses.containerAddress(order.network),
                 .gateway = addresses.hostAddress(order.network),
                 .allowIpv6 = addresses.allowIpv6,
                 .privilegedJobs = order.privilegedJobs,
                 .bindMounts = uint32_t(order.bindMounts.size()),
                 .capabilities = profile.capabilities,
                 .apparmor = profile.apparmor ? profile.apparmor->c_str() : ""},
                root, devices, pair.left, listener);
  process.bind(order.bindMounts, order.openedSources);
  networkPart.attach(netNamespace);
  netNamespace = nullptr;  // which would outlive its processes
  process.connected();
  directory.writePid(process.pidfd().pid());
  directory.disk().show(process.pidfd().pid());
  process.awaitExec();
  awaitWshd(pair.right);
  networkPart.awaitRunning();
  writeRecord(host, order);

  connection = kj::mv(pair.right);
}

Fd Container::prepareRoot(const ContainerHost& host, const CreateOrder& order, int userNamespace) {
  KJ_IF_MAYBE (image, order.openedImage) {
    if (!image->allIds) return prepareOwnRoot(host, order, image->mount.tree);
  }
  Fd configured;
  int tree;
  KJ_IF_MAYBE (image, order.openedImage) {
    tree = image->mount.tree;
  } else {
    configured = cloneConfiguredImage();
    tree = configured;
  }
  if (order.imageVcapUid == nullptr && order.imageVcapGid == nullptr) {
    IdMappedImage image(tree, userNamespace);
    return mountOverlay(directory);
  }
  // The image has a vcap of its own, whose files change hands: a map that no process has.
  HeldNamespace swapped(host.launcher, imageIdMap(host.policy, slotNumber, order.imageVcapUid),
                        imageIdMap(host.policy, slotNumber, order.imageVcapGid));
  IdMappedImage image(tree, swapped.fd());
  return mountOverlay(directory);
}

Fd Container::prepareOwnRoot(const ContainerHost& host, const CreateOrder& order, int tree) {
  // Root of the container has, and overrides permissions of, the files that are the client's own on
  // the host. All others are nobody's: with root's files mapped, whoever names "/" as an image
  // would read what only root may.
  uint32_t root = host.policy.rootUid(slotNumber);
  HeldNamespace own(host.launcher, singleIdMap(order.owner, root),
                    singleIdMap(order.ownerGid, root));
  IdMappedImage image(tree, own.fd());
  if (hasMountsBeneathImage()) {
    throw StepError("look for mounts in the image", EBUSY,
                    "the root file system has others mounted in it");
  }
  return mountOverlay(directory);
}

void Container::mapBindMounts(const ContainerHost& host, const CreateOrder& order,
                              int userNamespace) {
  if (order.bindMounts.size() == 0) return;
  auto map = [&](int ids) {
    for (size_t i = 0; i < order.bindMounts.size(); ++i) {
      auto& bind = order.bindMounts[i];
      mapBindMount(order.openedSources[i].tree, ids, bind.writable, bind.source.c_str());
    }
  };
  // The host's root shares its files with the container's. Everybody else's are vcap's there, as
  // jobs are; and nobody has a file that is not the client's, for the reason above.
  if (order.owner == 0) return map(userNamespace);
  uint32_t vcap = host.policy.vcapUid(slotNumber);
  HeldNamespace own(host.launcher, singleIdMap(order.owner, vcap),
                    singleIdMap(order.ownerGid, vcap));
  map(own.fd());
}

}  // namespace warden::privhelper
