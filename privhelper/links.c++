#include "privhelper/links.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <string.h>
#include <sys/random.h>

#include <algorithm>

#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr uint8_t PREFIX_BITS = 30;

ifinfomsg* putLink(nlmsghdr* message, uint32_t index, unsigned flags = 0) {
  auto link = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg)));
  link->ifi_family = AF_UNSPEC;
  link->ifi_index = index;
  link->ifi_flags = flags;
  link->ifi_change = flags;
  return link;
}

void putText(nlmsghdr* message, uint16_t type, kj::StringPtr name) {
  mnl_attr_put_strz(message, type, name.cStr());
}

// Of the host's end: the kernel's own checks, besides those of the firewall.
void putHostSettings(nlmsghdr* message, bool hasIpv6) {
  struct Setting {
    uint16_t number;
    uint32_t value;
  };
  constexpr Setting SETTINGS[] = {
      {IPV4_DEVCONF_FORWARDING, 1},
      {IPV4_DEVCONF_RP_FILTER, 1},            // no source that is not routed here
      {IPV4_DEVCONF_ARP_IGNORE, 1},           // the host's other addresses stay unknown
      {IPV4_DEVCONF_ACCEPT_REDIRECTS, 0},     // a container changes no route of the host
      {IPV4_DEVCONF_SECURE_REDIRECTS, 0},     //
      {IPV4_DEVCONF_SEND_REDIRECTS, 0},       //
      {IPV4_DEVCONF_ACCEPT_SOURCE_ROUTE, 0},  // nor chooses one
      {IPV4_DEVCONF_PROXY_ARP, 0},            //
      {IPV4_DEVCONF_ROUTE_LOCALNET, 0},       // 127.0.0.0/8 stays the host's
  };
  nlattr* families = mnl_attr_nest_start(message, IFLA_AF_SPEC);
  nlattr* ipv4 = mnl_attr_nest_start(message, AF_INET);
  nlattr* settings = mnl_attr_nest_start(message, IFLA_INET_CONF);
  for (const Setting& setting : SETTINGS)
    mnl_attr_put_u32(message, setting.number, setting.value);
  mnl_attr_nest_end(message, settings);
  mnl_attr_nest_end(message, ipv4);
  if (hasIpv6) {
    // No link-local address: the host has no business with containers over IPv6.
    nlattr* ipv6 = mnl_attr_nest_start(message, AF_INET6);
    mnl_attr_put_u8(message, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    mnl_attr_nest_end(message, ipv6);
  }
  mnl_attr_nest_end(message, families);
}

void addVeth(NetlinkRequest& request, const LinkPair& pair) {
  nlmsghdr* message = request.start(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  putLink(message, pair.hostIndex);
  putText(message, IFLA_IFNAME, pair.hostName);
  mnl_attr_put_u32(message, IFLA_MTU, pair.mtu);
  nlattr* info = mnl_attr_nest_start(message, IFLA_LINKINFO);
  mnl_attr_put_strz(message, IFLA_INFO_KIND, "veth");
  nlattr* data = mnl_attr_nest_start(message, IFLA_INFO_DATA);
  nlattr* peer = mnl_attr_nest_start(message, VETH_INFO_PEER);
  putLink(message, PEER_INDEX);
  putText(message, IFLA_IFNAME, pair.peerName);
  mnl_attr_put_u32(message, IFLA_MTU, pair.mtu);
  mnl_attr_put_u32(message, IFLA_NET_NS_FD, pair.peerNamespace);
  mnl_attr_nest_end(message, peer);
  mnl_attr_nest_end(message, data);
  mnl_attr_nest_end(message, info);
}

void addAddress(NetlinkRequest& request, uint32_t index, uint32_t address) {
  nlmsghdr* message = request.start(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
  auto header = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifaddrmsg)));
  header->ifa_family = AF_INET;
  header->ifa_prefixlen = PREFIX_BITS;
  header->ifa_scope = RT_SCOPE_UNIVERSE;
  header->ifa_index = index;
  mnl_attr_put_u32(message, IFA_LOCAL, htonl(address));
  mnl_attr_put_u32(message, IFA_ADDRESS, htonl(address));
  mnl_attr_put_u32(message, IFA_BROADCAST, htonl(address | 3));
}

uint32_t u32Of(const nlattr* attribute) {
  return mnl_attr_get_payload_len(attribute) >= sizeof(uint32_t) ? mnl_attr_get_u32(attribute) : 0;
}

kj::String textOf(const nlattr* attribute) {
  auto text = mnl_attr_get_str(attribute);
  return kj::heapString(text, strnlen(text, mnl_attr_get_payload_len(attribute)));
}

}  // namespace

void Links::addPair(const LinkPair& pair) {
  {
    // Alone: what follows is said of an index, which could be a stranger's if this failed.
    NetlinkRequest request;
    addVeth(request, pair);
    socket.transact("add network interfaces", request);
  }
  KJ_ON_SCOPE_FAILURE(remove(pair.hostIndex));
  NetlinkRequest request;
  nlmsghdr* message = request.start(RTM_NEWLINK, 0);
  putLink(message, pair.hostIndex, IFF_UP);
  putText(message, IFLA_IFALIAS, pair.alias);
  putHostSettings(message, pair.hasIpv6);
  addAddress(request, pair.hostIndex, pair.hostAddress);
  socket.transact("configure network interface", request);
}

