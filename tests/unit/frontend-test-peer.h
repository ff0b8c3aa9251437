#pragma once
// What stands in for the helper and for wshd in tests of the frontend: threads of the test that
// speak the real protocols over real sockets, and start jobs as real shells, without any container
// around.

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/packet.h"
#include "schema/privhelper.capnp.h"

namespace warden::frontend {

class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  const std::string& path() const { return name; }
  Fd open() const;  // O_RDONLY | O_DIRECTORY
  void write(const std::string& file, const std::string& content) const;
  void makeDirectory(const std::string& directory) const;
  std::vector<std::string> list() const;

 private:
  std::string name;
};

class WshdPeer {
  // Serves until its socket is closed by the other side, or by the destructor.

 public:
  WshdPeer(Fd socket, const std::atomic<bool>& holdSpawns);
  // While `holdSpawns`, no job is started and none is answered for.
  ~WshdPeer();

  void killJobs();
  void send(const std::string& bytes);
  int forgotten() const { return forgetCount; }
  int meters() const { return meterCount; }

 private:
  Fd socket;
  const std::atomic<bool>& holdSpawns;
  std::mutex mutex;                 // of all below, and of sending
  std::map<uint32_t, int> running;  // job -> pid of its session's leader
  std::vector<std::thread> reapers;
  std::atomic<int> forgetCount = 0;
  std::atomic<int> meterCount = 0;
  Fd meter;  // of the last copy; flooded
  std::thread thread;

  void serve();
  void handle(Packet packet);
  void spawn(Packet& packet);
  void reply(capnp::MessageBuilder& message, kj::ArrayPtr<const int> fds = nullptr);
  void replyDone(uint64_t sequence);
};

struct PeerOutRule {
  // AllowOut, as it arrived.
  uint32_t firstAddress, lastAddress;
  int protocol;
  uint16_t firstPort, lastPort;
  int16_t icmpType, icmpCode;
  bool log;
};

class HelperPeer {
  static constexpr uint64_t UNLIMITED = 9223372036854771712u;

 public:
  HelperPeer(Fd socket, const TemporaryDirectory& depot);
  ~HelperPeer();

  // For the containers that are created from then on: 1 or 2, or 0 without any statistics.
  std::atomic<int> cgroupVersion = 1;

  std::atomic<bool> failCreate = false;
  std::atomic<int> failLimits = 0;  // the errno with which limits and rules fail
  std::atomic<int> limitDelayMs = 0;
  std::atomic<int> copyDelayMs = 0;
  std::atomic<bool> failDestroy = false;
  std::atomic<uint32_t> lostSlots = 0;  // 0 .. lostSlots-1 belong to containers that do not end
  std::atomic<bool> holdSpawns = false;
  std::atomic<int> destroyDelayMs = 0;
  std::atomic<bool> holdDestroys = false;  // none is answered
  std::atomic<int> createDelayMs = 0;

  std::vector<uint32_t> slots();  // in the order of creation
  size_t containers();
  void killFirstProcesses();                            // as if every wshd had crashed
  void sendAsFirstProcesses(const std::string& bytes);  // to the frontend, as a packet
  int forgotten();
  int meters();                      // of copies, that were given to first processes
  std::vector<uint32_t> networks();  // in the order of creation
  std::string etcFile(const std::string& id, const std::string& name);  // as create carried it

  // The files that `created` carries: their text, and the eventfd of v1.
  void writeStatistic(const std::string& id, const std::string& file, const std::string& text);
  void signalMemoryEvent(const std::string& id);

  // What was asked for, by container id.
  std::map<uint16_t, uint16_t> portsOf(const std::string& id);
  std::vector<PeerOutRule> rulesOf(const std::string& id);
  std::pair<uint64_t, uint64_t> bandwidthOf(const std::string& id);
  void occupyPort(uint16_t port);  // EADDRINUSE for it from then on
  int requests() const { return requestCount; }

 private:
  struct Container {
    int pid;
    std::unique_ptr<WshdPeer> wshd;
    Fd memoryEvent;
    uint64_t memory = UNLIMITED;
    uint64_t shares = 1024;
    uint64_t blocksSoft = 0, blocksHard = 0, inodesSoft = 0, inodesHard = 0;
    std::pair<uint64_t, uint64_t> bandwidth;
    std::map<uint16_t, uint16_t> ports;
    std::vector<PeerOutRule> rules;
    std::map<std::string, std::string> etcFiles;
  };

  Fd socket;
  const TemporaryDirectory& depot;
  std::mutex mutex;
  std::map<std::string, Container> created;
  std::vector<uint32_t> usedSlots;
  std::vector<uint32_t> usedNetworks;
  std::set<uint16_t> occupied;
  TemporaryDirectory statistics;
  std::atomic<int> requestCount = 0;
  std::thread thread;

  void serve();
  void create(Packet& packet);
  void destroy(Packet& packet);
  void limit(Packet& packet);
  void carryOut(schema::HelperRequest::Reader request, schema::HelperReply::Builder reply,
                Container& container);
  std::vector<Fd> openStatistics(const std::string& id, Container& container,
                                 std::vector<uint16_t>& kinds);
};

}  // namespace warden::frontend
