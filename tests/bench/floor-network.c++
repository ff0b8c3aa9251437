#include "tests/bench/floor-network.h"

#include <arpa/inet.h>
#include <kj/debug.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/socket.h>

namespace warden::bench {

namespace {

constexpr uint32_t POOL = 0x0a800000;  // 10.128.0.0
constexpr uint32_t POOL_NETWORKS = 16384;
constexpr int FIRST_INDEX = 100000;
constexpr uint32_t MTU = 1500;

}  // namespace

class RouteSocket::Batch {
 public:
  explicit Batch(unsigned& sequence) : sequence(sequence) {}

  template <typename Header>
  nlmsghdr* start(uint16_t type, uint16_t flags, const Header& header) {
    finish();
    current = mnl_nlmsg_put_header(buffer + used);
    current->nlmsg_type = type;
    current->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    current->nlmsg_seq = ++sequence;
    *static_cast<Header*>(mnl_nlmsg_put_extra_header(current, sizeof(header))) = header;
    ++count;
    return current;
  }

  void finish() {
    if (current != nullptr) used += MNL_ALIGN(current->nlmsg_len);
    current = nullptr;
  }

  alignas(nlmsghdr) char buffer[4096] = {};
  size_t used = 0;
  unsigned count = 0;

  void link(int index) {
    ifinfomsg header{};
    header.ifi_family = AF_UNSPEC;
    header.ifi_index = index;
    header.ifi_flags = IFF_UP;
    header.ifi_change = IFF_UP;
    start(RTM_NEWLINK, 0, header);
  }

  void address(int index, uint32_t address) {
    ifaddrmsg header{};
    header.ifa_family = AF_INET;
    header.ifa_prefixlen = 30;
    header.ifa_index = static_cast<unsigned>(index);
    auto message = start(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, header);
    mnl_attr_put_u32(message, IFA_LOCAL, htonl(address));
    mnl_attr_put_u32(message, IFA_ADDRESS, htonl(address));
  }

  void defaultRoute(int index, uint32_t gateway) {
    rtmsg header{};
    header.rtm_family = AF_INET;
    header.rtm_table = RT_TABLE_MAIN;
    header.rtm_protocol = RTPROT_STATIC;
    header.rtm_scope = RT_SCOPE_UNIVERSE;
    header.rtm_type = RTN_UNICAST;
    auto message = start(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, header);
    mnl_attr_put_u32(message, RTA_GATEWAY, htonl(gateway));
    mnl_attr_put_u32(message, RTA_OIF, static_cast<uint32_t>(index));
  }

  void pair(const FloorAddresses& addresses, int containerNamespace) {
    char name[IFNAMSIZ];
    ifinfomsg header{};
    header.ifi_family = AF_UNSPEC;
    header.ifi_index = addresses.hostIndex;
    header.ifi_flags = IFF_UP;
    header.ifi_change = IFF_UP;
    auto message = start(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, header);
    snprintf(name, sizeof(name), "f-%d-0", addresses.hostIndex);
    mnl_attr_put_strz(message, IFLA_IFNAME, name);
    mnl_attr_put_u32(message, IFLA_MTU, MTU);
    auto information = mnl_attr_nest_start(message, IFLA_LINKINFO);
    mnl_attr_put_strz(message, IFLA_INFO_KIND, "veth");
    auto data = mnl_attr_nest_start(message, IFLA_INFO_DATA);
    auto peer = mnl_attr_nest_start(message, VETH_INFO_PEER);
    auto peerHeader =
        static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg)));
    peerHeader->ifi_index = addresses.containerIndex;
    snprintf(name, sizeof(name), "f-%d-1", addresses.hostIndex);
    mnl_attr_put_strz(message, IFLA_IFNAME, name);
    mnl_attr_put_u32(message, IFLA_MTU, MTU);
    mnl_attr_put_u32(message, IFLA_NET_NS_FD, static_cast<uint32_t>(containerNamespace));
    mnl_attr_nest_end(message, peer);
    mnl_attr_nest_end(message, data);
    mnl_attr_nest_end(message, information);
  }

 private:
  unsigned& sequence;
  nlmsghdr* current = nullptr;
};

FloorAddresses floorAddresses(unsigned number) {
  uint32_t network = POOL + number % POOL_NETWORKS * 4;
  int index = FIRST_INDEX + static_cast<int>(number);
  return {network + 1, network + 2, index, index};
}

RouteSocket::RouteSocket() {
  int raw;
  KJ_SYSCALL(raw = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  fd = Fd(raw);
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  KJ_SYSCALL(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)));
}

void RouteSocket::execute(Batch& batch) {
  batch.finish();
  KJ_SYSCALL(send(fd, batch.buffer, batch.used, 0));
  for (unsigned answered = 0; answered < batch.count;) {
    alignas(nlmsghdr) char answer[8192];
    ssize_t n;
    KJ_SYSCALL(n = recv(fd, answer, sizeof(answer), 0));
    int length = static_cast<int>(n);
    for (auto message = reinterpret_cast<nlmsghdr*>(answer); mnl_nlmsg_ok(message, length);
         message = mnl_nlmsg_next(message, &length)) {
      if (message->nlmsg_type != NLMSG_ERROR) continue;
      auto error = static_cast<nlmsgerr*>(mnl_nlmsg_get_payload(message));
      if (error->error != 0) KJ_FAIL_SYSCALL("netlink", -error->error, error->msg.nlmsg_type);
      ++answered;
    }
  }
}

void RouteSocket::addPair(const FloorAddresses& addresses, int containerNamespace) {
  Batch batch(sequence);
  batch.pair(addresses, containerNamespace);
  batch.address(addresses.hostIndex, addresses.host);
  execute(batch);
}

void RouteSocket::configureContainer(const FloorAddresses& addresses) {
  Batch batch(sequence);
  batch.address(addresses.containerIndex, addresses.container);
  batch.link(addresses.containerIndex);
  batch.defaultRoute(addresses.containerIndex, addresses.host);
  execute(batch);
}

}  // namespace warden::bench
