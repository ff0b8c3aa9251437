#include "privhelper/firewall-table.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/ip.h>
#include <stddef.h>

#include <algorithm>

namespace warden::privhelper {

namespace {

// Types as nft(8) numbers them; a concatenation is its parts, six bits each.
constexpr uint32_t ADDRESS = 7;
constexpr uint32_t PROTOCOL = 12;
constexpr uint32_t PORT = 13;
constexpr uint32_t INTERFACE = 41;
constexpr uint32_t concat(uint32_t left, uint32_t right) {
  return left << 6 | right;
}

constexpr uint32_t SOURCE_OFFSET = offsetof(ip, ip_src);
constexpr uint32_t DESTINATION_OFFSET = offsetof(ip, ip_dst);
constexpr uint32_t ADDRESS_BYTES = 4;
constexpr uint32_t PORT_OFFSET = 2;  // of the destination, in TCP and UDP
constexpr uint32_t PORT_BYTES = 2;

// nft's bits of a connection's state: 1 << (ctinfo % IP_CT_IS_REPLY + 1).
constexpr uint32_t ESTABLISHED_OR_RELATED = 1 << (IP_CT_ESTABLISHED + 1) | 1 << (IP_CT_RELATED + 1);

constexpr int COUNT_PRIORITY = NF_IP_PRI_LAST;

void addSets(NftBatch& batch, const NetworkPolicy& policy) {
  constexpr uint32_t ADDRESS_PORT = concat(ADDRESS, PORT);
  batch.addSet({.name = CONTAINERS,
                .flags = 0,
                .keyType = INTERFACE,
                .keyBytes = NAME_BYTES,
                .hostOrder = true});
  batch.addSet({.name = SENT,
                .flags = 0,
                .keyType = concat(INTERFACE, ADDRESS),
                .keyBytes = NAME_BYTES + 4,
                .counts = true});
  for (const char* name : {RECEIVED, DENIED}) {
    batch.addSet({.name = name,
                  .flags = 0,
                  .keyType = INTERFACE,
                  .keyBytes = NAME_BYTES,
                  .counts = true,
                  .hostOrder = true});
  }
  batch.addSet({PORTS, NFT_SET_MAP, PORT, PORT_BYTES, ADDRESS_PORT, 8});
  batch.addSet({.name = RULES,
                .flags = NFT_SET_MAP,
                .keyType = INTERFACE,
                .keyBytes = NAME_BYTES,
                .hostOrder = true});
  batch.addSet({EXTERNAL, 0, ADDRESS, 4});
  batch.addSet({ALLOWED, NFT_SET_INTERVAL, ADDRESS, 4});
  for (const AllowSet& set : ALLOW_SETS) {
    batch.addSet(
        {set.name, 0, concat(concat(concat(INTERFACE, ADDRESS), PROTOCOL), PORT), NAME_BYTES + 12});
  }
  for (const Ipv4Range& range : allowedForAll(policy))
    batch.addRange(ALLOWED, range.first, range.last);
}

// What is denied is dropped, and counted as the container's.
void addDenial(NftBatch& batch, const char* chain) {
  batch.addRule(NftRule(chain).from(DENIED).drop());
  batch.addRule(NftRule(chain).drop());
}

void addGuard(NftBatch& batch, const NetworkPolicy& policy) {
  // Fragments are put together before (NF_IP_PRI_CONNTRACK_DEFRAG); connection tracking comes
  // after, so that nothing that is dropped here takes room in its table.
  batch.addChain("guard", {"filter", NF_INET_PRE_ROUTING, NF_IP_PRI_RAW});
  batch.addRule(NftRule("guard").loadMeta(NFT_META_IIFNAME).notInSet(CONTAINERS).accept());
  batch.addRule(NftRule("guard")
                    .ipv4()
                    .loadMeta(NFT_META_IIFNAME)
                    .loadNetwork(SOURCE_OFFSET, ADDRESS_BYTES, 4)
                    .inSet(SENT)
                    .accept());
  if (policy.allowIpv6) {
    batch.addRule(NftRule("guard").loadMeta(NFT_META_NFPROTO).equals8(NFPROTO_IPV6).accept());
  }
  addDenial(batch, "guard");
}

void addInput(NftBatch& batch, const NetworkPolicy& policy) {
  batch.addChain("input", {"filter", NF_INET_LOCAL_IN, NF_IP_PRI_FILTER});
  batch.addRule(NftRule("input").loadMeta(NFT_META_IIFNAME).notInSet(CONTAINERS).accept());
  batch.addRule(
      NftRule("input").loadConnection(NFT_CT_STATE).anyBit(ESTABLISHED_OR_RELATED).accept());
  if (policy.allowHostAccess) batch.addRule(NftRule("input").accept());
  addDenial(batch, "input");
}

void addForward(NftBatch& batch) {
  batch.addChain("outgoing");
  batch.addChain("incoming");
  batch.addChain("forward", {"filter", NF_INET_FORWARD, NF_IP_PRI_FILTER});
  batch.addRule(
      NftRule("forward").loadConnection(NFT_CT_STATE).anyBit(ESTABLISHED_OR_RELATED).accept());
  batch.addRule(NftRule("forward").from(CONTAINERS).go("outgoing"));
  batch.addRule(NftRule("forward").to(CONTAINERS).go("incoming"));

  batch.addRule(
      NftRule("incoming").ipv4().loadConnection(NFT_CT_STATUS).anyBit(IPS_DST_NAT).accept());
  batch.addRule(NftRule("incoming").count().drop());
}

// Each kind of element of ALLOW_SETS is looked for by a rule: an exact port, any port of a
// protocol, any protocol.
void addAllowRules(NftBatch& batch, const AllowSet& set) {
  uint32_t mask = set.bits == 0 ? 0 : htonl(~uint32_t(0) << (32 - set.bits));
  auto start = [&] {
    NftRule rule("outgoing");
    rule.loadMeta(NFT_META_IIFNAME)
        .loadNetwork(DESTINATION_OFFSET, ADDRESS_BYTES, 4)
        .maskRegister(mask, 4);
    return rule;
  };
  batch.addRule(start()
                    .loadMeta(NFT_META_L4PROTO, 5)
                    .loadTransport(PORT_OFFSET, PORT_BYTES, 6)
                    .inSet(set.name)
                    .accept());
  batch.addRule(start().loadMeta(NFT_META_L4PROTO, 5).setRegister(0, 6).inSet(set.name).accept());
  batch.addRule(start().setRegister(0, 5).setRegister(0, 6).inSet(set.name).accept());
}

void addOutgoing(NftBatch& batch) {
  batch.addRule(
      NftRule("outgoing").loadMeta(NFT_META_NFPROTO).equals8(NFPROTO_IPV6).from(DENIED).drop());
  batch.addRule(
      NftRule("outgoing").loadNetwork(DESTINATION_OFFSET, ADDRESS_BYTES).inSet(ALLOWED).accept());
  for (const AllowSet& set : ALLOW_SETS)
    addAllowRules(batch, set);
  batch.addRule(NftRule("outgoing").loadMeta(NFT_META_IIFNAME).mapVerdict(RULES));
  addDenial(batch, "outgoing");
}

void addNat(NftBatch& batch, const NetworkPolicy& policy) {
  batch.addChain("prerouting", {"nat", NF_INET_PRE_ROUTING, NF_IP_PRI_NAT_DST});
  batch.addChain("output", {"nat", NF_INET_LOCAL_OUT, NF_IP_PRI_NAT_DST});
  for (const char* chain : {"prerouting", "output"}) {
    batch.addRule(NftRule(chain)
                      .ipv4()
                      .loadNetwork(DESTINATION_OFFSET, ADDRESS_BYTES)
                      .inSet(EXTERNAL)
                      .protocol(IPPROTO_TCP)
                      .loadTransport(PORT_OFFSET, PORT_BYTES)
                      .mapTo(PORTS, 0)
                      .destinationNat());
  }
  batch.addChain("postrouting", {"nat", NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC});
  uint32_t first = htonl(policy.pool().first), last = htonl(policy.pool().last);
  batch.addRule(NftRule("postrouting")
                    .ipv4()
                    .loadNetwork(SOURCE_OFFSET, ADDRESS_BYTES)
                    .within(&first, &last, sizeof(first))
                    .loadMeta(NFT_META_OIFNAME)
                    .notInSet(CONTAINERS)
                    .masquerade());
}

}  // namespace

std::vector<Ipv4Range> allowedForAll(const NetworkPolicy& policy) {
  Ipv4Range pool = policy.pool();
  std::vector<Ipv4Range> parts;
  for (const Ipv4Range& range : policy.allowNetworks) {
    if (pool.contains(range.first) && pool.contains(range.last)) {
      parts.push_back(range);
      continue;
    }
    if (range.first < pool.first)
      parts.push_back({range.first, std::min(range.last, pool.first - 1)});
    if (range.last > pool.last) parts.push_back({std::max(range.first, pool.last + 1), range.last});
  }
  std::sort(parts.begin(), parts.end(),
            [](const Ipv4Range& a, const Ipv4Range& b) { return a.first < b.first; });
  std::vector<Ipv4Range> merged;
  for (const Ipv4Range& part : parts) {
    if (!merged.empty() && part.first <= uint64_t(merged.back().last) + 1) {
      merged.back().last = std::max(merged.back().last, part.last);
    } else {
      merged.push_back(part);
    }
  }
  return merged;
}

void addServerTable(NftBatch& batch, const NetworkPolicy& policy) {
  addSets(batch, policy);
  addGuard(batch, policy);
  addInput(batch, policy);
  addForward(batch);
  addOutgoing(batch);
  addNat(batch, policy);
  batch.addChain("count", {"filter", NF_INET_POST_ROUTING, COUNT_PRIORITY});
  batch.addRule(NftRule("count").to(RECEIVED));
}

}  // namespace warden::privhelper
