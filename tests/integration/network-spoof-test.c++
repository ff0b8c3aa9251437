// A container whose root has broken what keeps raw sockets from it: the test enters its network
// namespace from the host and puts on its interface what it likes. What arrives elsewhere is
// counted.

#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <sys/socket.h>

#include "tests/integration/network-test.h"

namespace warden::test {
namespace {

constexpr uint16_t PORT = 8080;
const std::vector<std::string> NONE;

class SpoofTest : public NetworkTest {
 protected:
  void SetUp() override {
    startNetwork();
    setUpContainers();
  }
  void setUpContainers() {
    container.emplace(create());
    other.emplace(create());
    sender.emplace(container->network(), container->interface());
    hostMac = macOf(network(), container->hostInterface());
    outsideTrap.emplace(outside().network(), outside().wire());
    otherTrap.emplace(other->network(), other->interface());
    hostTrap.emplace(network());
    own = container->ip;
  }
  void TearDown() override {
    sender.reset();
    outsideTrap.reset();
    otherTrap.reset();
    hostTrap.reset();
    container.reset();
    other.reset();
    NetworkTest::TearDown();
  }

  // To the host's interface, and to all at once.
  void send(std::string_view packet, uint16_t type = ETHERTYPE_IP) {
    sender->send(ethernetFrame(hostMac, sender->mac(), type, packet));
    sender->send(ethernetFrame(BROADCAST_MAC, sender->mac(), type, packet));
  }

  void expectNothingArrived() {
    EXPECT_EQ(outsideTrap->ipv4(), NONE);
    EXPECT_EQ(otherTrap->ipv4(), NONE);
    EXPECT_EQ(hostTrap->packets(), NONE);
  }

  // So that nothing but the source is wrong with what is sent.
  void expectTheTrapsToWork() {
    allowAll(*container);
    sender->send(ethernetFrame(hostMac, sender->mac(), ETHERTYPE_IP,
                               udpPacket({own, OUTSIDE}, PORT, PORT, "text")));
    EXPECT_EQ(outsideTrap->ipv4().size(), 1u);
    sender->send(ethernetFrame(hostMac, sender->mac(), ETHERTYPE_IP,
                               udpPacket({own, other->ip}, PORT, PORT, "text")));
    EXPECT_EQ(otherTrap->ipv4().size(), 1u);
    EXPECT_TRUE(ping(outside().network(), EXTERNAL));
    EXPECT_NE(hostTrap->packets(), NONE);
    emptyTheTraps();
  }

  void emptyTheTraps() {
    outsideTrap->frames();
    otherTrap->frames();
    hostTrap->packets();
  }

  std::vector<std::string> targets() {
    return {OUTSIDE,           FAR_AWAY,          METADATA,   EXTERNAL,
            SECOND_OF_SERVER,  container->hostIp, other->ip,  other->hostIp,
            "255.255.255.255", "224.0.0.1",       "127.0.0.1"};
  }

