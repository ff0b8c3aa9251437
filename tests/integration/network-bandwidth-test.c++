// LimitBandwidth: what passes in a given time, in both directions. The bounds are wide: they tell a
// shaped interface from one that is not, or by a wrong factor.

#include <fcntl.h>
#include <sys/socket.h>

#include <thread>

#include "tests/integration/network-test.h"

namespace warden::test {
namespace {

constexpr uint64_t UNLIMITED = 0xffffffff;
constexpr uint64_t RATE = 1000 * 1000;  // bytes/s
constexpr uint64_t BURST = 64 * 1024;   // bytes
constexpr double SECONDS = 1.2;
constexpr uint16_t PORT = 8080;

class BandwidthTest : public NetworkTest {
 protected:
  void SetUp() override {
    startNetwork();
    container.emplace(create());
    allowAll(*container);
    mapPort(*container, PORT, PORT);
  }
  void TearDown() override {
    container.reset();
    NetworkTest::TearDown();
  }

  LimitBandwidthRequest request(uint64_t rate, uint64_t burst) {
    LimitBandwidthRequest result;
    result.set_handle(container->handle);
    result.set_rate(rate);
    result.set_burst(burst);
    return result;
  }

  // Bytes a second that come from one end to the other, without what the burst lets pass at first.
  static double measure(TcpConnection& from, TcpConnection& to) {
    setNonblocking(from.fd());
    setNonblocking(to.fd());
    std::string block(32 * 1024, 'x');
    char buffer[64 * 1024];
    uint64_t received = 0;
    auto start = std::chrono::steady_clock::now();
    auto elapsed = [&]() {
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    while (elapsed() < SECONDS) {
      ssize_t sent = ::send(from.fd(), block.data(), block.size(), MSG_NOSIGNAL);
      ssize_t n = recv(to.fd(), buffer, sizeof(buffer), 0);
      if (n > 0) received += n;
      if (sent <= 0 && n <= 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return received / elapsed();
  }

  double outwards() {
    TcpListener listener(outside().network(), PORT);
    auto sender = tryConnect(container->network(), OUTSIDE, PORT);
    auto receiver = listener.accept();
    EXPECT_TRUE(sender && receiver)
        << network().output({"/usr/sbin/tc", "-s", "-d", "qdisc", "show"});
    if (!sender || !receiver) return 0;
    return measure(*sender, *receiver);
  }
  double inwards() {
    TcpListener listener(container->network(), PORT);
    auto sender = tryConnect(outside().network(), EXTERNAL, PORT);
    auto receiver = listener.accept();
    EXPECT_TRUE(sender && receiver)
        << network().output({"/usr/sbin/tc", "-s", "-d", "qdisc", "show"});
    if (!sender || !receiver) return 0;
    return measure(*sender, *receiver);
  }

  void expectShapedTo(double rate) {
    for (double measured : {outwards(), inwards()}) {
      EXPECT_GT(measured, rate * 0.5);
      EXPECT_LT(measured, rate * 1.5);
    }
  }

  void expectInfo(uint64_t rate, uint64_t burst) {
    auto stat = client().info(container->handle).bandwidth_stat();
    EXPECT_EQ(stat.in_rate(), rate);
    EXPECT_EQ(stat.out_rate(), rate);
    EXPECT_EQ(stat.in_burst(), burst);
    EXPECT_EQ(stat.out_burst(), burst);
  }

  std::optional<Container> container;
};

TEST_F(BandwidthTest, isUnlimitedAtFirst) {
  expectInfo(UNLIMITED, UNLIMITED);
  EXPECT_GT(outwards(), 10 * RATE);
  EXPECT_GT(inwards(), 10 * RATE);
  for (const auto& object : serverNetworkObjects(network()))
    EXPECT_NE(object.compare(0, 6, "qdisc "), 0) << object;
}

TEST_F(BandwidthTest, isShapedInBothDirections) {
  auto response = client().call(request(RATE, BURST));
  EXPECT_EQ(response.rate(), RATE);
  EXPECT_EQ(response.burst(), BURST);
  expectInfo(RATE, BURST);
  expectShapedTo(RATE);
}

TEST_F(BandwidthTest, isReplacedByALaterLimit) {
  client().call(request(RATE / 4, BURST));
  auto objects = networkObjects(network()).size();
  client().call(request(RATE * 2, BURST * 2));
  expectInfo(RATE * 2, BURST * 2);
  EXPECT_EQ(networkObjects(network()).size(), objects);
  expectShapedTo(RATE * 2);
  client().call(request(RATE / 2, BURST));
  expectInfo(RATE / 2, BURST);
  expectShapedTo(RATE / 2);
}

TEST_F(BandwidthTest, letsABurstPassAtOnceInBothDirections) {
  // At the rate alone, it would take four seconds.
  constexpr uint64_t SLOW = 50 * 1000, LARGE = 256 * 1024;
  constexpr size_t AT_ONCE = 200 * 1000;
  client().call(request(SLOW, LARGE));
  auto expectAtOnce = [&](TcpConnection& from, TcpConnection& to) {
    auto start = std::chrono::steady_clock::now();
    std::thread sender([&]() { from.send(std::string(AT_ONCE, 'x')); });
    EXPECT_EQ(to.receive(AT_ONCE).size(), AT_ONCE);
    EXPECT_LT(std::chrono::steady_clock::now() - start, patient(std::chrono::seconds(2)));
    sender.join();
  };
  TcpListener far(outside().network(), PORT), near(container->network(), PORT);
  auto out = tryConnect(container->network(), OUTSIDE, PORT);
  auto outEnd = far.accept();
  ASSERT_TRUE(out && outEnd);
  expectAtOnce(*out, *outEnd);
  auto in = tryConnect(outside().network(), EXTERNAL, PORT);
  auto inEnd = near.accept();
  ASSERT_TRUE(in && inEnd);
  expectAtOnce(*in, *inEnd);
}

TEST_F(BandwidthTest, isOfOneContainerOnly) {
  auto other = create();
  LimitBandwidthRequest limit = request(RATE, BURST);
  limit.set_handle(other.handle);
  client().call(limit);
  expectInfo(UNLIMITED, UNLIMITED);
  EXPECT_GT(outwards(), 10 * RATE);
}

TEST_F(BandwidthTest, leavesSmallBurstsUsable) {
  // Smaller than a packet: whatever the server makes of it, the answer or the network must be
  // usable.
  client().send(request(RATE, 1));
  auto answer = client().receiveFrame();
  if (answer.type == Message::LimitBandwidth) {
    EXPECT_GT(outwards(), 1000);
  }
}

TEST_F(BandwidthTest, takesTheLargestRates) {
  client().call(request(uint64_t(1) << 40, BURST));
  EXPECT_GT(outwards(), 10 * RATE);
  // Through which the container is still checked and reached.
  EXPECT_TRUE(ping(container->network(), OUTSIDE));
}

TEST_F(BandwidthTest, isTakenFromAStoppedContainerToo) {
  client().stop(container->handle, false, true);
  client().call(request(RATE, BURST));
  expectInfo(RATE, BURST);
}

TEST_F(BandwidthTest, goesWithItsContainer) {
  auto before = networkObjects(network()).size();
  auto other = create();
  LimitBandwidthRequest limit = request(RATE, BURST);
  limit.set_handle(other.handle);
  client().call(limit);
  EXPECT_GT(networkObjects(network()).size(), before);
  client().destroy(other.handle);
  EXPECT_TRUE(waitUntil([&]() { return networkObjects(network()).size() == before; }));
}

}  // namespace
}  // namespace warden::test
