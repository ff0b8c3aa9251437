// Stop: TERM, again each second, KILL after ten; kill; background.

#include <gtest/gtest.h>

#include <thread>

#include "tests/support/server-test.h"

namespace warden::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr int DESTROY_ROUNDS = 60;

class StopTest : public ServerTest {
 protected:
  void waitForOutput(const std::string& handle, const std::string& file) {
    TestClient client = connect();
    ASSERT_TRUE(
        waitUntil([&]() { return client.run(handle, "test -e " + file).exit_status() == 0; }));
  }
};

TEST_F(StopTest, endsJobsWithTermAndAnswersWhenTheyEnded) {
  start();
  TestClient client = connect();
  client.create("c");
  uint32_t job = client.spawn(
      "c", "trap 'echo terminated; exit 3' TERM; touch /tmp/ready; while true; do sleep 0.1; done");
  waitForOutput("c", "/tmp/ready");
  client.stop("c");
  InfoResponse info = client.info("c");
  EXPECT_EQ(info.state(), "stopped");
  EXPECT_EQ(info.job_ids_size(), 0);
  auto response = client.link("c", job);
  EXPECT_EQ(response.exit_status(), 3u);
  EXPECT_EQ(response.stdout(), "terminated\n");
}

TEST_F(StopTest, sendsTermAgainEachSecond) {
  start();
  TestClient client = connect();
  client.create("c");
  uint32_t job = client.spawn("c",
                              "n=0; trap 'n=$((n+1)); echo $n; test $n -lt 3 || exit 0' TERM;"
                              "touch /tmp/ready; while true; do sleep 0.1; done");
  waitForOutput("c", "/tmp/ready");
  auto since = Clock::now();
  client.stop("c");
  EXPECT_GT(Clock::now() - since, milliseconds(1500));
  EXPECT_LT(Clock::now() - since, patient(seconds(8)));
  EXPECT_EQ(client.link("c", job).stdout(), "1\n2\n3\n");
}

TEST_F(StopTest, killsAfterTenSecondsWhatIgnoresTerm) {
  start();
  TestClient client = connect();
  client.create("c");
  uint32_t job =
      client.spawn("c", "trap '' TERM; touch /tmp/ready; while true; do sleep 0.1; done");
  waitForOutput("c", "/tmp/ready");
  auto since = Clock::now();
  client.stop("c");
  auto took = Clock::now() - since;
  EXPECT_GT(took, seconds(9));
  EXPECT_LT(took, patient(seconds(14)));
  EXPECT_EQ(client.link("c", job).exit_status(), 255u);
}

TEST_F(StopTest, killsAtOnceWhenAsked) {
  start();
  TestClient client = connect();
  client.create("c");
  uint32_t job =
      client.spawn("c", "trap '' TERM; touch /tmp/ready; while true; do sleep 0.1; done", true);
  waitForOutput("c", "/tmp/ready");
  auto since = Clock::now();
  client.stop("c", false, true);
  EXPECT_LT(Clock::now() - since, patient(seconds(5)));
  EXPECT_EQ(client.link("c", job).exit_status(), 255u);
}

TEST_F(StopTest, answersAtOnceInTheBackground) {
  start();
  TestClient client = connect();
  client.create("c");
  uint32_t job = client.spawn("c",
                              "trap \"trap '' TERM; sleep 2; exit 7\" TERM; touch /tmp/ready; "
                              "while true; do sleep 0.1; done");
  waitForOutput("c", "/tmp/ready");
  auto since = Clock::now();
  client.stop("c", true);
  EXPECT_LT(Clock::now() - since, patient(milliseconds(1500)));
  EXPECT_EQ(client.link("c", job).exit_status(), 7u);
  EXPECT_TRUE(waitUntil([&]() { return client.info("c").state() == "stopped"; }));
}

TEST_F(StopTest, answersASecondStopAtOnce) {
  start();
  TestClient client = connect();
  client.create("c");
  client.spawn("c",
               "trap \"trap '' TERM; sleep 2; exit 7\" TERM; touch /tmp/ready; while true; do "
               "sleep 0.1; done");
  waitForOutput("c", "/tmp/ready");
  TestClient first = connect();
  first.send(stopRequest("c"));
  std::this_thread::sleep_for(milliseconds(300));
  auto since = Clock::now();
  client.stop("c");
  EXPECT_LT(Clock::now() - since, patient(milliseconds(1500)));
  first.receive<StopResponse>();
}

TEST_F(StopTest, reachesProcessesThatLeftTheirJob) {
  start();
  TestClient client = connect();
  client.create("c");
  client.output("c", "setsid sh -c 'sleep 1234' > /dev/null 2>&1 & sleep 0.2");
  // The arguments of all processes, one a line; the pattern does not match itself.
  EXPECT_EQ(client.output("c", "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -c -x '123[4]'"),
            "1\n");
  client.stop("c");
  std::string id = idOf("c");
  pid_t wshd = server().wshdPid(id);
  EXPECT_TRUE(waitUntil([&]() { return descendants(wshd).empty(); }));
}

TEST_F(StopTest, endsAContainerWithoutJobsAtOnce) {
  start();
  TestClient client = connect();
  client.create("idle");
  auto since = Clock::now();
  client.stop("idle");
  EXPECT_LT(Clock::now() - since, patient(milliseconds(900)));
  EXPECT_EQ(client.info("idle").state(), "stopped");
}

TEST_F(StopTest, goesOnWhenItsClientLeaves) {
  start();
  TestClient client = connect();
  client.create("c");
  client.spawn("c", "sleep 1000");
  {
    TestClient leaving = connect();
    leaving.send(stopRequest("c"));
  }
  EXPECT_TRUE(waitUntil([&]() { return client.info("c").state() == "stopped"; }));
}

TEST_F(StopTest, letsDestroyThroughWhileItWaits) {
  start();
  TestClient client = connect();
  client.create("c");
  client.spawn("c", "trap '' TERM; touch /tmp/ready; while true; do sleep 0.1; done");
  waitForOutput("c", "/tmp/ready");
  TestClient stopping = connect();
  stopping.send(stopRequest("c"));
  std::this_thread::sleep_for(milliseconds(200));
  auto since = Clock::now();
  client.destroy("c");
  EXPECT_LT(Clock::now() - since, patient(seconds(7)));
  try {
    stopping.receive<StopResponse>();
  } catch (const ServerError&) {
    // Either answer tells the truth: it ended, or was destroyed.
  }
}

TEST_F(StopTest, answersARunThatADestroyMeetsAtAnyMoment) {
  start();
  TestClient destroyer = connect();
  for (int round = 0; round < DESTROY_ROUNDS; ++round) {
    std::string handle = destroyer.create();
    TestClient runner = connect();
    RunRequest request;
    request.set_handle(handle);
    request.set_script("sleep 60");
    runner.send(request);
    // From before the request is read until after the shell runs.
    std::this_thread::sleep_for(std::chrono::microseconds(20 * round));
    destroyer.destroy(handle);
    try {
      auto response = runner.receive<RunResponse>();
      EXPECT_EQ(response.exit_status(), 255u);
      EXPECT_EQ(response.info().state(), "active");
    } catch (const ServerError& error) {
      // Only one that came after the destroy.
      std::string text = error.what();
      EXPECT_TRUE(text == "unknown handle" || text.ends_with("current state is 'destroyed'"))
          << text;
    }
  }
}

}  // namespace
}  // namespace warden::test
