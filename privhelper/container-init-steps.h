#pragma once
// What the steps of container-init.h share, and those that make the container's file systems. Each
// throws InitError.

#include "base/packet.h"
#include "privhelper/container-init.h"

namespace warden::privhelper {

struct Init {
  InitContext context;
  kj::String hostname;
  uint32_t vcapGid;
  kj::String interface;
  uint32_t address;
  uint32_t gateway;
  bool allowIpv6;
  bool privilegedJobs;
  uint32_t bindMounts;    // that are still to come
  uint64_t capabilities;  // of privileged jobs; bit n is capability n
  kj::String apparmor;    // empty: none
  uint32_t faultAt = 0;
  Fd sysctls;  // /proc/sys/net, as it is before it is made read-only
  Fd root;     // the attached root file system, later "/"
  Fd overlay;
  Fd devices;
  Fd connection;
  Fd listener;
};

class InitError {
 public:
  explicit InitError(int error, kj::String detail = nullptr)
      : error(error), detail(kj::mv(detail)) {}
  int error;
  kj::String detail;
};

int check(long result);
// For calls that answer -1 and errno.

Packet receiveSetup(Init& init);
// What the broker sends next.

// In the order in which they are carried out.

void attachRoot(Init& init);
void mountDev(Init& init);
void mountProc(Init& init);
void mountSys(Init& init);
void maskPaths(Init& init);
void protectPaths(Init& init);
void pivotRoot(Init& init);
void mountBinds(Init& init);

}  // namespace warden::privhelper
