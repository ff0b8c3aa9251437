#pragma once
// The network of containers: Network is what the server has once, ContainerNetwork what each
// container has.

#include <map>
#include <set>

#include "privhelper/audit-log.h"
#include "privhelper/conntrack.h"
#include "privhelper/firewall.h"
#include "privhelper/links.h"

namespace warden::privhelper {

class ContainerNetwork;

class Network {
  // Interfaces, rules and the host's external addresses. Nothing here waits, but for interfaces
  // that are removed by name of the caller.

 public:
  Network(const NetworkPolicy& policy, AuditLog& log);
  // Opens its sockets, before the broker's sandbox, and looks at what a server of this name has
  // left. Changes nothing yet. Throws StepError.

  void endInterfacesOf(const ContainerId& id);
  // Before start(): of a container that is not adopted.

  void start();
  // After the containers of an earlier server have been adopted: removes interfaces that are
  // nobody's, makes the firewall's table in the place of the old one, and turns on IPv4 forwarding
  // if it is off. Throws StepError.

  ~Network() noexcept(false);
  // Removes the table. All ContainerNetworks are gone.
  KJ_DISALLOW_COPY(Network);

  int fd() const { return events; }
  // Readable: handleEvents() has something to do.

  Firewall& rules() { return *firewall; }

  void handleEvents();
  // Notes which interfaces are gone, and follows the host's addresses. Does not throw.

 private:
  friend class ContainerNetwork;
  const NetworkPolicy& policy;
  AuditLog& log;
  NetlinkSocket routes;
  NetlinkSocket notifications;
  NetlinkSocket netfilter;
  Fd timer;
  Fd events;
  Links links;
  Conntrack conntrack;
  bool hasIpv6;
  uint32_t nextIndex;
  kj::String alias;
  kj::Own<Firewall> firewall;
  std::map<uint32_t, ContainerNetwork*> attached;  // by the index of the host's interface
  kj::Vector<Link> found;       // interfaces of an earlier server that nobody has claimed yet
  kj::Vector<Link> unmarked;    // that nobody's alias tells from a container's by name
  std::set<uint32_t> adopted;   // addresses
  std::set<uint32_t> toForget;  // addresses whose connections the kernel may still know
  uint64_t forgetAtUs = 0;

  uint32_t withNewIndex(kj::FunctionParam<void(uint32_t index)> add);
  uint32_t claim(kj::StringPtr name);
  // The index of one of `found`, or `unmarked`; 0: there is none.
  void removeStale();
  void turnOnForwarding();
  void checkInterfaces();
  void forgetLater(uint32_t address);
  void forgetConnections();
  void setTimer();
  void endOverdue();
  void doWhatIsDue();
  void noteLink(const nlmsghdr* message);
  bool concernsHost(const nlmsghdr* message);
};

class ContainerNetwork {
  // Interfaces, rules, port mappings and limits of one container.

 public:
  ContainerNetwork(Network& network, const ContainerId& id, uint32_t index);
  // Makes nothing yet. `index` is that of CreateContainer.network, and in the pool.

  ~ContainerNetwork() noexcept(false);
  // Removes what there is. Quick when isGone(); otherwise the interface is removed first, which
  // takes some 20 ms.
  KJ_DISALLOW_COPY(ContainerNetwork);

  void leave();
  // To the next start: the destructor then does nothing, and the server's table stays, because the
  // container lives.

  uint32_t index() const { return number; }
  kj::StringPtr peerName() const { return peer; }

  struct State {
    // What lasts, as it is on record.
    kj::ArrayPtr<const MappedPort> ports;
    kj::ArrayPtr<const OutRule> rules;
    kj::Maybe<const Bandwidth&> bandwidth;
  };
  void adopt(const State& state);
  // Before Network::start(): takes over the interfaces of a container that lives on. Its rules come
  // with the table. Throws StepError; then nothing has changed.

  void attach(int netNamespace);
  // Makes the interfaces, one of them in the container's network namespace, and the rules. Throws
  // StepError; then nothing is left.

  void awaitRunning();
  // When the container's end is up: until the host's end passes packets, which the kernel brings
  // about a little later. What is sent before that is lost, and sent again after a second. Gives up
  // silently after as long.

  void requirePort(uint16_t hostPort) { rules().requirePort(hostPort); }
  void requireRule() { rules().requireRule(); }
  // Throw what the following would throw for want of a port or of room.
  void mapPort(const MappedPort& port) { rules().mapPort(port); }
  uint32_t mappedPorts() const { return firewall == nullptr ? 0 : firewall->mappedPorts(); }
  void allowOut(const OutRule& rule) { rules().allowOut(rule); }
  // As schema/privhelper.capnp says of MapPort and AllowOut.

  Bandwidth nextBandwidth(uint64_t rate, uint64_t burst) const;
  void limitBandwidth(const Bandwidth& next);
  // Bytes a second, and bytes; from 1. What is beyond the kernel's range is as good as unlimited.

  bool isGone();
  // To be asked when the container's processes have ended, and again after Network::handleEvents().
  // True: the interface is gone with its namespace, and address and index may be used again. An
  // interface that outlives its container (for connections that the kernel still winds up) is
  // removed a moment after the first question.

 private:
  friend class Network;
  Network& network;
  ContainerId id;
  uint32_t number;
  kj::String name;
  kj::String peer;
  kj::String shaper;
  kj::Own<ContainerFirewall> firewall;
  uint32_t hostIndex = 0;    // 0: no interface
  uint32_t shaperIndex = 0;  // 0: no shaper
  uint32_t shapes = 0;       // that were set so far
  bool running = false;
  bool hadTraffic = true;
  uint64_t removeAtUs = 0;  // 0: not asked yet
  bool left = false;

  ContainerFirewall& rules();
  void addInterfaces(int netNamespace);
  void addShaper();
  void adoptShaper(kj::Maybe<const Bandwidth&> bandwidth);
  void forgetInterface();
};

}  // namespace warden::privhelper
