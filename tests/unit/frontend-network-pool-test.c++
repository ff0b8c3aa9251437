#include "frontend/network-pool.h"

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <kj/vector.h>

#include "frontend/port-pool.h"

namespace warden::frontend {
namespace {

class NetworkPoolTest : public ::testing::Test {
 protected:
  ~NetworkPoolTest() noexcept override = default;

  kj::TimerImpl timer{kj::origin<kj::TimePoint>()};
  Config::Network config;
  kj::Own<NetworkPool> pool;

  void SetUp() override {
    config.poolStart = 0x0a000000;  // 10.0.0.0
    config.poolSize = 3;
    config.releaseDelay = 10;
    pool = kj::heap<NetworkPool>(config, timer);
  }

  void pass(int seconds) { timer.advanceTo(timer.now() + seconds * kj::SECONDS); }

  int next() {
    KJ_IF_MAYBE (network, pool->acquire()) {
      held.add(kj::mv(*network));
      return held.back().number();
    }
    return -1;
  }

  int at(uint32_t address) {
    KJ_IF_MAYBE (network, pool->acquire(address)) {
      held.add(kj::mv(*network));
      return held.back().number();
    }
    return -1;
  }

  void release(uint32_t index) {
    kj::Vector<Network> others;
    for (auto& network : held) {
      if (network.number() != index) others.add(kj::mv(network));
    }
    held = kj::mv(others);
  }

