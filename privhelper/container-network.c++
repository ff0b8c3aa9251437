#include <errno.h>
#include <kj/debug.h>
#include <poll.h>

#include "privhelper/frontend-process.h"
#include "privhelper/network.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

// The namespace of a container ends 11 to 50 ms after its last process; that of one with open
// connections lives as long as the kernel tries to end them, which may be minutes.
constexpr uint64_t DRAIN_US = 250'000;

constexpr uint64_t START_US = 1'000'000;

}  // namespace

ContainerNetwork::ContainerNetwork(Network& network, const ContainerId& id, uint32_t index)
    : network(network),
      id(id),
      number(index),
      name(kj::str("w-", id.text(), "-0")),
      peer(kj::str("w-", id.text(), "-1")),
      shaper(kj::str("w-", id.text(), "-b")) {}

void ContainerNetwork::leave() {
  left = true;
  network.attached.erase(hostIndex);
  if (firewall.get() == nullptr) return;
  firewall->leave();
  network.firewall->leave();
}

ContainerNetwork::~ContainerNetwork() noexcept(false) {
  if (left) return;
  // Each on its own: one that fails must not keep the others.
  kj::runCatchingExceptions([this] {
    if (hostIndex != 0) network.links.remove(hostIndex);
  });
  if (hostIndex != 0) forgetInterface();
  kj::runCatchingExceptions([this] {
    if (shaperIndex != 0) network.links.remove(shaperIndex);
  });
  if (firewall.get() == nullptr) return;
  firewall = nullptr;
  // Whoever gets the address next must not get this container's connections.
  if (hadTraffic) {
    kj::runCatchingExceptions(
        [this] { network.forgetLater(network.policy.containerAddress(number)); });
  }
}

void ContainerNetwork::forgetInterface() {
  network.attached.erase(hostIndex);
  hostIndex = 0;
}

ContainerFirewall& ContainerNetwork::rules() {
  if (firewall.get() == nullptr || hostIndex == 0) {
    throw StepError("change firewall rules", ENODEV, "the container's interface is gone");
  }
  return *firewall;
}

void ContainerNetwork::adopt(const State& state) {
  uint32_t address = network.policy.containerAddress(number);
  KJ_ON_SCOPE_FAILURE({
    if (firewall.get() != nullptr) firewall->leave();
    firewall = nullptr;
    network.adopted.erase(address);
    if (shaperIndex != 0) network.found.add(Link{shaperIndex, kj::str(shaper), nullptr});
    if (hostIndex != 0) network.found.add(Link{hostIndex, kj::str(name), nullptr});
    network.attached.erase(hostIndex);
    hostIndex = shaperIndex = 0;
  });
  firewall = kj::heap<ContainerFirewall>(*network.firewall, id, name, address);
  for (auto& port : state.ports)
    firewall->mapPort(port);
  for (auto& rule : state.rules)
    firewall->allowOut(rule);
  network.adopted.insert(address);
  hostIndex = network.claim(name);
  // Somebody has removed it: the container lives on without, as it did.
  if (hostIndex == 0) return;
  network.attached[hostIndex] = this;
  running = true;
  adoptShaper(state.bandwidth);
}

void ContainerNetwork::adoptShaper(kj::Maybe<const Bandwidth&> bandwidth) {
  shaperIndex = network.claim(shaper);
  KJ_IF_MAYBE (present, bandwidth) {
    shapes = present->generation;
    if (present->complete && shaperIndex != 0) return;
  }
  // One that was not finished is made again: packets may be led to a device that is not there.
  if (shaperIndex != 0) {
    network.links.unshape(hostIndex);
    network.links.remove(shaperIndex);
    shaperIndex = 0;
  }
  KJ_IF_MAYBE (wanted, bandwidth) {
    limitBandwidth(nextBandwidth(wanted->rate, wanted->burst));
  }
}

void ContainerNetwork::attach(int netNamespace) {
  uint32_t address = network.policy.containerAddress(number);
  if (network.toForget.count(address) > 0) network.forgetConnections();
  // Rules first: there is no moment at which the interface has none.
  KJ_ON_SCOPE_FAILURE(firewall = nullptr);
  firewall = kj::heap<ContainerFirewall>(*network.firewall, id, name, address);
  addInterfaces(netNamespace);
}

void ContainerNetwork::addInterfaces(int netNamespace) {
  LinkPair pair{
      .hostName = name,
      .hostIndex = 0,
      .peerName = peer,
      .peerNamespace = netNamespace,
      .mtu = network.policy.mtu,
      .hostAddress = network.policy.hostAddress(number),
      .alias = network.alias,
      .hasIpv6 = network.hasIpv6,
  };
  hostIndex = network.withNewIndex([&](uint32_t index) {
    pair.hostIndex = index;
    network.links.addPair(pair);
  });
  network.attached[hostIndex] = this;
}

void ContainerNetwork::awaitRunning() {
  uint64_t deadline = monotonicUs() + START_US;
  network.handleEvents();
  for (uint64_t now = monotonicUs(); !running && hostIndex != 0 && now < deadline;
       now = monotonicUs()) {
    pollfd p{network.events, POLLIN, 0};
    poll(&p, 1, (deadline - now) / 1000 + 1);
    network.handleEvents();
  }
}

bool ContainerNetwork::isGone() {
  if (hostIndex == 0) return true;
  if (removeAtUs == 0) {
    removeAtUs = monotonicUs() + DRAIN_US;
    network.doWhatIsDue();
  }
  return false;
}

}  // namespace warden::privhelper
