// Limits and use of disks outlive the helper that has set them.

#include <thread>

#include "tests/integration/disk-test.h"

namespace warden::test {
namespace {

constexpr uint64_t MIB = 1 << 20;

class DiskRecoveryTest : public DiskTest {
 protected:
  void restart() {
    client.reset();
    server().kill9();
    server().start();
    client.emplace(connect());
  }
};

TEST_P(DiskRecoveryTest, limitsHoldAndUseIsCounted) {
  limitBytes(16 * MIB);
  expectDone(write("/tmp/before", 8));
  auto before = limits();
  uint64_t used = usage().bytes_used();
  for (int round = 0; round < 2; ++round) {
    restart();
    EXPECT_EQ(limits().SerializeAsString(), before.SerializeAsString());
    if (round == 0) {
      EXPECT_NEAR(usage().bytes_used(), used, MIB / 4);
    }
    expectRefused(write("/tmp/after", 12));
    client->run("c", "rm /tmp/after");
    // What btrfs has freed it counts until its next commit.
    if (facts.backend == "btrfs") continue;
    EXPECT_TRUE(waitUntil([&]() { return usage().bytes_used() < used + MIB; }))
        << usage().bytes_used();
  }
  EXPECT_EQ(client->output("c", "stat -c %s /tmp/before"), std::to_string(8 * MIB) + "\n");
  // Up and down, as before.
  limitBytes(64 * MIB);
  expectDone(write("/tmp/after", 12));
  client->run("c", "rm /tmp/after /tmp/before");
  limitBytes(12 * MIB);
  expectRefused(write("/tmp/after", 16));
}

TEST_P(DiskRecoveryTest, limitsOfInodesHold) {
  if (!facts.limitsInodes) GTEST_SKIP() << facts.backend << " does not limit inodes";
  LimitDiskRequest request = diskRequest("c");
  request.set_inode_limit(500);
  client->call(request);
  std::string makeMany =
      "mkdir /tmp/many && cd /tmp/many && i=0; while [ $i -lt 600 ]; do echo > "
      "f$i || exit 1; i=$((i + 1)); done";
  for (int round = 0; round < 2; ++round) {
    restart();
    EXPECT_EQ(limits().inode_limit(), 500u);
    expectRefused(client->run("c", makeMany));
    EXPECT_LE(usage().inodes_used(), 500u);
    client->run("c", "rm -r /tmp/many");
  }
  request.set_inode_limit(2000);
  client->call(request);
  expectDone(client->run("c", makeMany));
}

TEST_P(DiskRecoveryTest, aServerThatIsKilledInTheMiddleOfALimitSetsIt) {
  if (!facts.limitsInodes) GTEST_SKIP() << facts.backend << " does not limit inodes";
  LimitDiskRequest request = diskRequest("c");
  request.set_inode_limit(300);
  TestClient other = connect();
  other.send(request);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  restart();
  uint64_t limit = limits().inode_limit();
  EXPECT_TRUE(limit == 300 || limit == 0) << limit;
  client->call(request);
  EXPECT_EQ(limits().inode_limit(), 300u);
  expectRefused(client->run("c",
                            "mkdir /tmp/many && cd /tmp/many && i=0; while [ $i -lt 400 ]; do "
                            "echo > f$i || exit 1; i=$((i + 1)); done"));
}

INSTANTIATE_TEST_SUITE_P(All, DiskRecoveryTest, ::testing::ValuesIn(depotKinds()), depotName);

}  // namespace
}  // namespace warden::test
