// What NetOut's `log` writes to the kernel's log. Only for a machine of its own: that packets of
// other network namespaces than the first are logged at all is a setting of the whole machine
// (net.netfilter.nf_log_all_netns), which run-tests.sh makes in the virtual one.

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/network-host.h"
#include "tests/support/network-socket.h"
#include "tests/support/server-test.h"

namespace warden::test {
namespace {

constexpr int LOGGED_PORT = 4001;
constexpr int SILENT_PORT = 4002;
constexpr int REFUSED_PORT = 4003;

// Of packets of this container; other lines, of its interface, have the id in them too.
std::vector<std::string> packetsOf(const std::string& id) {
  std::vector<std::string> found;
  for (const auto& line : splitLines(runProgram({"/bin/dmesg"}).out)) {
    if (line.find(id) != std::string::npos && line.find(" PROTO=") != std::string::npos) {
      found.push_back(line);
    }
  }
  return found;
}

class KernelLogTest : public ServerTest {
 protected:
  void SetUp() override {
    ASSERT_EQ(readFile("/proc/sys/net/netfilter/nf_log_all_netns"), "1\n");
    ServerOptions options;
    options.network = std::make_shared<NetworkNamespace>(NetworkNamespace::make());
    other.emplace(*options.network);
    start(options);
    client.emplace(connect());
    client->create("c");
    allow(LOGGED_PORT, true);
    allow(SILENT_PORT, false);
  }

  void TearDown() override {
    client.reset();
    ServerTest::TearDown();
    other.reset();
  }

  void allow(int port, bool log) {
    NetOutRequest request;
    request.set_handle("c");
    request.set_network(other->address() + "/32");
    request.set_port(port);
    request.set_log(log);
    client->call(request);
  }

  // Nobody listens: the answer is a reset, which shows that the packet has got there.
  void knock(int port) {
    client->run("c", "nc -w 1 " + other->address() + " " + std::to_string(port) + " < /dev/null");
  }

  std::optional<Host> other;
  std::optional<TestClient> client;
};

TEST_F(KernelLogTest, namesTheContainerOfEachNewConnection) {
  std::string id = idOf("c");
  knock(LOGGED_PORT);
  std::vector<std::string> lines;
  ASSERT_TRUE(waitUntil([&]() {
    lines = packetsOf(id);
    return !lines.empty();
  }));
  EXPECT_EQ(lines.size(), 1u);
  for (const char* part : {"PROTO=TCP", "DPT=4001", "SYN"}) {
    EXPECT_NE(lines[0].find(part), std::string::npos) << lines[0];
  }
  EXPECT_NE(lines[0].find("DST=" + other->address()), std::string::npos) << lines[0];
  EXPECT_NE(lines[0].find("SRC=" + client->info("c").container_ip()), std::string::npos)
      << lines[0];
  // The prefix begins the line, behind the time that dmesg writes.
  EXPECT_NE(lines[0].find("] warden " + id + ": "), std::string::npos) << lines[0];
}

TEST_F(KernelLogTest, hasOneLineOfAConversation) {
  std::string id = idOf("c");
  TcpListener listener(other->network(), LOGGED_PORT);
  uint32_t job = client->spawn("c", "(for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done) | nc " +
                                        other->address() + " " + std::to_string(LOGGED_PORT));
  auto accepted = listener.accept(patient(ANSWER));
  ASSERT_TRUE(accepted.has_value());
  for (int i = 1; i <= 5; ++i) {
    EXPECT_EQ(accepted->receive(7, patient(ANSWER)), "line " + std::to_string(i) + "\n");
    accepted->send("answer\n");
  }
  accepted.reset();
  client->link("c", job);
  EXPECT_EQ(packetsOf(id).size(), 1u);
}

TEST_F(KernelLogTest, hasNothingOfOtherConnections) {
  std::string id = idOf("c");
  knock(SILENT_PORT);
  knock(REFUSED_PORT);
  knock(LOGGED_PORT);
  ASSERT_TRUE(waitUntil([&]() { return !packetsOf(id).empty(); }));
  for (const auto& line : packetsOf(id)) {
    EXPECT_NE(line.find("DPT=4001"), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace warden::test
