#include "privhelper/nft-batch.h"

#include <errno.h>
#include <kj/debug.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

namespace warden::privhelper {

namespace {

constexpr uint32_t LOG_LEVEL_INFO = 6;  // syslog(2)

// Registers of four bytes, of which the kernel has sixteen.
uint32_t registerOf(unsigned number) {
  return NFT_REG32_00 + number;
}

}  // namespace

NftRule::NftRule(kj::StringPtr chain) : rule(nftnl_rule_alloc()) {
  KJ_REQUIRE(rule != nullptr);
  nftnl_rule_set_str(rule.get(), NFTNL_RULE_CHAIN, chain.cStr());
}

nftnl_expr* NftRule::add(const char* name) {
  nftnl_expr* expression = nftnl_expr_alloc(name);
  KJ_REQUIRE(expression != nullptr, name);
  nftnl_rule_add_expr(rule.get(), expression);
  return expression;
}

NftRule& NftRule::loadMeta(uint32_t key, unsigned reg) {
  auto e = add("meta");
  nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, key);
  nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, registerOf(reg));
  return *this;
}

NftRule& NftRule::loadPayload(uint32_t base, uint32_t offset, uint32_t size, unsigned reg) {
  auto e = add("payload");
  nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
  nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
  nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, size);
  nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, registerOf(reg));
  return *this;
}

NftRule& NftRule::loadNetwork(uint32_t offset, uint32_t size, unsigned reg) {
  return loadPayload(NFT_PAYLOAD_NETWORK_HEADER, offset, size, reg);
}

NftRule& NftRule::loadTransport(uint32_t offset, uint32_t size, unsigned reg) {
  return loadPayload(NFT_PAYLOAD_TRANSPORT_HEADER, offset, size, reg);
}

NftRule& NftRule::loadConnection(uint32_t key, unsigned reg) {
  auto e = add("ct");
  nftnl_expr_set_u32(e, NFTNL_EXPR_CT_KEY, key);
  nftnl_expr_set_u32(e, NFTNL_EXPR_CT_DREG, registerOf(reg));
  return *this;
}

NftRule& NftRule::setRegister(uint32_t value, unsigned reg) {
  auto e = add("immediate");
  nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, registerOf(reg));
  nftnl_expr_set(e, NFTNL_EXPR_IMM_DATA, &value, sizeof(value));
  return *this;
}

NftRule& NftRule::equals(const void* data, size_t size) {
  auto e = add("cmp");
  nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, registerOf(0));
  nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, NFT_CMP_EQ);
  nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, data, size);
  return *this;
}

NftRule& NftRule::within(const void* first, const void* last, size_t size) {
  auto e = add("range");
  nftnl_expr_set_u32(e, NFTNL_EXPR_RANGE_SREG, registerOf(0));
  nftnl_expr_set_u32(e, NFTNL_EXPR_RANGE_OP, NFT_RANGE_EQ);
  nftnl_expr_set(e, NFTNL_EXPR_RANGE_FROM_DATA, first, size);
  nftnl_expr_set(e, NFTNL_EXPR_RANGE_TO_DATA, last, size);
  return *this;
}

NftRule& NftRule::maskRegister(uint32_t networkOrder, unsigned reg) {
  uint32_t nothing = 0;
  auto e = add("bitwise");
  nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_SREG, registerOf(reg));
  nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_DREG, registerOf(reg));
  nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_LEN, sizeof(nothing));
  nftnl_expr_set(e, NFTNL_EXPR_BITWISE_MASK, &networkOrder, sizeof(networkOrder));
  nftnl_expr_set(e, NFTNL_EXPR_BITWISE_XOR, &nothing, sizeof(nothing));
  return *this;
}

NftRule& NftRule::anyBit(uint32_t mask) {
  uint32_t nothing = 0;
  maskRegister(mask, 0);
  auto e = add("cmp");
  nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, registerOf(0));
  nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, NFT_CMP_NEQ);
  nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, &nothing, sizeof(nothing));
  return *this;
}

NftRule& NftRule::lookup(const char* set, bool inverted) {
  auto e = add("lookup");
  nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SREG, registerOf(0));
  nftnl_expr_set_str(e, NFTNL_EXPR_LOOKUP_SET, set);
  if (inverted) nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
  return *this;
}

NftRule& NftRule::inSet(const char* set) {
  return lookup(set, false);
}

NftRule& NftRule::notInSet(const char* set) {
  return lookup(set, true);
}

NftRule& NftRule::mapTo(const char* map, unsigned reg) {
  auto e = add("lookup");
  nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SREG, registerOf(0));
  nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_DREG, registerOf(reg));
  nftnl_expr_set_str(e, NFTNL_EXPR_LOOKUP_SET, map);
  return *this;
}

NftRule& NftRule::mapVerdict(const char* map) {
  auto e = add("lookup");
  nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SREG, registerOf(0));
  nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_DREG, NFT_REG_VERDICT);
  nftnl_expr_set_str(e, NFTNL_EXPR_LOOKUP_SET, map);
  return *this;
}

NftRule& NftRule::count() {
  add("counter");
  return *this;
}

NftRule& NftRule::limitPerSecond(uint64_t rate, uint32_t burst) {
  auto e = add("limit");
  nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_RATE, rate);
  nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_UNIT, 1);
  nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_BURST, burst);
  nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKTS);
  return *this;
}

NftRule& NftRule::log(kj::StringPtr prefix) {
  auto e = add("log");
  nftnl_expr_set_str(e, NFTNL_EXPR_LOG_PREFIX, prefix.cStr());
  nftnl_expr_set_u32(e, NFTNL_EXPR_LOG_LEVEL, LOG_LEVEL_INFO);
  return *this;
}

NftRule& NftRule::destinationNat() {
  auto e = add("nat");
  nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT);
  nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_FAMILY, NFPROTO_IPV4);
  nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_REG_ADDR_MIN, registerOf(0));
  nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_REG_PROTO_MIN, registerOf(1));
  nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_FLAGS, NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED);
  return *this;
}

NftRule& NftRule::masquerade() {
  add("masq");
  return *this;
}

NftRule& NftRule::verdict(int code, const char* chain) {
  auto e = add("immediate");
  nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
  nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, code);
  if (chain != nullptr) nftnl_expr_set_str(e, NFTNL_EXPR_IMM_CHAIN, chain);
  return *this;
}

NftRule& NftRule::accept() {
  return verdict(NF_ACCEPT);
}

NftRule& NftRule::drop() {
  return verdict(NF_DROP);
}

NftRule& NftRule::go(const char* chain) {
  return verdict(NFT_GOTO, chain);
}

NftRule& NftRule::ipv4() {
  return loadMeta(NFT_META_NFPROTO).equals8(NFPROTO_IPV4);
}

NftRule& NftRule::protocol(uint8_t number) {
  return loadMeta(NFT_META_L4PROTO).equals8(number);
}

NftRule& NftRule::from(const char* interfaceSet) {
  return loadMeta(NFT_META_IIFNAME).inSet(interfaceSet);
}

NftRule& NftRule::to(const char* interfaceSet) {
  return loadMeta(NFT_META_OIFNAME).inSet(interfaceSet);
}

}  // namespace warden::privhelper
