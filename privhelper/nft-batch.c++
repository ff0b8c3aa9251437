#include "privhelper/nft-batch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <kj/debug.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr uint32_t VERDICT_TYPE = 0xffffff00;  // NFT_DATA_VERDICT
constexpr uint32_t COMMENT_BYTES = 128;

// A note for nft(8), on how to print a key that it knows as text.
constexpr uint32_t SET_DATA_BYTES = 16;
constexpr uint32_t HOST_ORDER = 1;

struct FreeTable {
  void operator()(nftnl_table* p) { nftnl_table_free(p); }
};
struct FreeSet {
  void operator()(nftnl_set* p) { nftnl_set_free(p); }
};
struct FreeChain {
  void operator()(nftnl_chain* p) { nftnl_chain_free(p); }
};
struct FreeData {
  void operator()(nftnl_udata_buf* p) { nftnl_udata_buf_free(p); }
};
using Table = std::unique_ptr<nftnl_table, FreeTable>;
using Set = std::unique_ptr<nftnl_set, FreeSet>;
using Chain = std::unique_ptr<nftnl_chain, FreeChain>;
using UserData = std::unique_ptr<nftnl_udata_buf, FreeData>;

}  // namespace

NftKey& NftKey::append(const void* field, size_t size) {
  KJ_ASSERT(used + size <= sizeof(data));
  memcpy(data + used, field, size);
  used += (size + 3) & ~size_t(3);
  single = size;
  ++fields;
  return *this;
}

NftKey& NftKey::name(kj::StringPtr interface) {
  char padded[NAME_BYTES] = {};
  KJ_REQUIRE(interface.size() < NAME_BYTES);
  memcpy(padded, interface.begin(), interface.size());
  return append(padded, sizeof(padded));
}

NftKey& NftKey::address(uint32_t hostOrder) {
  uint32_t value = htonl(hostOrder);
  return append(&value, sizeof(value));
}

NftKey& NftKey::port(uint16_t hostOrder) {
  uint16_t value = htons(hostOrder);
  return append(&value, sizeof(value));
}

NftKey& NftKey::number(uint8_t value) {
  return append(&value, sizeof(value));
}

NftBatch::NftBatch(kj::StringPtr table) : table(kj::heapString(table)) {
  request.startWith(
      [](char* place, uint32_t sequence) { return nftnl_batch_begin(place, sequence); });
}

nlmsghdr* NftBatch::start(uint16_t type, uint16_t flags) {
  return request.startWith([&](char* place, uint32_t sequence) {
    return nftnl_nlmsg_build_hdr(place, type, NFPROTO_INET, flags, sequence);
  });
}

void NftBatch::addTable(kj::StringPtr comment) {
  Table object(nftnl_table_alloc());
  nftnl_table_set_str(object.get(), NFTNL_TABLE_NAME, table.cStr());
  UserData data(nftnl_udata_buf_alloc(COMMENT_BYTES + 2));
  KJ_REQUIRE(nftnl_udata_put_strz(data.get(), NFTNL_UDATA_TABLE_COMMENT, comment.cStr()));
  nftnl_table_set_data(object.get(), NFTNL_TABLE_USERDATA, nftnl_udata_buf_data(data.get()),
                       nftnl_udata_buf_len(data.get()));
  nftnl_table_nlmsg_build_payload(start(NFT_MSG_NEWTABLE, NLM_F_CREATE), object.get());
}

void NftBatch::removeTable() {
  Table object(nftnl_table_alloc());
  nftnl_table_set_str(object.get(), NFTNL_TABLE_NAME, table.cStr());
  nftnl_table_nlmsg_build_payload(start(NFT_MSG_DELTABLE, 0), object.get());
}

void NftBatch::addSet(const NftSet& set) {
  Set object(nftnl_set_alloc());
  nftnl_set_set_str(object.get(), NFTNL_SET_TABLE, table.cStr());
  nftnl_set_set_str(object.get(), NFTNL_SET_NAME, set.name);
  // Names are enough, but the kernel wants a number that is unique in the batch, too.
  nftnl_set_set_u32(object.get(), NFTNL_SET_ID, ++setsAdded);
  nftnl_set_set_u32(object.get(), NFTNL_SET_FLAGS, set.flags);
  nftnl_set_set_u32(object.get(), NFTNL_SET_KEY_TYPE, set.keyType);
  nftnl_set_set_u32(object.get(), NFTNL_SET_KEY_LEN, set.keyBytes);
  if ((set.flags & NFT_SET_MAP) != 0) {
    bool verdicts = set.dataBytes == 0;
    nftnl_set_set_u32(object.get(), NFTNL_SET_DATA_TYPE, verdicts ? VERDICT_TYPE : set.dataType);
    nftnl_set_set_u32(object.get(), NFTNL_SET_DATA_LEN, set.dataBytes);
  }
  if (set.hostOrder) {
    UserData data(nftnl_udata_buf_alloc(SET_DATA_BYTES));
    nftnl_udata_put_u32(data.get(), NFTNL_UDATA_SET_KEYBYTEORDER, HOST_ORDER);
    nftnl_set_set_data(object.get(), NFTNL_SET_USERDATA, nftnl_udata_buf_data(data.get()),
                       nftnl_udata_buf_len(data.get()));
  }
  if (set.counts) nftnl_set_add_expr(object.get(), nftnl_expr_alloc("counter"));
  nftnl_set_nlmsg_build_payload(start(NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL), object.get());
}

