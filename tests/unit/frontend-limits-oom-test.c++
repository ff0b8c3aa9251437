// Out of memory, through the whole core.

#include "tests/unit/frontend-limits-testing.h"

namespace warden::frontend {
namespace {

class OutOfMemoryTest : public LimitsTest {
 protected:
  void kill(int count = 1) {
    helper->writeStatistic(
        id, "memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill " + std::to_string(count) + "\n");
  }

  std::vector<std::string> events() {
    auto info = client->info("h");
    return {info.events().begin(), info.events().end()};
  }

  const std::vector<std::string> once{"out of memory"};
};

TEST_F(OutOfMemoryTest, stopsTheContainerAndSaysSo) {
  auto job = client->spawn("h", "trap '' TERM; while :; do sleep 1; done");
  kill();
  helper->signalMemoryEvent(id);
  auto link = client->call<LinkResponse>(Message::Link, Client::linkRequest("h", job));
  EXPECT_EQ(link.exit_status(), 255u);
  EXPECT_EQ(link.info().state(), "stopped");
  ASSERT_EQ(link.info().events_size(), 1);
  EXPECT_EQ(link.info().events(0), "out of memory");
}

TEST_F(OutOfMemoryTest, isSeenWhenTheKillFollowsTheEvent) {
  helper->signalMemoryEvent(id);
  sleep(20);
  EXPECT_EQ(client->info("h").state(), "active");
  kill();
  sleep(200);
  EXPECT_EQ(client->info("h").state(), "stopped");
  EXPECT_EQ(events(), once);
}

TEST_F(OutOfMemoryTest, showsInTheAnswerOfTheJobThatWasKilled) {
  // The exit status comes, the eventfd says nothing.
  auto job = client->spawn("h", "sleep 0.1; kill -KILL $$");
  kill();
  auto link = client->call<LinkResponse>(Message::Link, Client::linkRequest("h", job));
  EXPECT_EQ(link.exit_status(), 255u);
  EXPECT_EQ(link.info().state(), "stopped");
  ASSERT_EQ(link.info().events_size(), 1);
}

TEST_F(OutOfMemoryTest, showsInTheAnswerOfAShellWhoseChildWasKilled) {
  auto job = client->spawn("h", "sleep 0.1; exit 137");
  kill();
  auto link = client->call<LinkResponse>(Message::Link, Client::linkRequest("h", job));
  EXPECT_EQ(link.exit_status(), 137u);
  EXPECT_EQ(link.info().events_size(), 1);
}

TEST_F(OutOfMemoryTest, isSaidOnce) {
  kill();
  helper->signalMemoryEvent(id);
  sleep(30);
  kill(2);
  helper->signalMemoryEvent(id);
  sleep(30);
  helper->killFirstProcesses();
  sleep(200);
  EXPECT_EQ(events(), once);
}

TEST_F(OutOfMemoryTest, isNotWhatARemovedCgroupSays) {
  helper->signalMemoryEvent(id);
  helper->signalMemoryEvent(id);
  sleep(50);
  EXPECT_EQ(client->info("h").state(), "active");
  EXPECT_EQ(events(), std::vector<std::string>());
}

TEST_F(OutOfMemoryTest, isSeenAfterEventsWithoutAKill) {
  helper->signalMemoryEvent(id);
  sleep(2200);
  helper->signalMemoryEvent(id);
  kill();
  sleep(50);
  EXPECT_EQ(events(), once);
}

TEST_F(OutOfMemoryTest, hurriesAStopThatIsUnderWay) {
  auto job = client->spawn("h", "trap '' TERM; while :; do sleep 1; done");
  sleep(50);
  StopRequest background = named<StopRequest>("h");
  background.set_background(true);
  client->call<StopResponse>(Message::Stop, background);
  kill();
  helper->signalMemoryEvent(id);
  auto link = client->call<LinkResponse>(Message::Link, Client::linkRequest("h", job));
  EXPECT_EQ(link.exit_status(), 255u);
  EXPECT_EQ(events(), once);
}

TEST_F(StatisticsChoiceTest, noticesAKillOfV2WhenTheJobEnds) {
  startCore();
  helper->cgroupVersion = 2;
  create();
  auto job = client->spawn("h", "sleep 0.1; kill -KILL $$");
  helper->writeStatistic(id, "memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n");
  auto link = client->call<LinkResponse>(Message::Link, Client::linkRequest("h", job));
  EXPECT_EQ(link.info().state(), "stopped");
  ASSERT_EQ(link.info().events_size(), 1);
  EXPECT_EQ(link.info().events(0), "out of memory");
}

}  // namespace
}  // namespace warden::frontend
