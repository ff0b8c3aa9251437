#include "privhelper/network.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "privhelper/frontend-process.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

// Interface indexes of our choice begin at a random place of this range, which the kernel reaches
// after as many interfaces.
constexpr uint32_t FIRST_INDEX = 1 << 20;
constexpr uint32_t INDEX_RANGE = 1 << 30;
constexpr int INDEX_TRIES = 64;

// An IPv6 link needs this much (RFC 8200, section 5).
constexpr uint32_t LOWEST_IPV6_MTU = 1280;

// How long addresses wait, so that their connections are forgotten together; or until one is used
// again.
constexpr uint64_t FORGET_US = 2'000'000;

constexpr char FORWARDING[] = "/proc/sys/net/ipv4/ip_forward";

constexpr uint32_t GROUPS = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE;

uint32_t randomIndex() {
  uint32_t number;
  ssize_t n;
  KJ_SYSCALL(n = getrandom(&number, sizeof(number), 0));
  return FIRST_INDEX + number % INDEX_RANGE;
}

Fd makeTimer() {
  int raw;
  KJ_SYSCALL(raw = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  return Fd(raw);
}

Fd watch(std::initializer_list<int> fds) {
  int raw;
  KJ_SYSCALL(raw = epoll_create1(EPOLL_CLOEXEC));
  Fd events(raw);
  for (int fd : fds) {
    epoll_event event{};
    event.events = EPOLLIN;
    KJ_SYSCALL(epoll_ctl(events, EPOLL_CTL_ADD, fd, &event));
  }
  return events;
}

}  // namespace

Network::Network(const NetworkPolicy& policy, AuditLog& log)
    : policy(policy),
      log(log),
      routes(NETLINK_ROUTE),
      notifications(NETLINK_ROUTE, GROUPS),
      netfilter(NETLINK_NETFILTER),
      timer(makeTimer()),
      events(watch({notifications.fd(), timer})),
      links(routes),
      conntrack(netfilter),
      hasIpv6(access("/proc/sys/net/ipv6", F_OK) == 0 && policy.mtu >= LOWEST_IPV6_MTU),
      nextIndex(randomIndex()),
      alias(kj::str("container of warden server ", policy.serverName.c_str())) {
  for (NetlinkSocket* socket : {&routes, &notifications, &netfilter})
    socket->enlargeBuffers();
  for (auto& link : links.list()) {
    if (link.alias == alias) {
      found.add(kj::mv(link));
    } else if (link.alias == "" && link.name.startsWith("w-")) {
      // Of a server that was killed between the two messages that make one, perhaps.
      unmarked.add(kj::mv(link));
    }
  }
  firewall = kj::heap<Firewall>(netfilter, policy);
}

void Network::start() {
  // Interfaces first: the old rules hold as long as the old containers can send.
  removeStale();
  firewall->setExternal(links.externalAddresses());
  firewall->start();
  turnOnForwarding();
}

Network::~Network() noexcept(false) {
  kj::runCatchingExceptions([this] { forgetConnections(); });
}

uint32_t Network::withNewIndex(kj::FunctionParam<void(uint32_t index)> add) {
  for (int i = 0;; ++i) {
    uint32_t index = nextIndex++;
    try {
      add(index);
      return index;
    } catch (const StepError& e) {
      // The index is another interface's.
      if (e.error() != EBUSY || i == INDEX_TRIES) throw;
    }
  }
}

uint32_t Network::claim(kj::StringPtr name) {
  for (auto list : {&found, &unmarked}) {
    for (auto& link : *list) {
      if (link.name != name) continue;
      uint32_t index = link.index;
      if (&link != &list->back()) link = kj::mv(list->back());
      list->removeLast();
      return index;
    }
  }
  return 0;
}

void Network::endInterfacesOf(const ContainerId& id) {
  ContainerNetwork names(*this, id, 0);
  for (auto& name : {kj::StringPtr(names.name), kj::StringPtr(names.shaper)}) {
    uint32_t index = claim(name);
    if (index != 0) found.add(Link{index, kj::str(name), nullptr});
  }
}

void Network::removeStale() {
  kj::Vector<uint32_t> stale;
  for (auto& link : found)
    stale.add(link.index);
  found.clear();
  unmarked.clear();
  if (!stale.empty()) {
    links.removeAll(stale);
    log.note(kj::str(stale.size(), " network interfaces of a server that died were removed"));
  }
  // Also of containers whose end it had seen, and was about to have forgotten.
  if (!stale.empty() || firewall->replaces()) conntrack.forgetAllBut(adopted, policy.pool());
}

