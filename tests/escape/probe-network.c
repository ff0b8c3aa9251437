#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "probe.h"

static const char FOREIGN[] = "198.51.100.77";  // RFC 5737
static const char TARGET[] = "198.51.100.2";

// The container's interface: the first one that is not loopback.
static int find_interface(char* name) {
  struct if_nameindex* list = if_nameindex();
  int found = 0;
  for (struct if_nameindex* i = list; i != NULL && i->if_index != 0; ++i) {
    if (strcmp(i->if_name, "lo") == 0) continue;
    snprintf(name, IFNAMSIZ, "%s", i->if_name);
    found = i->if_index;
  }
  if (list != NULL) if_freenameindex(list);
  if (found == 0) snprintf(name, IFNAMSIZ, "lo");
  return found == 0 ? 1 : found;
}

static struct sockaddr_in address(const char* text, int port) {
  struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons(port)};
  inet_pton(AF_INET, text, &result.sin_addr);
  return result;
}

static int interface_ioctl(unsigned long number, struct ifreq* request, const char* what) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0) return not_attempted("socket");
  find_interface(request->ifr_name);
  return denied(ioctl(fd, number, request), what);
}

static int set_address(const char* unused) {
  (void)unused;
  struct ifreq request = {0};
  struct sockaddr_in foreign = address(FOREIGN, 0);
  memcpy(&request.ifr_addr, &foreign, sizeof(foreign));
  return interface_ioctl(SIOCSIFADDR, &request, "SIOCSIFADDR");
}

static int set_interface_down(const char* unused) {
  (void)unused;
  struct ifreq request = {0};
  return interface_ioctl(SIOCSIFFLAGS, &request, "SIOCSIFFLAGS");
}

static int rename_interface(const char* unused) {
  (void)unused;
  struct ifreq request = {0};
  strcpy(request.ifr_newname, "eth9");
  return interface_ioctl(SIOCSIFNAME, &request, "SIOCSIFNAME");
}

static int set_hardware_address(const char* unused) {
  (void)unused;
  struct ifreq request = {0};
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  request.ifr_hwaddr.sa_data[0] = 2;
  return interface_ioctl(SIOCSIFHWADDR, &request, "SIOCSIFHWADDR");
}

static int add_route(const char* unused) {
  (void)unused;
  struct rtentry route = {.rt_flags = RTF_UP | RTF_HOST};
  struct sockaddr_in target = address(FOREIGN, 0);
  char name[IFNAMSIZ];
  find_interface(name);
  route.rt_dev = name;
  memcpy(&route.rt_dst, &target, sizeof(target));
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0) return not_attempted("socket");
  return denied(ioctl(fd, SIOCADDRT, &route), "SIOCADDRT");
}

// Sends one request and judges the kernel's acknowledgment.
static int ask_netlink(int protocol, void* request, size_t size, const char* what) {
  int fd = socket(AF_NETLINK, SOCK_RAW, protocol);
  // What the filter answers for all protocols but the one that tells addresses.
  if (fd < 0 && protocol != NETLINK_ROUTE && errno == EPROTONOSUPPORT) return refused(what);
  if (fd < 0) return denied(fd, what);
  struct nlmsghdr* header = request;
  header->nlmsg_len = size;
  header->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
  if (send(fd, request, size, 0) < 0) return denied(-1, what);
  char answer[8192];
  struct timeval patience = {.tv_sec = 2};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  ssize_t n = recv(fd, answer, sizeof(answer), 0);
  struct nlmsghdr* first = (struct nlmsghdr*)answer;
  if (n < (ssize_t)sizeof(*first)) return not_attempted("recv");
  if (first->nlmsg_type != NLMSG_ERROR) return worked(what);
  errno = -((struct nlmsgerr*)NLMSG_DATA(first))->error;
  return denied(errno == 0 ? 0 : -1, what);
}

static int netlink_address(const char* unused) {
  (void)unused;
  char name[IFNAMSIZ];
  struct {
    struct nlmsghdr header;
    struct ifaddrmsg body;
    struct rtattr attribute;
    struct in_addr address;
  } request = {.header = {.nlmsg_type = RTM_NEWADDR, .nlmsg_flags = NLM_F_CREATE},
               .body = {.ifa_family = AF_INET, .ifa_prefixlen = 24},
               .attribute = {.rta_len = RTA_LENGTH(4), .rta_type = IFA_LOCAL}};
  request.body.ifa_index = find_interface(name);
  request.address = address(FOREIGN, 0).sin_addr;
  return ask_netlink(NETLINK_ROUTE, &request, sizeof(request), "RTM_NEWADDR");
}

