// A depot that is full while containers have file systems of their own in it, sparse as they are:
// what they write fails below their limits, and is the only thing that is lost.

#include <fcntl.h>
#include <kj/debug.h>
#include <unistd.h>

#include "tests/integration/disk-test.h"

namespace warden::test {
namespace {

constexpr uint64_t DEPOT_BYTES = 256 * MIB;

// New directories and files, each of which has to reach the depot.
std::string writeMany(const std::string& place) {
  return "mkdir " + place + "; failed=0; for i in $(seq 100); do mkdir " + place +
         "/d$i; dd if=/dev/zero of=" + place +
         "/d$i/f bs=64k count=1 conv=fsync 2>/dev/null || failed=$((failed + 1)); done; "
         "exit $failed";
}

class DiskFullTest : public ServerTest {
 protected:
  void SetUp() override {
    depot.emplace("ext4", DEPOT_BYTES);
    start();
    client.emplace(connect());
    client->create("c");
  }

  void TearDown() override {
    client.reset();
    full.reset();
    ServerTest::TearDown();
    depot.reset();
  }

  void fill() { full.emplace(testDirectory()); }
  void empty() { full.reset(); }

  bool flush() {
    // What the container has written and not waited for: as the kernel does after some seconds.
    // False: not all of it could be written.
    auto path =
        "/proc/" + std::to_string(server().brokerPid()) + "/root/depot/" + idOf("c") + "/tmp";
    int raw;
    KJ_SYSCALL(raw = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), path.c_str());
    Fd image(raw);
    return syncfs(image) == 0;
  }

  std::string output(const std::string& script) { return client->output("c", script); }

  // For when no output can be kept.
  uint32_t statusOf(const std::string& script) { return client->run("c", script).exit_status(); }

  void useUp() {
    output("mkdir /tmp/early && echo kept > /tmp/early/f");
    ASSERT_TRUE(flush());
    fill();
    EXPECT_GT(statusOf(writeMany("/tmp/meanwhile")), 90u);
    statusOf("echo lost > /tmp/early/lost");
    EXPECT_FALSE(flush());
    EXPECT_EQ(statusOf("grep -q kept /tmp/early/f"), 0u);
  }

  std::optional<DepotFileSystem> depot;
  std::optional<Filler> full;
  std::optional<TestClient> client;
};

TEST_F(DiskFullTest, failsWhatIsWrittenAndContainersAreAsBeforeWhenThereIsRoom) {
  useUp();
  empty();
  EXPECT_EQ(output("cat /tmp/early/f"), "kept\n");
  EXPECT_EQ(statusOf(writeMany("/tmp/later")), 0u);
  EXPECT_TRUE(flush());
  EXPECT_EQ(output("cat /tmp/later/d*/f | wc -c"), std::to_string(100 * 64 * 1024) + "\n");
  output("rm -r /tmp/early /tmp/meanwhile /tmp/later");
  EXPECT_LT(client->info("c").disk_stat().bytes_used(), MIB);
}

TEST_F(DiskFullTest, leavesLimitsInForce) {
  LimitDiskRequest request = diskRequest("c");
  request.set_byte_limit(32 * MIB);
  request.set_inode_limit(1000);
  client->call(request);
  useUp();
  empty();
  output("rm -r /tmp/meanwhile");
  auto tooMuch = client->run("c", "dd if=/dev/zero of=/tmp/big bs=1M count=64 conv=fsync");
  EXPECT_NE(tooMuch.stderr().find("No space left on device"), std::string::npos)
      << tooMuch.stderr();
  EXPECT_LE(client->info("c").disk_stat().bytes_used(), 32 * MIB);
  output("rm /tmp/big");
  EXPECT_NE(statusOf("for i in $(seq 1200); do : > /tmp/n$i || exit 1; done"), 0u);
  EXPECT_LE(client->info("c").disk_stat().inodes_used(), 1000u);
  request.set_byte_limit(0);
  request.set_inode_limit(0);
  client->call(request);
  output("rm /tmp/n*");
  EXPECT_EQ(statusOf(writeMany("/tmp/later")), 0u);
}

TEST_F(DiskFullTest, leavesContainersToALaterHelper) {
  useUp();
  server().kill9();
  empty();
  server().start();
  client.emplace(connect());
  EXPECT_EQ(output("cat /tmp/early/f"), "kept\n");
  EXPECT_EQ(statusOf(writeMany("/tmp/later")), 0u);
  client->destroy("c");
  client.reset();
  warmUp(server());
  takeNewBaseline();
}

TEST_F(DiskFullTest, refusesAContainerThatHasNoRoom) {
  auto entries = server().depotEntries();
  fill();
  std::string message = client->expectError(createRequest("d"));
  EXPECT_NE(message.find("No space left on device"), std::string::npos) << message;
  EXPECT_TRUE(waitUntil([&]() { return server().depotEntries() == entries; }));
  empty();
  client->create("d");
  EXPECT_EQ(client->output("d", "echo fine"), "fine\n");
}

}  // namespace
}  // namespace warden::test
