#pragma once
// The kernel's own cost of one container: system calls only, in the order that a runtime makes
// them, and nothing around them. What the server's create is compared with.

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/packet.h"
#include "tests/bench/floor-network.h"

namespace warden::bench {

constexpr uid_t FIRST_HOST_ID = 0x70000000;
constexpr uid_t ID_COUNT = 65536;

struct FloorHost {
  // What lives as long as the program.

  std::string directory;                   // everything is made below it
  std::string image;                       // lower layer, owned by root
  std::vector<std::string> cgroupParents;  // one for each hierarchy
  Fd program;                              // sealed memfd: process 1
  RouteSocket* route;                      // in the network namespace of the program
};

struct ChildPlan {
  // What the cloned child inherits.

  std::string rootfs;
  std::vector<int> tasks;  // descriptors of each cgroup's `tasks`
  int program;
  int connection;  // process 1's end
  int listener;
  int control;  // the overlay's and /dev's mounts arrive here, once ids and network are there
  FloorAddresses addresses;
};

[[noreturn]] void becomeContainer(const ChildPlan& plan);
// floor-child.c++. Ends in the execution of process 1.

class FloorContainer {
  // The constructor creates and waits until process 1 answers; the destructor destroys. Throws
  // kj::Exception, and leaves nothing behind then.

 public:
  FloorContainer(const FloorHost& host, unsigned number);
  ~FloorContainer() noexcept;
  KJ_DISALLOW_COPY(FloorContainer);

 private:
  const FloorHost& host;
  std::string directory;
  FloorAddresses addresses;
  std::vector<std::string> cgroups;
  std::vector<Fd> statistics;
  bool lowerMounted = false;
  pid_t pid = -1;
  Fd pidfd;

  void create();
  std::vector<Fd> makeCgroups();
  void limit(const std::string& cgroup);
  void openStatistics(const std::string& cgroup);
  Fd makeListener();
  void cloneChild(const ChildPlan& plan);
  void mapIds();
  void connectNetwork();
  Fd mountOverlay();
  Fd mountDev();
  void destroy() noexcept;
};

void sendFds(int socket, int first, int second);
void receiveFds(int socket, int& first, int& second);

}  // namespace warden::bench
