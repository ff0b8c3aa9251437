#include "privhelper/firewall.h"

#include <arpa/inet.h>
#include <errno.h>
#include <kj/debug.h>
#include <linux/netfilter/nf_tables.h>
#include <netinet/ip.h>
#include <stddef.h>

#include "privhelper/firewall-table.h"
#include "privhelper/step.h"
#include "schema/privhelper.capnp.h"

namespace warden::privhelper {

namespace {

constexpr kj::StringPtr COMMENT_START = "containers of warden server "_kj;

constexpr uint32_t MAX_PORTS = schema::MapPort::MAX_PORTS;
constexpr uint32_t MAX_RULES = schema::AllowOut::MAX_RULES;

// A rule that takes more elements becomes one of the container's chain, and so does every rule of a
// container that has many.
constexpr size_t MAX_ELEMENTS_OF_RULE = 64;
constexpr size_t MAX_ELEMENTS = 4096;

constexpr uint64_t LOGGED_PER_SECOND = 100;
constexpr uint32_t LOGGED_AT_ONCE = 200;

struct Block {
  const AllowSet* set;
  uint32_t network;
};

// The range as networks of the sizes that there are sets for; none when that takes too many.
kj::Maybe<std::vector<Block>> blocksOf(const Ipv4Range& range) {
  std::vector<Block> blocks;
  uint64_t next = range.first;
  while (next <= range.last) {
    if (blocks.size() == MAX_ELEMENTS_OF_RULE) return nullptr;
    for (auto set = std::end(ALLOW_SETS); set-- != std::begin(ALLOW_SETS);) {
      uint64_t size = uint64_t(1) << (32 - set->bits);
      if (next % size != 0 || next + size - 1 > range.last) continue;
      blocks.push_back({set, static_cast<uint32_t>(next)});
      next += size;
      break;
    }
  }
  return blocks;
}

uint8_t numberOf(schema::Protocol protocol) {
  switch (protocol) {
    case schema::Protocol::TCP:
      return IPPROTO_TCP;
    case schema::Protocol::UDP:
      return IPPROTO_UDP;
    case schema::Protocol::ICMP:
      return IPPROTO_ICMP;
    case schema::Protocol::ALL:
      return 0;
  }
  KJ_UNREACHABLE;
}

bool hasPorts(const OutRule& rule) {
  return rule.firstPort != 0 || rule.lastPort != 65535;
}

void matchDestination(NftRule& match, const OutRule& rule) {
  uint32_t first = htonl(rule.destination.first), last = htonl(rule.destination.last);
  if (rule.destination.first == 0 && rule.destination.last == ~uint32_t(0)) return;
  match.loadNetwork(offsetof(ip, ip_dst), sizeof(first));
  if (first == last) {
    match.equals(&first, sizeof(first));
  } else {
    match.within(&first, &last, sizeof(first));
  }
}

NftRule matchOf(kj::StringPtr chain, const OutRule& rule) {
  NftRule match(chain);
  matchDestination(match, rule);
  if (rule.protocol == schema::Protocol::ALL) return match;
  match.protocol(numberOf(rule.protocol));
  if (rule.protocol == schema::Protocol::ICMP) {
    if (rule.icmpType >= 0) match.loadTransport(0, 1).equals8(rule.icmpType);
    if (rule.icmpCode >= 0) match.loadTransport(1, 1).equals8(rule.icmpCode);
  } else if (hasPorts(rule)) {
    uint16_t first = htons(rule.firstPort), last = htons(rule.lastPort);
    match.loadTransport(2, sizeof(first)).within(&first, &last, sizeof(first));
  }
  return match;
}

}  // namespace

Firewall::Firewall(NetlinkSocket& socket, const NetworkPolicy& policy)
    : socket(socket), table(kj::heapString(policy.serverName.c_str())) {
  KJ_IF_MAYBE (comment, tableComment(socket, table)) {
    if (!comment->startsWith(COMMENT_START)) {
      throw StepError("make the firewall's table", EEXIST,
                      kj::str("there is a table inet ", table,
                              " that is not of a warden server: choose another "
                              "privhelper.cgroup_parent"));
    }
    replacing = true;
  }
  auto comment = kj::str(COMMENT_START, table);
  starting = kj::heap<NftBatch>(table);
  // Adding first makes the removal succeed where there is none.
  starting->addTable(comment);
  starting->removeTable();
  starting->addTable(comment);
  addServerTable(*starting, policy);
}

void Firewall::start() {
  starting->commit("make the firewall's table", socket);
  starting = nullptr;
}

void Firewall::change(const char* step, kj::FunctionParam<void(NftBatch&)> fill) {
  if (starting.get() != nullptr) return fill(*starting);
  NftBatch batch(table);
  fill(batch);
  batch.commit(step, socket);
}

Firewall::~Firewall() noexcept(false) {
  if (left || starting.get() != nullptr) return;
  kj::runCatchingExceptions([this] {
    change("remove the firewall's table", [](NftBatch& batch) { batch.removeTable(); });
  });
}

void Firewall::setExternal(kj::ArrayPtr<const uint32_t> addresses) {
  std::set<uint32_t> wanted(addresses.begin(), addresses.end());
  if (wanted == external) return;
  change("follow the host's addresses", [&](NftBatch& batch) {
    for (uint32_t address : external)
      if (wanted.count(address) == 0) batch.removeElement(EXTERNAL, NftKey().address(address));
    for (uint32_t address : wanted)
      if (external.count(address) == 0) batch.addElement(EXTERNAL, NftKey().address(address));
  });
  external = std::move(wanted);
}

ContainerFirewall::ContainerFirewall(Firewall& firewall, const ContainerId& id,
                                     kj::StringPtr interfaceParam, uint32_t address)
    : firewall(firewall),
      id(id),
      interface(kj::heapString(interfaceParam)),
      address(address),
      chain(kj::str("c-", id.text())) {
  firewall.change("add firewall rules", [&](NftBatch& batch) {
    batch.addElement(CONTAINERS, NftKey().name(interface));
    batch.addElement(SENT, NftKey().name(interface).address(address));
    batch.addElement(RECEIVED, NftKey().name(interface));
    batch.addElement(DENIED, NftKey().name(interface));
  });
}

ContainerFirewall::~ContainerFirewall() noexcept(false) {
  if (left) return;
  kj::runCatchingExceptions([this] {
    firewall.change("remove firewall rules", [&](NftBatch& batch) {
      for (uint16_t port : ports)
        batch.removeElement(PORTS, NftKey().port(port));
      for (auto& [set, key] : allowed)
        batch.removeElement(set, key);
      if (hasChain) {
        batch.removeElement(RULES, NftKey().name(interface));
        batch.removeChain(chain);
      }
      batch.removeElement(DENIED, NftKey().name(interface));
      batch.removeElement(RECEIVED, NftKey().name(interface));
      batch.removeElement(SENT, NftKey().name(interface).address(address));
      batch.removeElement(CONTAINERS, NftKey().name(interface));
    });
    for (uint16_t port : ports)
      firewall.mapped.erase(port);
    endPoint("rules are removed");
  });
}

void ContainerFirewall::requirePort(uint16_t hostPort) const {
  if (ports.size() >= MAX_PORTS) {
    throw StepError("map port", ENOSPC, kj::str(MAX_PORTS, " ports are mapped"));
  }
  if (firewall.mapped.count(hostPort) > 0) {
    throw StepError("map port", EADDRINUSE, kj::str("port ", hostPort, " is mapped already"));
  }
}

void ContainerFirewall::requireRule() const {
  if (rules >= MAX_RULES) {
    throw StepError("allow outgoing connections", ENOSPC,
                    kj::str("there are ", MAX_RULES, " rules"));
  }
}

void ContainerFirewall::mapPort(const MappedPort& port) {
  requirePort(port.hostPort);
  ports.reserve(ports.size() + 1);
  firewall.change("map port", [&](NftBatch& batch) {
    batch.addElement(PORTS, NftKey().port(port.hostPort),
                     NftKey().address(address).port(port.containerPort));
  });
  ports.push_back(port.hostPort);
  firewall.mapped.insert(port.hostPort);
}

void ContainerFirewall::allowOut(const OutRule& rule) {
  requireRule();
  if (!allowByElements(rule)) allowByChain(rule);
  ++rules;
}

// A rule for networks, and for some ports or all: the common kind, which needs no chain. A chain
// makes the kernel look at those of all containers again whenever there is a new rule.
bool ContainerFirewall::allowByElements(const OutRule& rule) {
  if (rule.log || rule.icmpType >= 0 || rule.icmpCode >= 0) return false;
  // As an element, port 0 is any.
  uint16_t firstPort = hasPorts(rule) ? rule.firstPort : 0;
  uint16_t lastPort = hasPorts(rule) ? rule.lastPort : 0;
  if (hasPorts(rule) && firstPort == 0) return false;
  size_t portCount = lastPort - firstPort + 1;
  KJ_IF_MAYBE (blocks, blocksOf(rule.destination)) {
    size_t count = blocks->size() * portCount;
    if (count > MAX_ELEMENTS_OF_RULE || allowed.size() + count > MAX_ELEMENTS) return false;
    decltype(allowed) added;
    for (const Block& block : *blocks) {
      for (uint32_t port = firstPort; port <= lastPort; ++port) {
        NftKey key;
        key.name(interface).address(block.network).number(numberOf(rule.protocol)).port(port);
        if (allowed.count({block.set->name, key}) == 0) added.emplace(block.set->name, key);
      }
    }
    if (added.empty()) return true;
    firewall.change("allow outgoing connections", [&](NftBatch& batch) {
      for (auto& [set, key] : added)
        batch.addElement(set, key);
    });
    allowed.merge(added);
    return true;
  }
  return false;
}

void ContainerFirewall::allowByChain(const OutRule& rule) {
  firewall.change("allow outgoing connections", [&](NftBatch& batch) {
    if (!hasChain) {
      batch.addChain(chain);
      batch.addJump(RULES, NftKey().name(interface), chain);
    }
    if (rule.log) {
      // A rule of its own: what is over the limit passes without being logged.
      batch.addRule(matchOf(chain, rule)
                        .limitPerSecond(LOGGED_PER_SECOND, LOGGED_AT_ONCE)
                        .log(kj::str("warden ", id.text(), ": ")));
    }
    batch.addRule(matchOf(chain, rule).accept());
  });
  hasChain = true;
}

}  // namespace warden::privhelper