  std::string own;  // the container's address
  std::optional<Container> container;
  std::optional<Container> other;
  std::optional<FrameSender> sender;
  Mac hostMac;
  std::optional<WireTrap> outsideTrap;
  std::optional<WireTrap> otherTrap;
  std::optional<LocalTrap> hostTrap;
};

TEST_F(SpoofTest, noForeignSourceLeavesEvenWhenAllIsAllowed) {
  expectTheTrapsToWork();
  UdpSocket listener(network(), PORT);
  for (const std::string& source : std::vector<std::string>{
           OUTSIDE, EXTERNAL, SECOND_OF_SERVER, container->hostIp, other->ip, other->hostIp,
           "127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "10.254.0.254", "192.0.2.77"}) {
    for (const auto& target : targets()) {
      send(udpPacket({source, target}, PORT, PORT, "spoofed"));
      send(tcpPacket({source, target}, PORT, PORT, TCP_SYN));
      send(icmpPacket({source, target}, ICMP_ECHO, 0, "spoofed"));
      send(ipv4Packet({source, target}, "spoofed"));
    }
  }
  expectNothingArrived();
  EXPECT_FALSE(listener.receive(Milliseconds(0)).has_value());
}

TEST_F(SpoofTest, nothingOfItsOwnAddressLeavesWithoutARule) {
  for (const auto& target : targets()) {
    send(udpPacket({own, target}, PORT, PORT, "text"));
    for (uint8_t flags : {TCP_SYN, TCP_ACK, TCP_RST, uint8_t(0), uint8_t(0x3f)})
      send(tcpPacket({own, target}, PORT, PORT, flags));
    for (uint8_t type : {0, 3, 4, 5, 8, 9, 10, 11, 13, 17})
      send(icmpPacket({own, target}, type, 0, "text"));
    for (uint8_t protocol : {2, 4, 41, 47, 50, 132, 253, 255}) {
      Ipv4Header header{own, target};
      header.protocol = protocol;
      send(ipv4Packet(header, "text of some length"));
    }
  }
  expectNothingArrived();
  expectTheTrapsToWork();
}

TEST_F(SpoofTest, noFragmentLeavesWithoutARule) {
  std::string data(64, 'x');
  for (const auto& target : targets()) {
    Ipv4Header header{own, target};
    std::string whole = udpPacket(header, PORT, PORT, data);
    send(ipv4Fragment(whole, 0, 24));
    send(ipv4Fragment(whole, 24, 48));
    ++header.id;
    whole = tcpPacket(header, PORT, PORT, TCP_SYN);
    send(ipv4Fragment(whole, 8, 12));  // the ports come last
    send(ipv4Fragment(whole, 0, 8));
    ++header.id;
    header.fragment = 0x00ff;  // never a first one
    send(ipv4Packet(header, data));
  }
  expectNothingArrived();
}

TEST_F(SpoofTest, noFragmentPassesBesideARuleForAPort) {
  auto request = rule(*container, OUTSIDE);
  request.set_port(PORT);
  request.set_protocol(NetOutRequest::UDP);
  allow(request);
  std::string data(64, 'x');
  std::string forbidden = udpPacket({own, OUTSIDE}, PORT, PORT + 1, data);
  send(ipv4Fragment(forbidden, 24, 48));
  send(ipv4Fragment(forbidden, 0, 24));
  Ipv4Header header{own, OUTSIDE};
  header.id = 2;
  header.fragment = 0x0003;
  header.protocol = IPPROTO_UDP;
  send(ipv4Packet(header, data));
  expectNothingArrived();
  // In fragments, too, what is allowed is.
  header.id = 3;
  header.fragment = 0;
  std::string allowed = udpPacket(header, PORT, PORT, data);
  sender->send(ethernetFrame(hostMac, sender->mac(), ETHERTYPE_IP, ipv4Fragment(allowed, 0, 24)));
  sender->send(ethernetFrame(hostMac, sender->mac(), ETHERTYPE_IP, ipv4Fragment(allowed, 24, 48)));
  EXPECT_FALSE(outsideTrap->ipv4().empty());
}

TEST_F(SpoofTest, noSourceRouteIsFollowed) {
  for (const char* option :
       {"\x83\x07\x04\xc6\x33\x64\x02\x00", "\x89\x07\x04\xc6\x33\x64\x02\x00"}) {
    for (const auto& target : targets()) {
      Ipv4Header header{own, target};
      header.options = std::string(option, 8);  // by 198.51.100.2
      send(udpPacket(header, PORT, PORT, "text"));
      header.source = OUTSIDE;
      send(udpPacket(header, PORT, PORT, "text"));
    }
  }
  expectNothingArrived();
}

TEST_F(SpoofTest, noRedirectChangesTheHostsRoutes) {
  std::string before = network().output({"/usr/sbin/ip", "route", "show", "table", "all"});
  std::string about = udpPacket({EXTERNAL, OUTSIDE}, PORT, PORT, "text");
  for (const std::string& source : std::vector<std::string>{own, container->hostIp, OUTSIDE})
    send(icmpPacket({source, EXTERNAL}, ICMP_REDIRECT, 1, about));
  expectNothingArrived();
  EXPECT_EQ(network().output({"/usr/sbin/ip", "route", "show", "table", "all"}), before);
  EXPECT_TRUE(ping(network(), OUTSIDE));
}

TEST_F(SpoofTest, noArpTakesAnothersAddress) {
  Mac mine = sender->mac();
  ASSERT_TRUE(ping(network(), OUTSIDE));
  emptyTheTraps();
  for (const std::string& claimed :
       std::vector<std::string>{OUTSIDE, EXTERNAL, other->ip, container->hostIp, METADATA}) {
    send(arpPacket(ARPOP_REPLY, mine, claimed, hostMac, container->hostIp), ETHERTYPE_ARP);
    send(arpPacket(ARPOP_REPLY, mine, claimed, BROADCAST_MAC, claimed), ETHERTYPE_ARP);
    send(arpPacket(ARPOP_REQUEST, mine, claimed, Mac{}, claimed), ETHERTYPE_ARP);
    send(arpPacket(ARPOP_REQUEST, mine, claimed, Mac{}, container->hostIp), ETHERTYPE_ARP);
  }
  EXPECT_EQ(outsideTrap->frames(), NONE);
  EXPECT_EQ(otherTrap->frames(), NONE);
  WireTrap back(container->network(), container->interface());
  EXPECT_TRUE(ping(network(), OUTSIDE));
  EXPECT_TRUE(ping(network(), other->ip));
  EXPECT_EQ(back.ipv4(), NONE);
  EXPECT_TRUE(ping(network(), container->ip));
}

TEST_F(SpoofTest, aFloodOfArpDoesNotFillTheHostsTable) {
  Mac mine = sender->mac();
  for (int i = 0; i < 2000; ++i) {
    std::string claimed = "10." + std::to_string(i / 250) + ".7." + std::to_string(i % 250 + 1);
    sender->send(ethernetFrame(hostMac, mine, ETHERTYPE_ARP,
                               arpPacket(ARPOP_REQUEST, mine, claimed, Mac{}, container->hostIp)));
  }
  auto entries = splitLines(network().output(
      {"/usr/sbin/ip", "neighbour", "show", "nud", "all", "dev", container->hostInterface()}));
  EXPECT_LT(entries.size(), 20u);
  EXPECT_TRUE(ping(network(), other->ip));
}

TEST_F(SpoofTest, noUnknownEthernetTypeLeaves) {
  hostTrap.reset();
  otherTrap.emplace(other->network(), other->interface());
  for (uint16_t type :
       {0x8035, 0x8100, 0x88a8, 0x8847, 0x8863, 0x8864, 0x88cc, 0x88f7, 0x0004, 0x22f0}) {
    send(std::string(60, 'x'), type);
    // An IPv4 packet behind a VLAN tag.
    send(std::string("\x00\x01\x08\x00", 4) + udpPacket({own, OUTSIDE}, PORT, PORT, "text"), type);
  }
  EXPECT_EQ(outsideTrap->frames(), NONE);
  EXPECT_EQ(otherTrap->frames(), NONE);
}

class SpoofIpv6Test : public SpoofTest {
 protected:
  // The host uses IPv6 and forwards it, as many do.
  void SetUp() override {
    startNetwork();
    for (const char* name : {"all", "default"}) {
      std::string conf = std::string("net/ipv6/conf/") + name;
      network().setSysctl(conf + "/disable_ipv6", "0");
      network().setSysctl(conf + "/forwarding", "1");
      outside().network().setSysctl(conf + "/disable_ipv6", "0");
    }
    address(network(), "2001:db8::1/64");
    address(outside().network(), "2001:db8::2/64");
    setUpContainers();
  }
  void address(const NetworkNamespace& where, const char* text) {
    where.output({"/usr/sbin/ip", "address", "add", text, "dev", "wire0", "nodad"});
  }

  static std::string ipv6Packet(const std::string& source, const std::string& target, uint8_t next,
                                const std::string& payload) {
    std::string packet("\x60\x00\x00\x00", 4);
    packet += static_cast<char>(payload.size() >> 8);
    packet += static_cast<char>(payload.size());
    packet += static_cast<char>(next);
    packet += static_cast<char>(255);
    return packet + source + target + payload;
  }
  static std::string bytes(std::initializer_list<uint8_t> head, uint8_t last) {
    std::string result(16, '\0');
    std::copy(head.begin(), head.end(), result.begin());
    result[15] = last;
    return result;
  }
  // RFC 4443: with the checksum over the pseudo header.
  static std::string icmpv6Packet(const std::string& source, const std::string& target,
                                  std::string message) {
    std::string all = source + target + std::string(2, '\0');
    all += static_cast<char>(message.size() >> 8);
    all += static_cast<char>(message.size());
    all += std::string(3, '\0') + static_cast<char>(IPPROTO_ICMPV6) + message;
    uint32_t sum = 0;
    for (size_t i = 0; i + 1 < all.size(); i += 2)
      sum += uint8_t(all[i]) << 8 | uint8_t(all[i + 1]);
    while (sum > 0xffff)
      sum = (sum & 0xffff) + (sum >> 16);
    message[2] = static_cast<char>(~sum >> 8);
    message[3] = static_cast<char>(~sum);
    return ipv6Packet(source, target, IPPROTO_ICMPV6, message);
  }
};

TEST_F(SpoofIpv6Test, noIpv6Leaves) {
  int raw = network().in(
      []() { return socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMPV6); });
  ASSERT_GE(raw, 0);
  Fd listener(raw);
  Mac mine = sender->mac();
  WireTrap back(container->network(), container->interface());
  back.frames();
  char buffer[2048];
  while (recv(listener, buffer, sizeof(buffer), 0) > 0) {
  }
  std::string linkLocal = bytes({0xfe, 0x80, 0, 0, 0, 0, 0, 0, uint8_t(mine[0] ^ 2), mine[1],
                                 mine[2], 0xff, 0xfe, mine[3], mine[4]},
                                mine[5]);
  std::string hostLinkLocal = bytes({0xfe, 0x80, 0, 0, 0, 0, 0, 0, uint8_t(hostMac[0] ^ 2),
                                     hostMac[1], hostMac[2], 0xff, 0xfe, hostMac[3], hostMac[4]},
                                    hostMac[5]);
  std::string prefixed = bytes({0x20, 0x01, 0x0d, 0xb8}, 0x99);
  for (const auto& source : {linkLocal, prefixed, bytes({0x20, 0x01, 0x0d, 0xb8}, 2)}) {
    for (const auto& target :
         {bytes({0xff, 2}, 1), bytes({0xff, 2}, 2), hostLinkLocal,
          bytes({0x20, 0x01, 0x0d, 0xb8}, 1), bytes({0x20, 0x01, 0x0d, 0xb8}, 2)}) {
      for (uint8_t type :
           {ND_ROUTER_SOLICIT, ND_ROUTER_ADVERT, ND_NEIGHBOR_SOLICIT, ICMP6_ECHO_REQUEST}) {
        std::string message(1, static_cast<char>(type));
        message += std::string(7, '\0') + target;
        send(icmpv6Packet(source, target, message), ETHERTYPE_IPV6);
      }
      send(ipv6Packet(source, target, IPPROTO_UDP,
                      std::string("\x1f\x90\x1f\x90\x00\x0c\x12\x34text", 12)),
           ETHERTYPE_IPV6);
    }
  }
  std::vector<std::string> arrived;
  for (auto* trap : {&*outsideTrap, &*otherTrap, &back}) {
    for (const auto& frame : trap->frames()) {
      if (frame.compare(12, 2, "\x86\xdd", 2) != 0) continue;
      // The machines on the wire may say something of their own.
      std::string source = frame.substr(14 + 8, 16);
      bool ours =
          source == linkLocal || source == prefixed || source == bytes({0x20, 0x01, 0x0d, 0xb8}, 2);
      if (ours || trap != &*outsideTrap) arrived.push_back(frame);
    }
  }
  EXPECT_EQ(arrived, NONE);
  EXPECT_LT(recv(listener, buffer, sizeof(buffer), 0), 0) << "an ICMPv6 message reached the host";
  // The host's own IPv6 is as it was.
  EXPECT_EQ(
      outside().network().run({"/bin/busybox", "ping6", "-c1", "-W2", "2001:db8::1"}).exitStatus,
      0);
}

}  // namespace
}  // namespace warden::test
