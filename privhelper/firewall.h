#pragma once
// What containers may send and receive: one nf_tables table of the server. Its chains are made at
// start and are the same for all containers; a container is elements of sets, keyed by interface
// and address. So neither a packet nor a change costs more with more containers.

#include <set>
#include <string>
#include <vector>

#include "base/container-id.h"
#include "privhelper/nft-batch.h"
#include "privhelper/orders.h"
#include "privhelper/policy.h"

namespace warden::privhelper {

class Firewall {
  // The table. In the order of a packet's way:
  //
  //   guard        first of all: from a container only IPv4 with its own source address
  //   prerouting   port mappings, from outside and from containers
  //   output       port mappings, from the host itself
  //   input        to the host: answers only, unless network.allow_host_access
  //   forward      answers pass; new connections go on to
  //     outgoing   from a container: what its rules and network.allow_networks say
  //     incoming   into a container: by a port mapping only
  //   postrouting  what leaves for other networks gets the host's address
  //   count        what containers receive

 public:
  Firewall(NetlinkSocket& socket, const NetworkPolicy& policy);
  // Changes nothing yet. Throws StepError; EEXIST when there is a table of this name that is none
  // of this program's.

  void start();
  // Makes the table, with the containers that were added since, in the place of what an earlier
  // server has left. It is one transaction: whatever packet comes meets the old rules or the new
  // ones. Throws StepError.

  bool replaces() const { return replacing; }
  // True: there was a table.

  ~Firewall() noexcept(false);
  KJ_DISALLOW_COPY(Firewall);

  void leave() { left = true; }
  // To the next start: the destructor then does nothing.

  void setExternal(kj::ArrayPtr<const uint32_t> addresses);
  // The host's addresses whose ports are mapped.

 private:
  friend class ContainerFirewall;
  NetlinkSocket& socket;
  kj::String table;
  bool replacing = false;
  kj::Own<NftBatch> starting;  // until start()
  std::set<uint16_t> mapped;   // ports of the host, of all containers
  std::set<uint32_t> external;
  bool left = false;

  void change(const char* step, kj::FunctionParam<void(NftBatch&)> fill);
  // In a transaction; before start() in its.
};

class ContainerFirewall {
  // One container's part. The destructor removes it; the interface must be gone, because without
  // its elements it is no container's, and the host's own rules apply.

 public:
  ContainerFirewall(Firewall& firewall, const ContainerId& id, kj::StringPtr interface,
                    uint32_t address);
  ~ContainerFirewall() noexcept(false);
  KJ_DISALLOW_COPY(ContainerFirewall);

  void leave() { left = true; }
  // The destructor then does nothing.

  uint32_t mappedPorts() const { return ports.size(); }
  void mapPort(const MappedPort& port);
  void allowOut(const OutRule& rule);
  // As schema/privhelper.capnp says of MapPort and AllowOut; throw StepError.

  void requirePort(uint16_t hostPort) const;
  void requireRule() const;
  // Throw what those throw for want of a port or of room: before it is on record.

 private:
  Firewall& firewall;
  ContainerId id;
  kj::String interface;
  uint32_t address;
  kj::String chain;
  bool hasChain = false;
  bool left = false;
  uint32_t rules = 0;
  std::vector<uint16_t> ports;
  std::set<std::pair<const char*, NftKey>> allowed;  // elements: set and key

  bool allowByElements(const OutRule& rule);
  void allowByChain(const OutRule& rule);
};

}  // namespace warden::privhelper
