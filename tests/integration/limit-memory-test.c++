// LimitMemory: setting, reading, and what it refuses.

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/support/limits.h"
#include "tests/support/server-test.h"

namespace warden::test {
namespace {

class LimitMemoryTest : public ServerTest {
 protected:
  void SetUp() override { start(); }

  // Memory alone, and memory and swap together, as the kernel has them.
  void expectInForce(const std::string& handle, uint64_t bytes) {
    std::string id = idOf(handle);
    if (hasVersion2("memory")) {
      bool unlimited = bytes == UNLIMITED_MEMORY;
      EXPECT_EQ(cgroupValue(server(), id, "memory", "memory.max"),
                unlimited ? "max" : std::to_string(bytes));
      // What is over memory.max may not go to swap: both together are `bytes`.
      auto swap = tryReadFile(cgroupOf(server(), id, "memory") + "/memory.swap.max");
      EXPECT_EQ(swap.value_or("0\n"), unlimited && swap ? "max\n" : "0\n");
      return;
    }
    for (const char* file : {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"}) {
      EXPECT_EQ(cgroupValue(server(), id, "memory", file), std::to_string(bytes)) << file;
    }
  }

  bool holdsAtLeast(TestClient& client, const std::string& handle, uint64_t bytes) {
    return waitUntil([&]() { return client.info(handle).memory_stat().total_rss() >= bytes; });
  }
};

TEST_F(LimitMemoryTest, readsAsTheLargestNumberOfPagesWhenThereIsNone) {
  TestClient client = connect();
  client.create("c");
  EXPECT_EQ(limitMemory(client, "c"), UNLIMITED_MEMORY);
  expectInForce("c", UNLIMITED_MEMORY);
}

TEST_F(LimitMemoryTest, isInForceForMemoryAndSwapOnceItIsAnswered) {
  TestClient client = connect();
  client.create("c");
  EXPECT_EQ(limitMemory(client, "c", 100 * MIB), 100 * MIB);
  expectInForce("c", 100 * MIB);
  EXPECT_EQ(limitMemory(client, "c"), 100 * MIB);
  EXPECT_EQ(client.info("c").memory_stat().hierarchical_memory_limit(), 100 * MIB);
}

TEST_F(LimitMemoryTest, concernsOneContainer) {
  TestClient client = connect();
  client.create("limited");
  client.create("free");
  limitMemory(client, "limited", 100 * MIB);
  EXPECT_EQ(limitMemory(client, "free"), UNLIMITED_MEMORY);
  client.create("later");
  EXPECT_EQ(limitMemory(client, "later"), UNLIMITED_MEMORY);
}

TEST_F(LimitMemoryTest, goesUpAndDownInAnyOrder) {
  TestClient client = connect();
  client.create("c");
  for (uint64_t mib : {64, 256, 32, 31, 512, 4096, 16, 1024 * 1024, 48}) {
    EXPECT_EQ(limitMemory(client, "c", mib * MIB), mib * MIB);
    expectInForce("c", mib * MIB);
  }
  EXPECT_EQ(limitMemory(client, "c", UNLIMITED_MEMORY), UNLIMITED_MEMORY);
  expectInForce("c", UNLIMITED_MEMORY);
  EXPECT_EQ(limitMemory(client, "c", 64 * MIB), 64 * MIB);
  expectInForce("c", 64 * MIB);
  EXPECT_EQ(client.output("c", "echo runs"), "runs\n");
}

TEST_F(LimitMemoryTest, isRoundedDownToPages) {
  TestClient client = connect();
  client.create("c");
  uint64_t page = sysconf(_SC_PAGESIZE);
  for (uint64_t more : {uint64_t(1), page / 2, page - 1}) {
    EXPECT_EQ(limitMemory(client, "c", 64 * MIB + more), 64 * MIB);
    EXPECT_EQ(limitMemory(client, "c"), 64 * MIB);
    expectInForce("c", 64 * MIB);
  }
  EXPECT_EQ(limitMemory(client, "c", 64 * MIB + page), 64 * MIB + page);
}

TEST_F(LimitMemoryTest, isNoneAboveWhatTheKernelCounts) {
  TestClient client = connect();
  client.create("c");
  // The last of them is what a client that means -1 sends.
  for (uint64_t bytes : {UNLIMITED_MEMORY + 1, uint64_t(INT64_MAX), uint64_t(INT64_MAX) + 1,
                         UINT64_MAX - 4096, UINT64_MAX}) {
    EXPECT_EQ(limitMemory(client, "c", 64 * MIB), 64 * MIB);
    EXPECT_EQ(limitMemory(client, "c", bytes), UNLIMITED_MEMORY) << bytes;
    expectInForce("c", UNLIMITED_MEMORY);
  }
}

TEST_F(LimitMemoryTest, isRefusedAndUnchangedWhereNothingCouldRun) {
  TestClient client = connect();
  client.create("c");
  uint32_t job = client.spawn("c", "sleep 100000");
  limitMemory(client, "c", 64 * MIB);
  for (uint64_t bytes : {0, 1, 4095, 4096}) {
    std::string error = client.expectError(memoryRequest("c", bytes));
    EXPECT_TRUE(error.find("limit_in_bytes is ") == 0 || error.find("memory") != std::string::npos)
        << error;
    EXPECT_EQ(limitMemory(client, "c"), 64 * MIB) << bytes;
    expectInForce("c", 64 * MIB);
  }
  InfoResponse info = client.info("c");
  EXPECT_EQ(info.state(), "active");
  EXPECT_EQ(info.events_size(), 0);
  ASSERT_EQ(info.job_ids_size(), 1);
  EXPECT_EQ(info.job_ids(0), job);
  EXPECT_EQ(client.output("c", "echo runs"), "runs\n");
}

TEST_F(LimitMemoryTest, isRefusedAndUnchangedBelowWhatIsInUse) {
  TestClient client = connect();
  client.create("c");
  client.spawn("c", holdMemory(60));
  ASSERT_TRUE(holdsAtLeast(client, "c", 60 * MIB));
  limitMemory(client, "c", 200 * MIB);
  std::string error = client.expectError(memoryRequest("c", 20 * MIB));
  EXPECT_NE(error.find("memory"), std::string::npos) << error;
  EXPECT_EQ(limitMemory(client, "c"), 200 * MIB);
  expectInForce("c", 200 * MIB);
  InfoResponse info = client.info("c");
  EXPECT_EQ(info.state(), "active");
  EXPECT_EQ(info.events_size(), 0);
  EXPECT_EQ(info.job_ids_size(), 1);
  EXPECT_GE(info.memory_stat().total_rss(), 60 * MIB);
  EXPECT_EQ(limitMemory(client, "c", 100 * MIB), 100 * MIB);
}

TEST_F(LimitMemoryTest, dropsCachedFilesThatAreOverIt) {
  TestClient client = connect();
  client.create("c");
  client.output("c", "dd if=/dev/zero of=/tmp/file bs=1M count=60 conv=fsync 2>/dev/null");
  EXPECT_EQ(limitMemory(client, "c", 24 * MIB), 24 * MIB);
  expectInForce("c", 24 * MIB);
  InfoResponse info = client.info("c");
  EXPECT_EQ(info.state(), "active");
  EXPECT_EQ(info.events_size(), 0);
  EXPECT_EQ(client.output("c", "wc -c < /tmp/file"), std::to_string(60 * MIB) + "\n");
}

TEST_F(LimitMemoryTest, isSetAndReadOfAStoppedContainer) {
  TestClient client = connect();
  client.create("c");
  client.stop("c");
  EXPECT_EQ(limitMemory(client, "c"), UNLIMITED_MEMORY);
  EXPECT_EQ(limitMemory(client, "c", 64 * MIB), 64 * MIB);
  EXPECT_EQ(limitMemory(client, "c"), 64 * MIB);
  expectInForce("c", 64 * MIB);
  EXPECT_EQ(client.info("c").events_size(), 0);
}

TEST_F(LimitMemoryTest, needsAKnownHandle) {
  TestClient client = connect();
  EXPECT_EQ(client.expectError(memoryRequest("none")), "unknown handle");
  EXPECT_EQ(client.expectError(memoryRequest("none", 64 * MIB)), "unknown handle");
}

}  // namespace
}  // namespace warden::test
