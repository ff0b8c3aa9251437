#include "tests/unit/frontend-test-peer.h"

#include <capnp/message.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/pidfd.h"
#include "schema/wshd.capnp.h"

namespace warden::frontend {

// -- the helper

HelperPeer::HelperPeer(Fd socketParam, const TemporaryDirectory& depot)
    : socket(kj::mv(socketParam)), depot(depot), thread([this]() { serve(); }) {}

HelperPeer::~HelperPeer() {
  shutdown(socket, SHUT_RDWR);
  thread.join();
  killFirstProcesses();
}

void HelperPeer::killFirstProcesses() {
  std::lock_guard lock(mutex);
  for (auto& [id, container] : created) {
    container.wshd = nullptr;
    if (container.pid < 0) continue;
    kill(container.pid, SIGKILL);
    waitpid(container.pid, nullptr, 0);
    container.pid = -1;
  }
}

void HelperPeer::sendAsFirstProcesses(const std::string& bytes) {
  std::lock_guard lock(mutex);
  for (auto& [id, container] : created)
    container.wshd->send(bytes);
}

std::vector<uint32_t> HelperPeer::slots() {
  std::lock_guard lock(mutex);
  return usedSlots;
}

size_t HelperPeer::containers() {
  std::lock_guard lock(mutex);
  return created.size();
}

int HelperPeer::forgotten() {
  std::lock_guard lock(mutex);
  int count = 0;
  for (auto& [id, container] : created) {
    if (container.wshd) count += container.wshd->forgotten();
  }
  return count;
}

int HelperPeer::meters() {
  std::lock_guard lock(mutex);
  int count = 0;
  for (auto& [id, container] : created) {
    if (container.wshd) count += container.wshd->meters();
  }
  return count;
}

void HelperPeer::serve() {
  kj::runCatchingExceptions([&]() {
    for (;;) {
      auto packet = KJ_ASSERT_NONNULL(receivePacket(socket));
      auto request = packet.getRoot<schema::HelperRequest>();
      ++requestCount;
      if (request.isCreate()) {
        create(packet);
      } else if (request.isDestroy()) {
        destroy(packet);
      } else if (request.isListContainers()) {
        capnp::MallocMessageBuilder message;
        auto reply = message.initRoot<schema::HelperReply>();
        reply.setSequence(request.getSequence());
        reply.initContainers();
        sendPacket(socket, message);
      } else if (request.isHello()) {
        capnp::MallocMessageBuilder message;
        auto reply = message.initRoot<schema::HelperReply>();
        reply.setSequence(request.getSequence());
        reply.setDone();
        sendPacket(socket, message);
      } else {
        limit(packet);
      }
    }
  });
}

void HelperPeer::create(Packet& packet) {
  usleep(createDelayMs * 1000);
  auto request = packet.getRoot<schema::HelperRequest>();
  capnp::MallocMessageBuilder message;
  auto reply = message.initRoot<schema::HelperReply>();
  reply.setSequence(request.getSequence());
  std::string id = request.getCreate().getId().cStr();
  std::lock_guard lock(mutex);
  usedSlots.push_back(request.getCreate().getSlot());
  usedNetworks.push_back(request.getCreate().getNetwork());
  if (failCreate) {
    auto failed = reply.initFailed();
    failed.setStep("mount overlay");
    failed.setErrno(ENOSPC);
    failed.setDetail("mount overlay: No space left on device");
    sendPacket(socket, message);
    return;
  }
  if (request.getCreate().getSlot() < lostSlots) {
    auto failed = reply.initFailed();
    failed.setStep(*schema::SLOT_LOST_STEP);
    failed.setErrno(EBUSY);
    failed.setDetail("take slot: it belongs to a container that does not end");
    sendPacket(socket, message);
    return;
  }
  depot.makeDirectory(id + "/state");
  int state;
  KJ_SYSCALL(state = open((depot.path() + "/" + id + "/state").c_str(), O_DIRECTORY | O_CLOEXEC));
  Fd stateFd(state);
  pid_t pid = fork();
  if (pid == 0) {
    for (;;)
      pause();
  }
  auto pidfd = Pidfd::open(pid);
  auto sockets = makePacketPair();
  auto& container = created[id];
  container.pid = pid;
  container.wshd = std::make_unique<WshdPeer>(kj::mv(sockets.left), holdSpawns);
  auto etc = request.getCreate().getEtcFiles();
  auto text = [](capnp::Data::Reader data) {
    return std::string(data.asChars().begin(), data.size());
  };
  container.etcFiles = {{"hosts", text(etc.getHosts())},
                        {"resolv.conf", text(etc.getResolvConf())}};
  reply.initCreated().setWshdPid(pid);
  std::vector<uint16_t> kinds;
  auto files = openStatistics(id, container, kinds);
  auto list = reply.getCreated().initStatistics(kinds.size());
  std::vector<int> fds = {pidfd.fd(), sockets.right, stateFd};
  for (size_t i = 0; i < kinds.size(); ++i) {
    list.set(i, static_cast<schema::Created::Statistics>(kinds[i]));
    fds.push_back(files[i]);
  }
  sendPacket(socket, message, kj::arrayPtr(fds.data(), fds.size()));
}

std::vector<Fd> HelperPeer::openStatistics(const std::string& id, Container& container,
                                           std::vector<uint16_t>& kinds) {
  using Kind = schema::Created::Statistics;
  struct File {
    Kind kind;
    const char* name;
    const char* text;
  };
  static constexpr File V1[] = {
      {Kind::MEMORY_OOM_CONTROL_V1, "memory.oom_control",
       "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"},
      {Kind::MEMORY_STAT_V1, "memory.stat", "cache 4096\nrss 8192\ntotal_rss 8192\n"},
      {Kind::CPU_USAGE_V1, "cpuacct.usage", "123456789\n"},
      {Kind::CPU_STAT_V1, "cpuacct.stat", "user 7\nsystem 5\n"},
  };
  static constexpr File V2[] = {
      {Kind::MEMORY_EVENTS_V2, "memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n"},
      {Kind::MEMORY_STAT_V2, "memory.stat", "anon 8192\nfile 4096\n"},
      {Kind::MEMORY_MAX_V2, "memory.max", "max\n"},
      {Kind::MEMORY_SWAP_V2, "memory.swap.current", "0\n"},
      {Kind::CPU_STAT_V2, "cpu.stat", "usage_usec 1000\nuser_usec 600\nsystem_usec 400\n"},
  };
  std::vector<Fd> fds;
  auto add = [&](const File& file) {
    statistics.write(id + "." + file.name, file.text);
    int fd;
    KJ_SYSCALL(
        fd = open((statistics.path() + "/" + id + "." + file.name).c_str(), O_RDONLY | O_CLOEXEC));
    fds.emplace_back(fd);
    kinds.push_back(static_cast<uint16_t>(file.kind));
  };
  if (cgroupVersion == 1) {
    container.memoryEvent = Fd(eventfd(0, EFD_CLOEXEC));
    fds.push_back(duplicate(container.memoryEvent));
    kinds.push_back(static_cast<uint16_t>(Kind::MEMORY_EVENT_V1));
    for (auto& file : V1)
      add(file);
  } else if (cgroupVersion == 2) {
    for (auto& file : V2)
      add(file);
  }
  return fds;
}

void HelperPeer::writeStatistic(const std::string& id, const std::string& file,
                                const std::string& text) {
  statistics.write(id + "." + file, text);
}

void HelperPeer::signalMemoryEvent(const std::string& id) {
  std::lock_guard lock(mutex);
  uint64_t one = 1;
  KJ_SYSCALL(write(created.at(id).memoryEvent, &one, sizeof(one)));
}

std::vector<uint32_t> HelperPeer::networks() {
  std::lock_guard lock(mutex);
  return usedNetworks;
}

std::string HelperPeer::etcFile(const std::string& id, const std::string& name) {
  std::lock_guard lock(mutex);
  return created.at(id).etcFiles.at(name);
}

std::map<uint16_t, uint16_t> HelperPeer::portsOf(const std::string& id) {
  std::lock_guard lock(mutex);
  return created.at(id).ports;
}

std::vector<PeerOutRule> HelperPeer::rulesOf(const std::string& id) {
  std::lock_guard lock(mutex);
  return created.at(id).rules;
}

std::pair<uint64_t, uint64_t> HelperPeer::bandwidthOf(const std::string& id) {
  std::lock_guard lock(mutex);
  return created.at(id).bandwidth;
}

void HelperPeer::occupyPort(uint16_t port) {
  std::lock_guard lock(mutex);
  occupied.insert(port);
}

namespace {

kj::StringPtr idOf(schema::HelperRequest::Reader request) {
  switch (request.which()) {
    case schema::HelperRequest::LIMIT_MEMORY:
      return request.getLimitMemory().getId();
    case schema::HelperRequest::LIMIT_CPU:
      return request.getLimitCpu().getId();
    case schema::HelperRequest::LIMIT_DISK:
      return request.getLimitDisk().getId();
    case schema::HelperRequest::LIMIT_BANDWIDTH:
      return request.getLimitBandwidth().getId();
    case schema::HelperRequest::MAP_PORT:
      return request.getMapPort().getId();
    case schema::HelperRequest::ALLOW_OUT:
      return request.getAllowOut().getId();
    case schema::HelperRequest::COPY_IN:
      return request.getCopyIn().getId();
    case schema::HelperRequest::COPY_OUT:
      return request.getCopyOut().getId();
    default:
      KJ_FAIL_REQUIRE("unexpected request");
  }
}

bool onlyReads(schema::HelperRequest::Reader request) {
  return (request.isLimitMemory() && request.getLimitMemory().isRead()) ||
         (request.isLimitCpu() && request.getLimitCpu().isRead()) ||
         (request.isLimitDisk() && request.getLimitDisk().isRead());
}

void fail(schema::HelperReply::Builder reply, int error) {
  auto failed = reply.initFailed();
  failed.setStep("the step");
  failed.setErrno(error);
  failed.setDetail(kj::str("the step: ", strerror(error)));
}

}  // namespace

void HelperPeer::limit(Packet& packet) {
  auto request = packet.getRoot<schema::HelperRequest>();
  if (!onlyReads(request)) usleep(limitDelayMs * 1000);
  if (request.isCopyIn() || request.isCopyOut()) usleep(copyDelayMs * 1000);
  capnp::MallocMessageBuilder message;
  auto reply = message.initRoot<schema::HelperReply>();
  reply.setSequence(request.getSequence());
  std::lock_guard lock(mutex);
  auto found = created.find(idOf(request).cStr());
  if (found == created.end()) {
    reply.setRefused("unknown id");
  } else if (failLimits != 0 && !onlyReads(request)) {
    fail(reply, failLimits);
  } else {
    carryOut(request, reply, found->second);
  }
  sendPacket(socket, message);
}

void HelperPeer::carryOut(schema::HelperRequest::Reader request, schema::HelperReply::Builder reply,
                          Container& container) {
  if (request.isLimitMemory()) {
    auto limit = request.getLimitMemory();
    if (limit.isBytes())
      container.memory = std::min<uint64_t>(limit.getBytes() & ~4095ull, UNLIMITED);
    reply.setMemoryLimit(container.memory);
  } else if (request.isLimitCpu()) {
    auto limit = request.getLimitCpu();
    if (limit.isShares()) container.shares = std::clamp<uint64_t>(limit.getShares(), 2, 262144);
    reply.setCpuShares(container.shares);
  } else if (request.isLimitDisk()) {
    if (request.getLimitDisk().isLimits()) {
      auto limits = request.getLimitDisk().getLimits();
      container.blocksSoft = limits.getBlocksSoft();
      container.blocksHard = limits.getBlocksHard();
      container.inodesSoft = limits.getInodesSoft();
      container.inodesHard = limits.getInodesHard();
    }
    auto disk = reply.initDisk();
    disk.setBytesUsed(65536);
    disk.setInodesUsed(12);
    auto limits = disk.initLimits();
    limits.setBlocksSoft(container.blocksSoft);
    limits.setBlocksHard(container.blocksHard);
    limits.setInodesSoft(container.inodesSoft);
    limits.setInodesHard(container.inodesHard);
  } else if (request.isLimitBandwidth()) {
    auto limit = request.getLimitBandwidth();
    container.bandwidth = {limit.getRate(), limit.getBurst()};
    reply.setDone();
  } else if (request.isMapPort()) {
    auto map = request.getMapPort();
    if (!occupied.insert(map.getHostPort()).second) return fail(reply, EADDRINUSE);
    container.ports[map.getHostPort()] = map.getContainerPort();
    reply.setDone();
  } else if (request.isCopyIn() || request.isCopyOut()) {
    reply.setDone();
  } else {
    auto allow = request.getAllowOut();
    container.rules.push_back({allow.getFirstAddress(), allow.getLastAddress(),
                               static_cast<int>(allow.getProtocol()), allow.getFirstPort(),
                               allow.getLastPort(), allow.getIcmpType(), allow.getIcmpCode(),
                               allow.getLog()});
    reply.setDone();
  }
}

void HelperPeer::destroy(Packet& packet) {
  usleep(destroyDelayMs * 1000);
  if (holdDestroys) return;
  auto request = packet.getRoot<schema::HelperRequest>();
  capnp::MallocMessageBuilder message;
  auto reply = message.initRoot<schema::HelperReply>();
  reply.setSequence(request.getSequence());
  std::lock_guard lock(mutex);
  auto found = created.find(request.getDestroy().getId().cStr());
  if (found == created.end()) {
    reply.setRefused("unknown id");
  } else if (failDestroy) {
    reply.initFailed().setStep("remove cgroup");
    reply.getFailed().setErrno(EBUSY);
    reply.getFailed().setDetail("remove cgroup: Device or resource busy");
  } else {
    found->second.wshd = nullptr;
    if (found->second.pid > 0) {
      kill(found->second.pid, SIGKILL);
      waitpid(found->second.pid, nullptr, 0);
    }
    std::filesystem::remove_all(depot.path() + "/" + found->first);
    for (auto& [port, target] : found->second.ports)
      occupied.erase(port);
    created.erase(found);
    reply.setDone();
  }
  sendPacket(socket, message);
}

}  // namespace warden::frontend
