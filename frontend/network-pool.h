#pragma once
// The addresses of containers: a pool of /30 networks.

#include <kj/common.h>
#include <kj/timer.h>
#include <stdint.h>

#include <list>
#include <unordered_map>
#include <unordered_set>

#include "base/config.h"
#include "frontend/pools.h"

namespace warden::frontend {

struct ContainerAddresses {
  // IPv4, in host byte order.
  uint32_t host;
  uint32_t container;
};

class NetworkPool;

class Network : public Lease<NetworkPool> {
 public:
  ContainerAddresses addresses() const;

 private:
  friend class NetworkPool;
  Network(NetworkPool& pool, uint32_t index) : Lease(pool, index) {}
};

class NetworkPool {
  // A network rests for network.release_delay after its release, so that packets under way to the
  // container that had it do not reach the next. The one that has rested longest is handed out
  // first. Every operation takes constant time.

 public:
  NetworkPool(const Config::Network& config, const kj::Timer& timer);
  KJ_DISALLOW_COPY(NetworkPool);

  kj::Maybe<Network> acquire();
  // None: all are in use or rest.

  kj::Maybe<Network> acquire(uint32_t address);
  // The one that contains `address`. None: it is in use, rests, or is not of this pool.

  ContainerAddresses addressesOf(uint32_t index) const;

 private:
  friend Lease<NetworkPool>;
  struct Resting {
    uint32_t index;
    kj::TimePoint since;
  };

  const kj::Timer& timer;
  uint32_t start;
  uint32_t size;
  kj::Duration delay;
  uint32_t cursor = 0;                 // this one and all above were never used, but for `ahead`
  std::unordered_set<uint32_t> ahead;  // used before the cursor came to them
  std::list<Resting> resting;          // the one released longest ago first
  std::unordered_map<uint32_t, std::list<Resting>::iterator> restingByIndex;

  void release(uint32_t index);
  kj::Maybe<Network> wake(std::list<Resting>::iterator found);
};

}  // namespace warden::frontend