static int netlink_route(const char* unused) {
  (void)unused;
  char name[IFNAMSIZ];
  struct {
    struct nlmsghdr header;
    struct rtmsg body;
    struct rtattr attribute;
    int interface;
  } request = {.header = {.nlmsg_type = RTM_NEWROUTE, .nlmsg_flags = NLM_F_CREATE},
               .body = {.rtm_family = AF_INET,
                        .rtm_table = RT_TABLE_MAIN,
                        .rtm_protocol = RTPROT_BOOT,
                        .rtm_scope = RT_SCOPE_LINK,
                        .rtm_type = RTN_UNICAST},
               .attribute = {.rta_len = RTA_LENGTH(4), .rta_type = RTA_OIF}};
  request.interface = find_interface(name);
  return ask_netlink(NETLINK_ROUTE, &request, sizeof(request), "RTM_NEWROUTE");
}

static int netlink_new_link(const char* unused) {
  (void)unused;
  struct {
    struct nlmsghdr header;
    struct ifinfomsg body;
    struct rtattr info;
    struct rtattr kind;
    char name[8];
  } request = {.header = {.nlmsg_type = RTM_NEWLINK, .nlmsg_flags = NLM_F_CREATE},
               .info = {.rta_len = RTA_LENGTH(RTA_LENGTH(8)), .rta_type = IFLA_LINKINFO},
               .kind = {.rta_len = RTA_LENGTH(6), .rta_type = IFLA_INFO_KIND},
               .name = "dummy"};
  return ask_netlink(NETLINK_ROUTE, &request, sizeof(request), "RTM_NEWLINK");
}

static int netlink_nftables(const char* unused) {
  (void)unused;
  struct {
    struct nlmsghdr header;
    struct nfgenmsg body;
  } request = {.header = {.nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE,
                          .nlmsg_flags = NLM_F_DUMP},
               .body = {.nfgen_family = AF_INET}};
  return ask_netlink(NETLINK_NETFILTER, &request, sizeof(request), "NFT_MSG_GETTABLE");
}

static int netlink_conntrack(const char* unused) {
  (void)unused;
  struct {
    struct nlmsghdr header;
    struct nfgenmsg body;
  } request = {.header = {.nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET,
                          .nlmsg_flags = NLM_F_DUMP},
               .body = {.nfgen_family = AF_INET}};
  return ask_netlink(NETLINK_NETFILTER, &request, sizeof(request), "IPCTNL_MSG_CT_GET");
}

static int promiscuous(const char* unused) {
  (void)unused;
  struct ifreq request = {.ifr_flags = IFF_UP | IFF_PROMISC};
  return interface_ioctl(SIOCSIFFLAGS, &request, "SIOCSIFFLAGS");
}

static int transparent_source(const char* unused) {
  (void)unused;
  int on = 1;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0) return not_attempted("socket");
  return denied(setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on)), "IP_TRANSPARENT");
}

// Anyone may bind to a foreign address with IP_FREEBIND (ip(7)); what counts is that nothing can be
// sent from it.
static int free_bound_source(const char* unused) {
  (void)unused;
  int on = 1;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in foreign = address(FOREIGN, 7777);
  struct sockaddr_in target = address(TARGET, 7777);
  if (fd < 0) return not_attempted("socket");
  if (setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on)) != 0) return refused("IP_FREEBIND");
  if (bind(fd, (struct sockaddr*)&foreign, sizeof(foreign)) != 0) return refused("bind");
  if (sendto(fd, "x", 1, 0, (struct sockaddr*)&target, sizeof(target)) < 0)
    return refused("sendto");
  return worked("sendto from a foreign address");
}