  kj::Vector<Network> held;
};

TEST_F(NetworkPoolTest, handsOutEachNetworkOnce) {
  EXPECT_EQ(next(), 0);
  EXPECT_EQ(next(), 1);
  EXPECT_EQ(next(), 2);
  EXPECT_EQ(next(), -1);
}

TEST_F(NetworkPoolTest, givesTheHostTheFirstAndTheContainerTheSecondAddress) {
  next();
  next();
  EXPECT_EQ(held[0].addresses().host, 0x0a000001u);
  EXPECT_EQ(held[0].addresses().container, 0x0a000002u);
  EXPECT_EQ(held[1].addresses().host, 0x0a000005u);
  EXPECT_EQ(held[1].addresses().container, 0x0a000006u);
}

TEST_F(NetworkPoolTest, letsANetworkRestBeforeItIsUsedAgain) {
  for (int i = 0; i < 3; ++i)
    next();
  release(1);
  EXPECT_EQ(next(), -1);
  pass(9);
  EXPECT_EQ(next(), -1);
  EXPECT_EQ(at(0x0a000004), -1);
  pass(1);
  EXPECT_EQ(next(), 1);
}

TEST_F(NetworkPoolTest, handsOutTheOneThatHasRestedLongest) {
  for (int i = 0; i < 3; ++i)
    next();
  release(2);
  pass(1);
  release(0);
  pass(100);
  EXPECT_EQ(next(), 2);
  EXPECT_EQ(next(), 0);
}

TEST_F(NetworkPoolTest, prefersANetworkThatWasNeverUsed) {
  next();
  release(0);
  pass(100);
  EXPECT_EQ(next(), 1);
  EXPECT_EQ(next(), 2);
  EXPECT_EQ(next(), 0);
}

TEST_F(NetworkPoolTest, findsTheNetworkThatContainsAnAddress) {
  EXPECT_EQ(at(0x0a000007), 1);
  EXPECT_EQ(at(0x0a000004), -1);
  EXPECT_EQ(next(), 0);
  EXPECT_EQ(next(), 2);
  EXPECT_EQ(next(), -1);
}

TEST_F(NetworkPoolTest, handsOutAgainWhatWasAskedForByAddress) {
  EXPECT_EQ(at(0x0a000008), 2);
  release(2);
  EXPECT_EQ(at(0x0a000008), -1);
  pass(10);
  EXPECT_EQ(at(0x0a000008), 2);
  release(2);
  EXPECT_EQ(next(), 0);
  EXPECT_EQ(next(), 1);
  EXPECT_EQ(next(), -1);
  pass(10);
  EXPECT_EQ(next(), 2);
}

TEST_F(NetworkPoolTest, refusesAnAddressThatIsNotOfThePool) {
  EXPECT_EQ(at(0x09ffffff), -1);
  EXPECT_EQ(at(0x0a00000c), -1);
  EXPECT_EQ(at(0), -1);
  EXPECT_EQ(at(UINT32_MAX), -1);
}

TEST_F(NetworkPoolTest, reachesTheEndOfTheAddressSpace) {
  config.poolStart = 0xfffffffc;
  config.poolSize = 1;
  pool = kj::heap<NetworkPool>(config, timer);
  EXPECT_EQ(at(UINT32_MAX), 0);
  EXPECT_EQ(held[0].addresses().container, 0xfffffffeu);
  held.clear();
}

// -- ports

int take(PortPool& pool, kj::Vector<Port>& held, uint16_t port) {
  KJ_IF_MAYBE (taken, pool.take(port)) {
    held.add(kj::mv(*taken));
    return port;
  }
  return -1;
}

int next(PortPool& pool, kj::Vector<Port>& held) {
  KJ_IF_MAYBE (port, pool.next()) {
    held.add(kj::mv(*port));
    return held.back().number();
  }
  return -1;
}

TEST(PortPoolTest, handsOutEachPortOnceAndThenTheOneReleasedLongestAgo) {
  PortPool pool({100, 3});
  kj::Vector<Port> held;
  EXPECT_EQ(next(pool, held), 100);
  EXPECT_EQ(next(pool, held), 101);
  EXPECT_EQ(next(pool, held), 102);
  EXPECT_EQ(next(pool, held), -1);
  { auto released = kj::mv(held[1]); }
  { auto released = kj::mv(held[0]); }
  EXPECT_EQ(next(pool, held), 101);
  EXPECT_EQ(next(pool, held), 100);
  EXPECT_EQ(next(pool, held), -1);
}

TEST(PortPoolTest, neverHandsOutAPortThatAClientHas) {
  PortPool pool({100, 3});
  kj::Vector<Port> clients, held;
  EXPECT_EQ(take(pool, clients, 101), 101);
  EXPECT_EQ(take(pool, clients, 101), -1);
  EXPECT_EQ(next(pool, held), 100);
  EXPECT_EQ(next(pool, held), 102);
  EXPECT_EQ(next(pool, held), -1);
  EXPECT_EQ(take(pool, clients, 100), -1);
  clients.clear();
  EXPECT_EQ(next(pool, held), 101);
}

TEST(PortPoolTest, letsAClientHaveAPortOutsideOfItsRange) {
  PortPool pool({100, 1});
  kj::Vector<Port> clients, held;
  EXPECT_EQ(take(pool, clients, 65535), 65535);
  EXPECT_EQ(take(pool, clients, 65535), -1);
  clients.clear();
  EXPECT_EQ(take(pool, clients, 65535), 65535);
  EXPECT_EQ(next(pool, held), 100);
  EXPECT_EQ(next(pool, held), -1);
}

TEST(PortPoolTest, keepsOneEntryForAPortThatClientsTakeAgainAndAgain) {
  PortPool pool({100, 2});
  kj::Vector<Port> clients, held;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(take(pool, clients, 100), 100);
    clients.clear();
  }
  EXPECT_EQ(next(pool, held), 100);
  EXPECT_EQ(next(pool, held), 101);
  EXPECT_EQ(next(pool, held), -1);
}

TEST(PortPoolTest, isEmptyWithoutARange) {
  PortPool pool({65001, 0});
  EXPECT_TRUE(pool.next() == nullptr);
}

struct RangeCase {
  std::optional<uint32_t> start, size;
  uint16_t lowest;
  const char* ephemeral;
  uint32_t first, count;
};

TEST(PortPoolRangeTest, followsTheConfigurationAndTheHost) {
  const RangeCase cases[] = {
      {{}, {}, 1024, "32768\t60999\n", 61000, 4001},
      {{}, {}, 1024, "32768 61999\n", 62000, 3001},
      {{}, {}, 1024, "", 61000, 4001},
      {{}, {}, 1024, "garbage\n", 61000, 4001},
      {{}, {}, 1024, "1 99999\n", 61000, 4001},
      {{}, {}, 1024, "1024 65535\n", 65536, 0},
      {{}, {}, 1024, "1024 65000\n", 65001, 0},
      {{}, 10, 1024, "32768 60999\n", 61000, 10},
      {{}, 10, 1024, "1024 65530\n", 65531, 5},
      {20000, {}, 1024, "32768 60999\n", 20000, 45001},
      {20000, 5, 1024, "32768 60999\n", 20000, 5},
      {65100, {}, 1024, "32768 60999\n", 65100, 436},
      {65535, 1, 1024, "32768 60999\n", 65535, 1},
      {1000, 100, 1024, "32768 60999\n", 1024, 76},
      {80, 10, 1024, "32768 60999\n", 1024, 0},
      {80, 10, 1, "32768 60999\n", 80, 10},
  };
  for (auto& c : cases) {
    Config config;
    config.port.poolStart = c.start;
    config.port.poolSize = c.size;
    config.privhelper.lowestHostPort = c.lowest;
    auto range = portPoolRange(config, c.ephemeral);
    EXPECT_EQ(range.first, c.first) << &c - cases;
    EXPECT_EQ(range.count, c.count) << &c - cases;
  }
}

}  // namespace
}  // namespace warden::frontend
