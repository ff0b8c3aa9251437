#include "privhelper/conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <kj/vector.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

// The kernel's flag for "compare the source address of the tuple" (nf_conntrack_netlink.c).
constexpr uint32_t COMPARE_SOURCE = 1 << 0;

// Up to so many addresses, the kernel looks for each; for more, it lists all connections once.
constexpr size_t FEW = 2;

// Sent at once.
constexpr size_t REMOVAL_BYTES = 256 * 1024;

nlmsghdr* start(NetlinkRequest& request, uint16_t type, uint16_t flags) {
  nlmsghdr* message = request.start(NFNL_SUBSYS_CTNETLINK << 8 | type, flags);
  auto header = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
  header->nfgen_family = AF_INET;
  header->version = NFNETLINK_V0;
  return message;
}

// The source address of a tuple, in network byte order; 0: none.
uint32_t sourceOf(const nlattr* tuple) {
  uint32_t source = 0;
  visitAttributes(tuple, [&](uint16_t type, const nlattr* part) {
    if (type != CTA_TUPLE_IP) return;
    visitAttributes(part, [&](uint16_t field, const nlattr* value) {
      if (field == CTA_IP_V4_SRC) source = mnl_attr_get_u32(value);
    });
  });
  return source;
}

}  // namespace

void Conntrack::forget(const std::set<uint32_t>& addresses) {
  if (addresses.size() <= FEW) {
    // The source of a connection, or of what answers to it: behind a port mapping, the address is
    // only in the answers.
    for (uint32_t address : addresses) {
      forgetBySource(address, CTA_TUPLE_ORIG, CTA_FILTER_ORIG_FLAGS);
      forgetBySource(address, CTA_TUPLE_REPLY, CTA_FILTER_REPLY_FLAGS);
    }
    return;
  }
  NetlinkRequest question;
  start(question, IPCTNL_MSG_CT_GET, NLM_F_DUMP);
  forgetFound(question, [&](uint32_t address) { return addresses.count(address) > 0; });
}

void Conntrack::forgetAllBut(const std::set<uint32_t>& addresses, const Ipv4Range& range) {
  NetlinkRequest question;
  start(question, IPCTNL_MSG_CT_GET, NLM_F_DUMP);
  forgetFound(question, [&](uint32_t address) {
    return range.contains(address) && addresses.count(address) == 0;
  });
}

void Conntrack::forgetBySource(uint32_t address, uint16_t tuple, uint16_t flags) {
  NetlinkRequest question;
  nlmsghdr* message = start(question, IPCTNL_MSG_CT_GET, NLM_F_DUMP);
  nlattr* nest = mnl_attr_nest_start(message, tuple);
  nlattr* addresses = mnl_attr_nest_start(message, CTA_TUPLE_IP);
  mnl_attr_put_u32(message, CTA_IP_V4_SRC, htonl(address));
  mnl_attr_nest_end(message, addresses);
  mnl_attr_nest_end(message, nest);
  nest = mnl_attr_nest_start(message, CTA_FILTER);
  mnl_attr_put_u32(message, flags, COMPARE_SOURCE);
  mnl_attr_nest_end(message, nest);
  forgetFound(question, [=](uint32_t source) { return source == address; });
}

void Conntrack::forgetFound(NetlinkRequest& question, Predicate concerns) {
  kj::Vector<kj::Own<NetlinkRequest>> removals;
  socket.query("list connections", question, [&](const nlmsghdr* connection) {
    const nlattr* original = nullptr;
    const nlattr* number = nullptr;
    bool matches = false;
    visitAttributes(connection, sizeof(nfgenmsg), [&](uint16_t type, const nlattr* attribute) {
      if (type == CTA_TUPLE_ORIG) original = attribute;
      if (type == CTA_ID) number = attribute;
      if (type == CTA_TUPLE_ORIG || type == CTA_TUPLE_REPLY) {
        matches = matches || concerns(ntohl(sourceOf(attribute)));
      }
    });
    if (!matches || original == nullptr || number == nullptr) return;
    if (removals.empty() || removals.back()->size() > REMOVAL_BYTES) {
      removals.add(kj::heap<NetlinkRequest>());
    }
    nlmsghdr* removal = start(*removals.back(), IPCTNL_MSG_CT_DELETE, 0);
    mnl_attr_put(removal, mnl_attr_get_type(original) | NLA_F_NESTED,
                 mnl_attr_get_payload_len(original), mnl_attr_get_payload(original));
    mnl_attr_put_u32(removal, CTA_ID, mnl_attr_get_u32(number));
  });
  for (auto& request : removals) {
    try {
      socket.transact("forget connections", *request);
    } catch (const StepError& e) {
      // Some have ended meanwhile; the others are forgotten.
      if (e.error() != ENOENT) throw;
    }
  }
}

}  // namespace warden::privhelper
