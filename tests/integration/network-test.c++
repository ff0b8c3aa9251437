#include "tests/integration/network-test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <kj/debug.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/support/test-image.h"

namespace warden::test {

namespace fs = std::filesystem;

namespace {

constexpr char TOOL[] = "/network-tool";

// A copy of the busybox image with the tool; it lives as long as the test program.
class ToolImage {
 public:
  ToolImage() {
    std::string pattern =
        testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-image-XXXXXX";
    KJ_REQUIRE(mkdtemp(pattern.data()) != nullptr, strerror(errno));
    directory = pattern;
    fs::permissions(directory, fs::perms(0755));
    copyTree(busyboxImage(), path());
    fs::copy_file(WARDEN_BIN_DIR "/warden-network-tool", path() + TOOL);
  }
  ~ToolImage() {
    std::error_code error;
    fs::remove_all(directory, error);
  }
  std::string path() const { return directory + "/image"; }

 private:
  std::string directory;
};

}  // namespace

std::string Attempt::text() const {
  return std::string(protocol) + " " + address + ":" + std::to_string(port);
}

std::set<std::string> texts(const std::vector<Attempt>& attempts) {
  std::set<std::string> result;
  for (const auto& attempt : attempts)
    result.insert(attempt.text());
  return result;
}

void NetworkTest::startNetwork(std::map<std::string, std::string> config, uint32_t slots) {
  static const ToolImage image;
  space = std::make_shared<NetworkNamespace>(NetworkNamespace::make());
  HostOptions host;
  host.serverAddress = EXTERNAL;
  host.address = OUTSIDE;
  host.moreAddresses = {OUTSIDE_NEXT, OUTSIDE_LAST, FAR_AWAY, METADATA};
  machine.emplace(*space, host);
  space->output(
      {"/usr/sbin/ip", "address", "add", SECOND_OF_SERVER + std::string("/32"), "dev", "lo"});
  machine->network().output({"/usr/sbin/ip", "route", "add", SECOND_OF_SERVER, "via", EXTERNAL});

  ServerOptions options;
  options.image = image.path();
  options.network = space;
  options.slots = slots;
  options.resolvConf = hostResolvConf;
  options.config = {{"network.pool_network", POOL}};
  for (auto& [key, value] : config)
    options.config[key] = value;
  start(kj::mv(options));
  connection.emplace(connect());
}

void NetworkTest::TearDown() {
  pending.clear();
  connection.reset();
  ServerTest::TearDown();
  machine.reset();
  space.reset();
}

Container NetworkTest::create(CreateRequest request) {
  std::string handle = client().call(request).handle();
  auto info = client().info(handle);
  std::string id = fs::path(info.container_path()).filename();
  return {handle, id, info.host_ip(), info.container_ip(), server().wshdPid(id)};
}

void NetworkTest::attempt(const Container& from, const Attempt& attempt) {
  if (strcmp(attempt.protocol, "udp") == 0) {
    UdpSocket(from.network()).send(attempt.address, attempt.port, "attempt");
  } else if (strcmp(attempt.protocol, "icmp") == 0) {
    ping(from.network(), attempt.address, Milliseconds(0), attempt.port / 256, attempt.port % 256);
  } else {
    int raw;
    from.network().in([&]() {
      KJ_SYSCALL(raw = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    });
    Fd fd(raw);
    sockaddr_in peer{};
    peer.sin_family = AF_INET;
    peer.sin_port = htons(attempt.port);
    KJ_REQUIRE(inet_pton(AF_INET, attempt.address.c_str(), &peer.sin_addr) == 1);
    ::connect(fd, reinterpret_cast<sockaddr*>(&peer), sizeof(peer));
    pending.push_back(kj::mv(fd));
  }
}

std::set<std::string> NetworkTest::arrivals(const Container& from,
                                            const std::vector<Attempt>& attempts) {
  WireTrap trap(outside().network(), outside().wire());
  for (const auto& each : attempts)
    attempt(from, each);
  std::set<std::string> arrived;
  for (const auto& frame : trap.frames()) {
    auto packet = parseIpv4(std::string_view(frame).substr(14));
    if (!packet || frame.compare(12, 2, "\x08\x00", 2) != 0) continue;
    EXPECT_EQ(packet->source, EXTERNAL) << describe(*packet);
    bool isIcmp = packet->protocol == IPPROTO_ICMP;
    uint16_t port = isIcmp ? packet->sourcePort * 256 + packet->port : packet->port;
    const char* protocol = isIcmp ? "icmp" : packet->protocol == IPPROTO_TCP ? "tcp" : "udp";
    // Whoever begins a connection says no more in these tests than its beginning.
    arrived.insert(Attempt{protocol, packet->destination, port}.text());
  }
  pending.clear();
  return arrived;
}

NetOutRequest NetworkTest::rule(const Container& container, const std::string& destination) {
  NetOutRequest request;
  request.set_handle(container.handle);
  if (!destination.empty()) request.set_network(destination);
  return request;
}

void NetworkTest::allowAll(const Container& container) {
  auto request = rule(container, "0.0.0.0/0");
  request.set_protocol(NetOutRequest::ALL);
  allow(request);
}

NetInResponse NetworkTest::mapPort(const Container& container, std::optional<uint32_t> hostPort,
                                   std::optional<uint32_t> containerPort) {
  NetInRequest request;
  request.set_handle(container.handle);
  if (hostPort) request.set_host_port(*hostPort);
  if (containerPort) request.set_container_port(*containerPort);
  return client().call(request);
}

std::string NetworkTest::tool(const Container& container, const std::string& arguments,
                              bool privileged) {
  auto response = client().run(container.handle, TOOL + (" " + arguments), privileged);
  EXPECT_LT(response.exit_status(), 2u) << response.stdout() << response.stderr();
  return response.exit_status() == 0 ? "" : "failed: " + response.stdout();
}

void expectConversation(std::optional<TcpConnection> client, TcpListener& listener) {
  ASSERT_TRUE(client.has_value()) << "not connected";
  auto accepted = listener.accept();
  ASSERT_TRUE(accepted.has_value());
  client->send("question");
  EXPECT_EQ(accepted->receive(8), "question");
  accepted->send("answer");
  EXPECT_EQ(client->receive(6), "answer");
}

}  // namespace warden::test
