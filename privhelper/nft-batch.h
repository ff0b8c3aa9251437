#pragma once
// Transactions of nf_tables (nft(8), libnftnl): all messages of a batch take effect at once, or
// none. Everything is in one table of family inet.

#include <kj/string.h>
#include <netinet/in.h>  // before the kernel's headers, which know then what not to repeat
#include <stdint.h>
#include <stdio.h>  // which libnftnl's headers lack
#include <string.h>

#include <memory>

// clang-format off: after stdio.h
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
// clang-format on

#include "privhelper/netlink-socket.h"

namespace warden::privhelper {

constexpr size_t NAME_BYTES = 16;
// Of an interface's name as a key: padded with zeros (IFNAMSIZ).

class NftKey {
  // A key or value of a set: a field in network byte order, or several, each padded to four bytes.

 public:
  NftKey& name(kj::StringPtr interface);
  NftKey& address(uint32_t hostOrder);
  NftKey& port(uint16_t hostOrder);
  NftKey& number(uint8_t value);

  kj::ArrayPtr<const char> bytes() const { return kj::arrayPtr(data, fields == 1 ? single : used); }
  bool operator<(const NftKey& other) const { return memcmp(data, other.data, sizeof(data)) < 0; }

 private:
  char data[32] = {};
  size_t used = 0;
  size_t fields = 0;
  size_t single = 0;  // bytes of a field that is the only one

  NftKey& append(const void* field, size_t size);
};

struct NftSet {
  // The types of fields are the numbers that nft(8) knows them by, so that it can print them.
  const char* name;
  uint32_t flags;  // NFT_SET_*
  uint32_t keyType;
  uint32_t keyBytes;
  uint32_t dataType = 0;
  uint32_t dataBytes = 0;
  bool counts = false;     // each element has a counter
  bool hostOrder = false;  // the key is text
};

struct NftHook {
  const char* type;  // filter, nat
  uint32_t hook;     // NF_INET_*
  int32_t priority;
};

class NftRule {
  // Expressions in order; what does not match ends the rule. Values are loaded into registers of
  // four bytes, numbered from 0.

 public:
  explicit NftRule(kj::StringPtr chain);

  NftRule& loadMeta(uint32_t key, unsigned reg = 0);
  NftRule& loadNetwork(uint32_t offset, uint32_t size, unsigned reg = 0);
  NftRule& loadTransport(uint32_t offset, uint32_t size, unsigned reg = 0);
  NftRule& loadConnection(uint32_t key, unsigned reg = 0);

  NftRule& setRegister(uint32_t value, unsigned reg);

  NftRule& equals(const void* data, size_t size);
  NftRule& equals8(uint8_t value) { return equals(&value, sizeof(value)); }
  NftRule& within(const void* first, const void* last, size_t size);
  NftRule& anyBit(uint32_t mask);
  NftRule& maskRegister(uint32_t networkOrder, unsigned reg);
  NftRule& inSet(const char* set);
  NftRule& notInSet(const char* set);
  NftRule& count();
  NftRule& limitPerSecond(uint64_t rate, uint32_t burst);
  NftRule& log(kj::StringPtr prefix);

  NftRule& mapVerdict(const char* map);
  NftRule& mapTo(const char* map, unsigned reg);
  NftRule& destinationNat();
  // To the address in register 0 and the port in register 1.
  NftRule& masquerade();
  NftRule& accept();
  NftRule& drop();
  NftRule& go(const char* chain);
  // Does not come back.

  NftRule& ipv4();
  NftRule& protocol(uint8_t number);
  NftRule& from(const char* interfaceSet);
  NftRule& to(const char* interfaceSet);

  const nftnl_rule* get() const { return rule.get(); }

 private:
  struct Free {
    void operator()(nftnl_rule* rule) { nftnl_rule_free(rule); }
  };
  std::unique_ptr<nftnl_rule, Free> rule;

  nftnl_expr* add(const char* name);
  NftRule& loadPayload(uint32_t base, uint32_t offset, uint32_t size, unsigned reg);
  NftRule& lookup(const char* set, bool inverted);
  NftRule& verdict(int code, const char* chain = nullptr);
};

class NftBatch {
 public:
  explicit NftBatch(kj::StringPtr table);

  void addTable(kj::StringPtr comment);
  // No error where there is one.
  void removeTable();
  void addSet(const NftSet& set);
  void addChain(kj::StringPtr name);
  void addChain(kj::StringPtr name, const NftHook& hook);
  void removeChain(kj::StringPtr name);
  // With its rules; nothing may jump to it any more.
  void addRule(const NftRule& rule);

  void addElement(const char* set, const NftKey& key);
  void addElement(const char* map, const NftKey& key, const NftKey& value);
  void addJump(const char* map, const NftKey& key, kj::StringPtr chain);
  void addRange(const char* set, uint32_t first, uint32_t last);
  // Of addresses in a set of intervals.
  void removeElement(const char* set, const NftKey& key);

  void commit(const char* step, NetlinkSocket& socket);
  // Throws StepError: EEXIST when something to be added is there.

 private:
  kj::String table;
  NetlinkRequest request;
  uint32_t setsAdded = 0;

  nlmsghdr* start(uint16_t type, uint16_t flags);
  void putElement(uint16_t type, uint16_t flags, const char* set, const NftKey& key,
                  kj::Maybe<const NftKey&> value, kj::Maybe<kj::StringPtr> chain,
                  uint32_t elementFlags);
  void putChain(nlmsghdr* message, kj::StringPtr name, const NftHook* hook);
};

kj::Maybe<kj::String> tableComment(NetlinkSocket& socket, kj::StringPtr table);
// Of a table of family inet; none where there is no such table, "" where it has no comment.

}  // namespace warden::privhelper
