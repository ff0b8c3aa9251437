// What goes on over the network of containers while the helper ends and starts.

#include <atomic>
#include <thread>

#include "tests/integration/recovery-helper-test.h"

namespace warden::test {
namespace {

constexpr char ID[] = "00000000001";
constexpr char SILENT[] = "00000000002";  // has no rules
constexpr char OUTSIDE[] = "198.51.100.2";
constexpr char EXTERNAL[] = "198.51.100.1";
constexpr uint32_t OUTSIDE_ADDRESS = 0xc6336402;
constexpr uint16_t PORT = 5000;

class RecoveryNetworkTest : public RecoveryHelperTest {
 protected:
  void configure(ServerOptions& options) override {
    space = std::make_shared<NetworkNamespace>(NetworkNamespace::make());
    options.network = space;
    machine = std::make_unique<Host>(*space);
  }

  const NetworkNamespace& outside() { return machine->network(); }

  void restartOften() {
    for (End how : {End::KILL_ALL, End::TERM, End::KILL_BROKER, End::KILL_ALL}) {
      restart(how);
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }

 private:
  std::shared_ptr<NetworkNamespace> space;
  std::unique_ptr<Host> machine;
};

// Sends a numbered datagram each millisecond for as long as it lives, and takes the answers.
class Talker {
 public:
  Talker(UdpSocket& here, UdpSocket& there, std::string address, uint16_t port)
      : here(here), there(there), address(std::move(address)), port(port), thread([this]() {
          run();
        }) {}
  ~Talker() { finish(); }

  void finish() {
    ending = true;
    if (thread.joinable()) thread.join();
  }

  int sent = 0;
  int lost = 0;  // on either way

 private:
  UdpSocket& here;
  UdpSocket& there;
  std::string address;
  uint16_t port;
  std::atomic<bool> ending{false};
  std::thread thread;

  void run() {
    while (!ending) {
      std::string number = std::to_string(++sent);
      if (!here.send(address, port, number) || !arrives()) ++lost;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  bool arrives() {
    auto datagram = there.receive(patient(NO_ANSWER));
    if (!datagram || datagram->data != std::to_string(sent)) return false;
    there.send(datagram->sender, datagram->port, "answer " + datagram->data);
    auto answer = here.receive(patient(NO_ANSWER));
    return answer && answer->data == "answer " + datagram->data;
  }
};

TEST_F(RecoveryNetworkTest, noPacketOfAConnectionIsLost) {
  pid_t wshd = create(ID, 0);
  allowOut(ID, OUTSIDE_ADDRESS, OUTSIDE_ADDRESS, schema::Protocol::UDP);
  auto inside = NetworkNamespace::of(wshd);
  UdpSocket here(inside), there(outside(), 7777);
  Talker talker(here, there, OUTSIDE, 7777);
  restartOften();
  talker.finish();
  EXPECT_GT(talker.sent, 100);
  EXPECT_EQ(talker.lost, 0) << "of " << talker.sent;
}

TEST_F(RecoveryNetworkTest, mappedPortsAreThereWhileNoServerIs) {
  pid_t wshd = create(ID, 0);
  mapPort(ID, PORT, 80);
  auto inside = NetworkNamespace::of(wshd);
  TcpListener listener(inside, 80);
  auto old = tryConnect(outside(), EXTERNAL, PORT);
  ASSERT_TRUE(old.has_value());
  auto oldEnd = listener.accept();
  ASSERT_TRUE(oldEnd.has_value());
  for (End how : {End::KILL_ALL, End::TERM}) {
    end(how);
    auto between = tryConnect(outside(), EXTERNAL, PORT);
    EXPECT_TRUE(between.has_value());
    EXPECT_TRUE(listener.accept().has_value());
    start();
    auto after = tryConnect(outside(), EXTERNAL, PORT);
    EXPECT_TRUE(after.has_value());
    EXPECT_TRUE(listener.accept().has_value());
    old->send("still here");
    EXPECT_EQ(oldEnd->receive(10), "still here");
    oldEnd->send("and here");
    EXPECT_EQ(old->receive(8), "and here");
  }
}

TEST_F(RecoveryNetworkTest, whatIsDeniedIsDeniedAtEveryMoment) {
  pid_t wshd = create(SILENT, 1);
  create(ID, 0);
  auto inside = NetworkNamespace::of(wshd);
  WireTrap wire(outside(), "wire0");
  LocalTrap host(server->network());
  UdpSocket here(inside);
  std::atomic<bool> ending{false};
  std::atomic<int> attempts{0};
  std::thread flood([&]() {
    while (!ending) {
      for (const char* address : {OUTSIDE, EXTERNAL, "10.254.0.2", "10.254.0.5"})
        here.send(address, 7777, "let me out");
      ++attempts;
    }
  });
  restartOften();
  ending = true;
  flood.join();
  EXPECT_GT(attempts, 1000);
  EXPECT_EQ(wire.ipv4(), std::vector<std::string>());
  EXPECT_EQ(host.packets(), std::vector<std::string>());
}

TEST_F(RecoveryNetworkTest, rulesHoldAfterwardsAndNoOthers) {
  pid_t wshd = create(ID, 0);
  allowOut(ID, OUTSIDE_ADDRESS, OUTSIDE_ADDRESS, schema::Protocol::TCP);
  pid_t silent = create(SILENT, 1);
  TcpListener listener(outside(), 7777);
  restart(End::KILL_ALL);
  EXPECT_TRUE(tryConnect(NetworkNamespace::of(wshd), OUTSIDE, 7777).has_value());
  EXPECT_FALSE(tryConnect(NetworkNamespace::of(silent), OUTSIDE, 7777, NO_ANSWER).has_value());
  allowOut(SILENT, OUTSIDE_ADDRESS, OUTSIDE_ADDRESS, schema::Protocol::TCP);
  EXPECT_TRUE(tryConnect(NetworkNamespace::of(silent), OUTSIDE, 7777).has_value());
}

}  // namespace
}  // namespace warden::test