void Network::turnOnForwarding() {
  Fd file(step("open ip_forward", [] { return open(FORWARDING, O_RDWR | O_CLOEXEC); }));
  char value = 0;
  step("read ip_forward", [&] { return read(file, &value, 1); });
  if (value != '0') return;
  step("turn on ip_forward", [&] { return pwrite(file, "1", 1, 0); });
  log.note("net.ipv4.ip_forward was off, and is on now, for the networks of containers");
}

bool Network::concernsHost(const nlmsghdr* message) {
  // Could the notification mean that the host's external addresses are others now?
  switch (message->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      auto link = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
      return attached.count(link->ifi_index) == 0;
    }
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      auto address = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
      return attached.count(address->ifa_index) == 0;
    }
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      return static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message))->rtm_dst_len == 0;
    default:
      return false;
  }
}

void Network::noteLink(const nlmsghdr* message) {
  if (message->nlmsg_type != RTM_NEWLINK && message->nlmsg_type != RTM_DELLINK) return;
  auto link = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  auto found = attached.find(link->ifi_index);
  if (found == attached.end()) return;
  ContainerNetwork& container = *found->second;
  // Its state, not IFF_RUNNING, which an interface of unknown state has, too.
  visitAttributes(message, sizeof(ifinfomsg), [&](uint16_t type, const nlattr* attribute) {
    if (type == IFLA_OPERSTATE && mnl_attr_get_u8(attribute) == IF_OPER_UP) {
      container.running = true;
    } else if (type == IFLA_STATS64 && message->nlmsg_type == RTM_DELLINK) {
      // As far as the numbers go that every kernel has.
      rtnl_link_stats64 statistics{};
      memcpy(&statistics, mnl_attr_get_payload(attribute),
             kj::min(sizeof(statistics), size_t(mnl_attr_get_payload_len(attribute))));
      container.hadTraffic = statistics.rx_packets + statistics.tx_packets > 0;
    }
  });
  if (message->nlmsg_type == RTM_DELLINK) container.forgetInterface();
}

void Network::handleEvents() {
  try {
    bool hostChanged = false;
    bool complete = notifications.receiveNotifications([&](const nlmsghdr* message) {
      hostChanged = hostChanged || concernsHost(message);
      noteLink(message);
    });
    if (!complete) checkInterfaces();
    if (hostChanged || !complete) firewall->setExternal(links.externalAddresses());
    uint64_t expirations;
    if (read(timer, &expirations, sizeof(expirations)) > 0) doWhatIsDue();
  } catch (const StepError& e) {
    log.note(kj::str("the network could not be looked after: ", e.detail()));
  } catch (const kj::Exception& e) {
    log.note(kj::str("the network could not be looked after: ", e.getDescription()));
  }
}

void Network::checkInterfaces() {
  std::map<uint32_t, ContainerNetwork*> missing = attached;
  for (auto& link : links.list())
    missing.erase(link.index);
  for (auto& [index, container] : missing)
    container->forgetInterface();
}

void Network::forgetLater(uint32_t address) {
  // Several at once: each look through the kernel's table takes its time, in which nothing else is
  // served.
  toForget.insert(address);
  if (forgetAtUs == 0) forgetAtUs = monotonicUs() + FORGET_US;
  doWhatIsDue();
}

void Network::forgetConnections() {
  forgetAtUs = 0;
  std::set<uint32_t> addresses;
  addresses.swap(toForget);
  // Nobody gets an address before.
  KJ_ON_SCOPE_FAILURE({
    toForget.insert(addresses.begin(), addresses.end());
    forgetAtUs = monotonicUs() + FORGET_US;
  });
  if (!addresses.empty()) conntrack.forget(addresses);
}

void Network::endOverdue() {
  uint64_t now = monotonicUs();
  kj::Vector<uint32_t> overdue;
  for (auto& [index, container] : attached)
    if (container->removeAtUs != 0 && container->removeAtUs <= now) overdue.add(index);
  if (overdue.empty()) return;
  links.removeAll(overdue);
  for (uint32_t index : overdue)
    attached[index]->forgetInterface();
}

void Network::doWhatIsDue() {
  endOverdue();
  KJ_DEFER(setTimer());
  if (forgetAtUs != 0 && forgetAtUs <= monotonicUs()) forgetConnections();
}

void Network::setTimer() {
  uint64_t next = forgetAtUs;
  for (auto& [index, container] : attached) {
    uint64_t at = container->removeAtUs;
    if (at != 0 && (next == 0 || at < next)) next = at;
  }
  itimerspec time{};  // 0: never
  time.it_value.tv_sec = next / 1'000'000;
  time.it_value.tv_nsec = next % 1'000'000 * 1000;
  timerfd_settime(timer, TFD_TIMER_ABSTIME, &time, nullptr);
}

}  // namespace warden::privhelper