void NftBatch::putChain(nlmsghdr* message, kj::StringPtr name, const NftHook* hook) {
  Chain object(nftnl_chain_alloc());
  nftnl_chain_set_str(object.get(), NFTNL_CHAIN_TABLE, table.cStr());
  nftnl_chain_set_str(object.get(), NFTNL_CHAIN_NAME, name.cStr());
  if (hook != nullptr) {
    nftnl_chain_set_str(object.get(), NFTNL_CHAIN_TYPE, hook->type);
    nftnl_chain_set_u32(object.get(), NFTNL_CHAIN_HOOKNUM, hook->hook);
    nftnl_chain_set_s32(object.get(), NFTNL_CHAIN_PRIO, hook->priority);
    nftnl_chain_set_u32(object.get(), NFTNL_CHAIN_POLICY, NF_ACCEPT);
  }
  nftnl_chain_nlmsg_build_payload(message, object.get());
}

void NftBatch::addChain(kj::StringPtr name) {
  putChain(start(NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL), name, nullptr);
}

void NftBatch::addChain(kj::StringPtr name, const NftHook& hook) {
  putChain(start(NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL), name, &hook);
}

void NftBatch::removeChain(kj::StringPtr name) {
  putChain(start(NFT_MSG_DELCHAIN, 0), name, nullptr);
}

void NftBatch::addRule(const NftRule& rule) {
  auto object = const_cast<nftnl_rule*>(rule.get());
  nftnl_rule_set_str(object, NFTNL_RULE_TABLE, table.cStr());
  nftnl_rule_nlmsg_build_payload(start(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND), object);
}

void NftBatch::putElement(uint16_t type, uint16_t flags, const char* set, const NftKey& key,
                          kj::Maybe<const NftKey&> value, kj::Maybe<kj::StringPtr> chain,
                          uint32_t elementFlags) {
  Set object(nftnl_set_alloc());
  nftnl_set_set_str(object.get(), NFTNL_SET_TABLE, table.cStr());
  nftnl_set_set_str(object.get(), NFTNL_SET_NAME, set);
  nftnl_set_elem* element = nftnl_set_elem_alloc();
  nftnl_set_elem_add(object.get(), element);
  nftnl_set_elem_set(element, NFTNL_SET_ELEM_KEY, key.bytes().begin(), key.bytes().size());
  if (elementFlags != 0) nftnl_set_elem_set_u32(element, NFTNL_SET_ELEM_FLAGS, elementFlags);
  KJ_IF_MAYBE (data, value) {
    nftnl_set_elem_set(element, NFTNL_SET_ELEM_DATA, data->bytes().begin(), data->bytes().size());
  }
  KJ_IF_MAYBE (target, chain) {
    nftnl_set_elem_set_u32(element, NFTNL_SET_ELEM_VERDICT, NFT_JUMP);
    nftnl_set_elem_set_str(element, NFTNL_SET_ELEM_CHAIN, target->cStr());
  }
  nftnl_set_elems_nlmsg_build_payload(start(type, flags), object.get());
}

void NftBatch::addElement(const char* set, const NftKey& key) {
  putElement(NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, set, key, nullptr, nullptr, 0);
}

void NftBatch::addElement(const char* map, const NftKey& key, const NftKey& value) {
  putElement(NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, map, key, value, nullptr, 0);
}

void NftBatch::addJump(const char* map, const NftKey& key, kj::StringPtr chain) {
  putElement(NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, map, key, nullptr, chain, 0);
}

void NftBatch::addRange(const char* set, uint32_t first, uint32_t last) {
  addElement(set, NftKey().address(first));
  // The end is the first address that is not part; none for a range up to the last address.
  if (last == ~uint32_t(0)) return;
  putElement(NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL, set, NftKey().address(last + 1),
             nullptr, nullptr, NFT_SET_ELEM_INTERVAL_END);
}

void NftBatch::removeElement(const char* set, const NftKey& key) {
  putElement(NFT_MSG_DELSETELEM, 0, set, key, nullptr, nullptr, 0);
}

void NftBatch::commit(const char* step, NetlinkSocket& socket) {
  request.acknowledgeLast();
  request.startWith(
      [](char* place, uint32_t sequence) { return nftnl_batch_end(place, sequence); });
  socket.transact(step, request);
}

kj::Maybe<kj::String> tableComment(NetlinkSocket& socket, kj::StringPtr name) {
  NetlinkRequest request;
  Table wanted(nftnl_table_alloc());
  nftnl_table_set_str(wanted.get(), NFTNL_TABLE_NAME, name.cStr());
  nftnl_table_nlmsg_build_payload(request.startWith([](char* place, uint32_t sequence) {
    return nftnl_nlmsg_build_hdr(place, NFT_MSG_GETTABLE, NFPROTO_INET, 0, sequence);
  }),
                                  wanted.get());
  kj::Maybe<kj::String> found;
  try {
    socket.query("look for an old table", request, [&](const nlmsghdr* message) {
      Table table(nftnl_table_alloc());
      if (nftnl_table_nlmsg_parse(message, table.get()) < 0) return;
      found = kj::String();
      uint32_t size = 0;
      auto data = nftnl_table_get_data(table.get(), NFTNL_TABLE_USERDATA, &size);
      if (data == nullptr) return;
      auto take = [](const nftnl_udata* attribute, void* target) {
        if (nftnl_udata_type(attribute) == NFTNL_UDATA_TABLE_COMMENT) {
          auto text = static_cast<const char*>(nftnl_udata_get(attribute));
          *static_cast<kj::Maybe<kj::String>*>(target) =
              kj::heapString(text, strnlen(text, nftnl_udata_len(attribute)));
        }
        return 0;
      };
      nftnl_udata_parse(data, size, take, &found);
    });
  } catch (const StepError& e) {
    if (e.error() != ENOENT) throw;
  }
  return found;
}

}  // namespace warden::privhelper
