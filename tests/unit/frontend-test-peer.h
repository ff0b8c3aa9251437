#pragma once
// What stands in for the helper and for wshd in tests of the frontend: threads of the test that
// speak the real protocols over real sockets, and start jobs as real shells, without any container
// around.

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "base/packet.h"

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

 private:
  Fd socket;
  const std::atomic<bool>& holdSpawns;
  std::mutex mutex;                 // of all below, and of sending
  std::map<uint32_t, int> running;  // job -> pid of its session's leader
  std::vector<std::thread> reapers;
  std::atomic<int> forgetCount = 0;
  std::thread thread;

  void serve();
  void handle(Packet packet);
  void spawn(Packet& packet);
  void reply(capnp::MessageBuilder& message, kj::ArrayPtr<const int> fds = nullptr);
  void replyDone(uint64_t sequence);
};

class HelperPeer {
 public:
  HelperPeer(Fd socket, const TemporaryDirectory& depot);
  ~HelperPeer();

  std::atomic<bool> failCreate = false;
  std::atomic<bool> failDestroy = false;
  std::atomic<uint32_t> lostSlots = 0;  // 0 .. lostSlots-1 belong to containers that do not end
  std::atomic<bool> holdSpawns = false;
  std::atomic<int> destroyDelayMs = 0;
  std::atomic<int> createDelayMs = 0;

  std::vector<uint32_t> slots();  // in the order of creation
  size_t containers();
  void killFirstProcesses();                            // as if every wshd had crashed
  void sendAsFirstProcesses(const std::string& bytes);  // to the frontend, as a packet
  int forgotten();

 private:
  struct Container {
    int pid;
    std::unique_ptr<WshdPeer> wshd;
  };

  Fd socket;
  const TemporaryDirectory& depot;
  std::mutex mutex;
  std::map<std::string, Container> created;
  std::vector<uint32_t> usedSlots;
  std::thread thread;

  void serve();
  void create(Packet& packet);
  void destroy(Packet& packet);
};

}  // namespace warden::frontend
