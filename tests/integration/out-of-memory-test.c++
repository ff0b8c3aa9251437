// Out of memory: who is killed, who is told, and what goes on.

#include <gtest/gtest.h>

#include "tests/support/limits.h"
#include "tests/support/server-test.h"

namespace warden::test {
namespace {

constexpr char EVENT[] = "out of memory";

class OutOfMemoryTest : public ServerTest {
 protected:
  void SetUp() override {
    start();
    client.emplace(connect());
    client->create("c");
    limitMemory(*client, "c", 100 * MIB);
  }

  void TearDown() override {
    client.reset();
    ServerTest::TearDown();
  }

  bool stops(const std::string& handle) {
    return waitUntil([&]() { return client->info(handle).state() == "stopped"; });
  }

  void expectOneEvent(const InfoResponse& info) {
    ASSERT_EQ(info.events_size(), 1);
    EXPECT_EQ(info.events(0), EVENT);
  }

  std::optional<TestClient> client;
};

TEST_F(OutOfMemoryTest, killsTheJobStopsTheContainerAndSaysSoInTheJobsOwnAnswer) {
  auto response = client->run("c", takeMemory(200));
  EXPECT_NE(response.exit_status(), 0u);
  expectOneEvent(response.info());
  EXPECT_EQ(response.info().state(), "stopped");
  ASSERT_TRUE(stops("c"));
  expectOneEvent(client->info("c"));
  EXPECT_EQ(client->expectError(runRequest("c", "true")),
            "Container state must be one of 'active', current state is 'stopped'");
}

TEST_F(OutOfMemoryTest, leavesAJobAloneThatStaysBelowTheLimit) {
  auto response = client->run("c", takeMemory(60));
  EXPECT_EQ(response.exit_status(), 0u) << response.stderr();
  EXPECT_EQ(response.info().state(), "active");
  EXPECT_EQ(response.info().events_size(), 0);
}

TEST_F(OutOfMemoryTest, isNotReachedWithoutALimit) {
  client->create("free");
  EXPECT_EQ(client->run("free", takeMemory(200)).exit_status(), 0u);
  EXPECT_EQ(client->info("free").events_size(), 0);
}

TEST_F(OutOfMemoryTest, isReachedByRootOfTheContainerAsWell) {
  auto response = client->run("c", takeMemory(200), true);
  EXPECT_NE(response.exit_status(), 0u);
  expectOneEvent(response.info());
  EXPECT_TRUE(stops("c"));
}

TEST_F(OutOfMemoryTest, isReachedByJobsThatAreOverTheLimitTogether) {
  uint32_t first = client->spawn("c", holdMemory(60));
  ASSERT_TRUE(waitUntil([&]() { return client->info("c").memory_stat().total_rss() >= 60 * MIB; }));
  EXPECT_EQ(client->info("c").events_size(), 0);
  uint32_t second = client->spawn("c", holdMemory(60));
  ASSERT_TRUE(stops("c"));
  for (uint32_t job : {first, second}) {
    auto response = client->link("c", job);
    EXPECT_NE(response.exit_status(), 0u);
    expectOneEvent(response.info());
  }
}

TEST_F(OutOfMemoryTest, endsAllJobsOfTheContainer) {
  uint32_t bystander = client->spawn("c", "echo began; sleep 100000");
  uint32_t hungry = client->spawn("c", takeMemory(200));
  TestClient streamer = connect();
  JobOutput output = streamer.stream("c", bystander);
  EXPECT_EQ(output.out, "began\n");
  EXPECT_NE(output.exitStatus, 0u);
  ASSERT_TRUE(output.info.has_value());
  expectOneEvent(*output.info);
  EXPECT_NE(client->link("c", hungry).exit_status(), 0u);
  ASSERT_TRUE(stops("c"));
  EXPECT_EQ(client->info("c").job_ids_size(), 0);
}

TEST_F(OutOfMemoryTest, leavesProcessOneAliveAndTheContainerUsable) {
  pid_t wshd = server().wshdPid(idOf("c"));
  client->run("c", takeMemory(200));
  ASSERT_TRUE(stops("c"));
  EXPECT_TRUE(isAlive(wshd));
  InfoResponse info = client->info("c");
  EXPECT_TRUE(info.has_memory_stat());
  EXPECT_TRUE(info.has_cpu_stat());
  EXPECT_EQ(limitMemory(*client, "c"), 100 * MIB);
  EXPECT_EQ(limitMemory(*client, "c", 300 * MIB), 300 * MIB);
  client->stop("c");
  client->destroy("c");
  EXPECT_EQ(client->expectError(infoRequest("c")), "unknown handle");
}

TEST_F(OutOfMemoryTest, leavesProcessOneAliveWhenManyAreKilled) {
  pid_t wshd = server().wshdPid(idOf("c"));
  client->spawn("c", "for i in 1 2 3 4 5 6 7 8; do (" + holdMemory(30) + ") & done; wait");
  ASSERT_TRUE(stops("c"));
  EXPECT_TRUE(isAlive(wshd));
  expectOneEvent(client->info("c"));
}

TEST_F(OutOfMemoryTest, concernsNoOtherContainer) {
  client->create("other");
  limitMemory(*client, "other", 100 * MIB);
  uint32_t job = client->spawn("other", "sleep 1; echo done");
  client->run("c", takeMemory(200));
  ASSERT_TRUE(stops("c"));
  auto response = client->link("other", job);
  EXPECT_EQ(response.exit_status(), 0u);
  EXPECT_EQ(response.stdout(), "done\n");
  InfoResponse info = client->info("other");
  EXPECT_EQ(info.state(), "active");
  EXPECT_EQ(info.events_size(), 0);
  EXPECT_EQ(client->output("other", "echo runs"), "runs\n");
}

TEST_F(OutOfMemoryTest, isReachedByFilesInSharedMemory) {
  uint64_t before = client->info("c").memory_stat().total_cache();
  client->output("c", "dd if=/dev/zero of=/dev/shm/a bs=1M count=40 2>/dev/null");
  EXPECT_GE(client->info("c").memory_stat().total_cache(), before + 40 * MIB);
  EXPECT_EQ(client->info("c").events_size(), 0);
  auto response = client->run("c", "dd if=/dev/zero of=/dev/shm/b bs=1M count=120");
  EXPECT_NE(response.exit_status(), 0u);
  ASSERT_TRUE(stops("c"));
  expectOneEvent(client->info("c"));
}

TEST_F(OutOfMemoryTest, isNotWhatADestroyLooksLike) {
  uint32_t job = client->spawn("c", "sleep 100000");
  TestClient linker = connect();
  linker.send(linkRequest("c", job));
  linker.hasInput(std::chrono::milliseconds(200));
  client->destroy("c");
  auto response = linker.receive<LinkResponse>();
  EXPECT_NE(response.exit_status(), 0u);
  EXPECT_FALSE(hasEvent(response.info(), EVENT));
  EXPECT_EQ(readFile(server().logPath()).find(EVENT), std::string::npos);
}

TEST_F(OutOfMemoryTest, isNotWhatAStopLooksLike) {
  client->spawn("c", "sleep 100000");
  client->stop("c", false, true);
  EXPECT_EQ(client->info("c").events_size(), 0);
}

TEST_F(OutOfMemoryTest, canBeDestroyedMeanwhile) {
  for (int i = 0; i < 5; ++i) {
    std::string handle = "brief-" + std::to_string(i);
    client->create(handle);
    limitMemory(*client, handle, 32 * MIB);
    client->spawn(handle, takeMemory(200));
    client->destroy(handle);
  }
  EXPECT_EQ(client->list(), std::vector<std::string>{"c"});
}

}  // namespace
}  // namespace warden::test