void Links::addShaper(kj::StringPtr name, uint32_t index, kj::StringPtr alias) {
  {
    NetlinkRequest request;
    nlmsghdr* message = request.start(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    putLink(message, index);
    putText(message, IFLA_IFNAME, name);
    nlattr* info = mnl_attr_nest_start(message, IFLA_LINKINFO);
    mnl_attr_put_strz(message, IFLA_INFO_KIND, "ifb");
    mnl_attr_nest_end(message, info);
    socket.transact("add traffic shaper", request);
  }
  KJ_ON_SCOPE_FAILURE(remove(index));
  NetlinkRequest request;
  nlmsghdr* message = request.start(RTM_NEWLINK, 0);
  putLink(message, index, IFF_UP);
  putText(message, IFLA_IFALIAS, alias);
  socket.transact("configure traffic shaper", request);
}

void Links::remove(uint32_t index) {
  NetlinkRequest request;
  putLink(request.start(RTM_DELLINK, 0), index);
  try {
    socket.transact("remove network interface", request);
  } catch (const StepError& e) {
    if (e.error() != ENODEV) throw;
  }
}

void Links::removeAll(kj::ArrayPtr<const uint32_t> indexes) {
  if (indexes.size() == 1) return remove(indexes[0]);
  // Interfaces of one group are removed together. The number is one that nobody else uses.
  uint32_t group;
  step("choose a group", [&] { return getrandom(&group, sizeof(group), 0); });
  group |= 1u << 31;
  auto ignoreMissing = [&](NetlinkRequest& request) {
    try {
      socket.transact("remove network interfaces", request);
    } catch (const StepError& e) {
      if (e.error() != ENODEV) throw;
    }
  };
  NetlinkRequest choice;
  for (uint32_t index : indexes) {
    nlmsghdr* message = choice.start(RTM_NEWLINK, 0);
    putLink(message, index);
    mnl_attr_put_u32(message, IFLA_GROUP, group);
  }
  ignoreMissing(choice);
  NetlinkRequest removal;
  nlmsghdr* message = removal.start(RTM_DELLINK, 0);
  putLink(message, 0);
  mnl_attr_put_u32(message, IFLA_GROUP, group);
  ignoreMissing(removal);
}

kj::Vector<Link> Links::list() {
  NetlinkRequest request;
  putLink(request.start(RTM_GETLINK, NLM_F_DUMP), 0);
  kj::Vector<Link> found;
  socket.query("list network interfaces", request, [&](const nlmsghdr* message) {
    if (message->nlmsg_type != RTM_NEWLINK) return;
    auto header = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
    Link link{static_cast<uint32_t>(header->ifi_index), nullptr, nullptr};
    visitAttributes(message, sizeof(ifinfomsg), [&](uint16_t type, const nlattr* attribute) {
      if (type == IFLA_IFNAME) link.name = textOf(attribute);
      if (type == IFLA_IFALIAS) link.alias = textOf(attribute);
    });
    found.add(kj::mv(link));
  });
  return found;
}

kj::Vector<uint32_t> Links::defaultInterfaces() {
  NetlinkRequest request;
  nlmsghdr* message = request.start(RTM_GETROUTE, NLM_F_DUMP);
  auto header = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(rtmsg)));
  header->rtm_family = AF_INET;
  kj::Vector<uint32_t> found;
  socket.query("list routes", request, [&](const nlmsghdr* route) {
    auto fields = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(route));
    if (fields->rtm_family != AF_INET || fields->rtm_dst_len != 0 ||
        fields->rtm_table != RT_TABLE_MAIN || fields->rtm_type != RTN_UNICAST) {
      return;
    }
    visitAttributes(route, sizeof(rtmsg), [&](uint16_t type, const nlattr* attribute) {
      if (type == RTA_OIF) found.add(u32Of(attribute));
      if (type != RTA_MULTIPATH) return;
      int left = mnl_attr_get_payload_len(attribute);
      for (auto hop = static_cast<rtnexthop*>(mnl_attr_get_payload(attribute)); RTNH_OK(hop, left);
           left -= RTNH_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop)) {
        found.add(hop->rtnh_ifindex);
      }
    });
  });
  return found;
}

kj::Vector<uint32_t> Links::externalAddresses() {
  auto interfaces = defaultInterfaces();
  kj::Vector<uint32_t> found;
  if (interfaces.empty()) return found;
  NetlinkRequest request;
  nlmsghdr* message = request.start(RTM_GETADDR, NLM_F_DUMP);
  auto header = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifaddrmsg)));
  header->ifa_family = AF_INET;
  socket.query("list addresses", request, [&](const nlmsghdr* answer) {
    auto fields = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(answer));
    if (fields->ifa_family != AF_INET ||
        std::find(interfaces.begin(), interfaces.end(), fields->ifa_index) == interfaces.end()) {
      return;
    }
    visitAttributes(answer, sizeof(ifaddrmsg), [&](uint16_t type, const nlattr* attribute) {
      if (type == IFA_LOCAL) found.add(ntohl(u32Of(attribute)));
    });
  });
  std::sort(found.begin(), found.end());
  found.truncate(std::unique(found.begin(), found.end()) - found.begin());
  return found;
}

void addLoopback(NetlinkRequest& request) {
  putLink(request.start(RTM_NEWLINK, 0), 1, IFF_UP);
}

void addContainerEnd(NetlinkRequest& request, uint32_t index, uint32_t address, uint32_t gateway) {
  nlmsghdr* message = request.start(RTM_NEWLINK, 0);
  putLink(message, index, IFF_UP);
  addAddress(request, index, address);
  message = request.start(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
  auto header = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(rtmsg)));
  header->rtm_family = AF_INET;
  header->rtm_table = RT_TABLE_MAIN;
  header->rtm_protocol = RTPROT_BOOT;
  header->rtm_scope = RT_SCOPE_UNIVERSE;
  header->rtm_type = RTN_UNICAST;
  mnl_attr_put_u32(message, RTA_GATEWAY, htonl(gateway));
  mnl_attr_put_u32(message, RTA_OIF, index);
}

}  // namespace warden::privhelper