static int source_by_pktinfo(const char* unused) {
  (void)unused;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in target = address(TARGET, 7777);
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
  } control = {0};
  struct iovec data = {.iov_base = "x", .iov_len = 1};
  struct msghdr message = {.msg_name = &target,
                           .msg_namelen = sizeof(target),
                           .msg_iov = &data,
                           .msg_iovlen = 1,
                           .msg_control = control.bytes,
                           .msg_controllen = sizeof(control.bytes)};
  struct cmsghdr* c = CMSG_FIRSTHDR(&message);
  struct in_pktinfo info = {.ipi_spec_dst = address(FOREIGN, 0).sin_addr};
  if (fd < 0) return not_attempted("socket");
  c->cmsg_level = IPPROTO_IP;
  c->cmsg_type = IP_PKTINFO;
  c->cmsg_len = CMSG_LEN(sizeof(info));
  memcpy(CMSG_DATA(c), &info, sizeof(info));
  if (sendmsg(fd, &message, 0) < 0) return refused("sendmsg");
  return worked("sendmsg with a foreign source");
}

// Anyone may set the option; it goes no further than the first machine that looks at it. Judged is
// what arrives (tests of the network), so here: whether the kernel sends it at all.
static int source_route(const char* unused) {
  (void)unused;
  static const unsigned char ROUTE[] = {IPOPT_LSRR, 7, 4, 198, 51, 100, 77, IPOPT_EOL};
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in target = address(TARGET, 7777);
  if (fd < 0) return not_attempted("socket");
  if (setsockopt(fd, IPPROTO_IP, IP_OPTIONS, ROUTE, sizeof(ROUTE)) != 0)
    return refused("IP_OPTIONS");
  if (connect(fd, (struct sockaddr*)&target, sizeof(target)) != 0) return refused("connect");
  if (send(fd, "x", 1, 0) < 0) return refused("send");
  usleep(50000);
  struct timeval patience = {.tv_usec = 100000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  char byte;
  if (recv(fd, &byte, 1, 0) < 0) return refused("recv of an answer");
  return worked("a packet with a source route was answered");
}

static int raw_header(const char* unused) {
  (void)unused;
  for (int protocol = 0; protocol < 256; ++protocol) {
    int fd = socket(AF_INET, SOCK_RAW, protocol);
    if (fd >= 0) return worked("socket(SOCK_RAW)");
    if (errno != EPERM && errno != EACCES && errno != EPROTONOSUPPORT) {
      return not_attempted("socket(SOCK_RAW)");
    }
  }
  return refused("socket(SOCK_RAW)");
}

// To its own interface it may; that one has no other.
static int bind_to_device(const char* unused) {
  (void)unused;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0) return not_attempted("socket");
  struct if_nameindex* list = if_nameindex();
  int count = 0;
  for (struct if_nameindex* i = list; i != NULL && i->if_index != 0; ++i)
    ++count;
  if (count > 2) return worked("more interfaces than loopback and one");
  if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "wire0", 6) == 0)
    return worked("SO_BINDTODEVICE");
  return refused("SO_BINDTODEVICE of the host's interface");
}

static int tun(const char* unused) {
  (void)unused;
  int fd = open("/dev/net/tun", O_RDWR);
  if (fd < 0) return refused("open /dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
  return denied(ioctl(fd, TUNSETIFF, &request), "TUNSETIFF");
}

// Marks are what policy routing and filters of the host may go by.
static int network_mark(const char* unused) {
  (void)unused;
  int mark = 1;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0) return not_attempted("socket");
  return denied(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), "SO_MARK");
}

static int vsock(const char* unused) {
  (void)unused;
  int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (fd < 0) return refused("socket(AF_VSOCK)");
  struct sockaddr_vm host = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = 1};
  if (connect(fd, (struct sockaddr*)&host, sizeof(host)) == 0) return worked("connect to the host");
  return worked("socket(AF_VSOCK)");
}

const struct attack NETWORK_ATTACKS[] = {{"set-address", set_address},
                                         {"set-interface-down", set_interface_down},
                                         {"rename-interface", rename_interface},
                                         {"set-hardware-address", set_hardware_address},
                                         {"add-route", add_route},
                                         {"netlink-address", netlink_address},
                                         {"netlink-route", netlink_route},
                                         {"netlink-nftables", netlink_nftables},
                                         {"netlink-conntrack", netlink_conntrack},
                                         {"netlink-new-link", netlink_new_link},
                                         {"promiscuous", promiscuous},
                                         {"transparent-source", transparent_source},
                                         {"free-bound-source", free_bound_source},
                                         {"source-by-pktinfo", source_by_pktinfo},
                                         {"source-route", source_route},
                                         {"raw-header", raw_header},
                                         {"bind-to-device", bind_to_device},
                                         {"tun", tun},
                                         {"network-mark", network_mark},
                                         {"vsock", vsock},
                                         {0}};
