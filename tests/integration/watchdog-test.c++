// A first process (wshd) that does not answer is found, said, and harms nobody else; its container
// can be destroyed, and is served again when it answers.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>

#include "tests/support/limits.h"
#include "tests/support/server-test.h"
#include "tests/support/traced-process.h"

namespace warden::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr char SILENT[] = "the container's first process does not answer";
constexpr char AGAIN[] = "the container's first process answers again";

// The process stands when it has sent its next packet.
void awaitPacket(TracedProcess& process) {
  for (bool sends = false;; process.goOn()) {
    auto call = process.awaitCall();
    if (!call.entered && sends) return;
    sends = call.entered && call.number == SYS_sendmsg;
  }
}

// The process stands where it returns from the call.
void awaitReturn(TracedProcess& process, uint64_t number) {
  for (;; process.goOn()) {
    auto call = process.awaitCall();
    if (!call.entered && call.number == number) return;
  }
}

class WatchdogTest : public ServerTest {
 protected:
  void SetUp() override { start(); }

  void TearDown() override {
    if (stopped > 0) kill(stopped, SIGCONT);
    ServerTest::TearDown();
  }

  std::string createStopped(TestClient& client) {
    std::string handle = client.create();
    stopFirstProcess(handle);
    return handle;
  }

  void stopFirstProcess(const std::string& id) {
    stopped = server().wshdPid(id);
    ASSERT_EQ(kill(stopped, SIGSTOP), 0);
  }

  void goOn() {
    kill(stopped, SIGCONT);
    stopped = -1;
  }

  bool saysSo(TestClient& client, const std::string& handle, const char* event = SILENT) {
    return waitUntil([&]() { return hasEvent(client.info(handle), event); }, seconds(30));
  }

  LinkResponse linkWhenKnown(TestClient& client, const std::string& handle, uint32_t job) {
    LinkResponse answer;
    EXPECT_TRUE(waitUntil([&]() {
      client.send(linkRequest(handle, job));
      auto frame = client.receiveFrame();
      return frame.type == Message::Link && answer.ParseFromString(frame.payload);
    }));
    return answer;
  }

  static void expectSilence(const std::string& message) {
    EXPECT_NE(message.find("(wshd) does not answer"), std::string::npos) << message;
    EXPECT_NE(message.find("destroy the container"), std::string::npos) << message;
  }

  pid_t stopped = -1;
};

TEST_F(WatchdogTest, aRequestThatWaitsFailsAndTheContainerIsServedAgainLater) {
  TestClient client = connect();
  std::string handle = createStopped(client);
  expectSilence(client.expectError(spawnRequest(handle, "echo never")));
  EXPECT_TRUE(hasEvent(client.info(handle), SILENT));
  EXPECT_NE(server().logs().find("its first process does not answer"), std::string::npos);
  // Known by now: nobody waits for it again.
  auto since = std::chrono::steady_clock::now();
  expectSilence(client.expectError(runRequest(handle, "echo never")));
  EXPECT_LT(std::chrono::steady_clock::now() - since, patient(seconds(3)));
  EXPECT_EQ(client.info(handle).state(), "active");
  EXPECT_EQ(client.output(client.create(), "echo fine"), "fine\n");

  goOn();
  EXPECT_TRUE(saysSo(client, handle, AGAIN));
  EXPECT_EQ(client.output(handle, "echo again"), "again\n");
  // What failed was not started after all, or not left to run.
  EXPECT_TRUE(waitUntil([&]() { return client.info(handle).job_ids_size() == 0; }));
}

TEST_F(WatchdogTest, linkAndStreamFailAndTheJobIsLinkedLater) {
  TestClient client = connect(), linker = connect(), streamer = connect();
  std::string handle = client.create();
  uint32_t job = client.spawn(handle, "echo early; sleep 2; echo late; exit 7");
  linker.send(linkRequest(handle, job));
  streamer.startStream(handle, job);
  stopFirstProcess(handle);
  // Nobody asks wshd for anything: the server does.
  linker.setTimeout(seconds(60));
  expectSilence(linker.receiveError());
  EXPECT_TRUE(saysSo(client, handle));
  goOn();
  EXPECT_TRUE(saysSo(client, handle, AGAIN));
  auto answer = client.link(handle, job);
  EXPECT_EQ(answer.exit_status(), 7u);
  EXPECT_EQ(answer.stdout(), "early\nlate\n");
}

TEST_F(WatchdogTest, stopFailsAndHappensWhenItAnswers) {
  TestClient client = connect();
  std::string handle = client.create();
  uint32_t job = client.spawn(handle, "sleep 1000");
  stopFirstProcess(handle);
  expectSilence(client.expectError(stopRequest(handle)));
  EXPECT_EQ(client.info(handle).state(), "stopped");
  EXPECT_EQ(client.info(handle).job_ids_size(), 1);
  goOn();
  EXPECT_TRUE(saysSo(client, handle, AGAIN));
  EXPECT_EQ(client.link(handle, job).exit_status(), 255u);
}

TEST_F(WatchdogTest, oneThatDoesNotAnswerIsDestroyed) {
  TestClient client = connect();
  std::string handle = client.create();
  client.spawn(handle, "sleep 1000");
  stopFirstProcess(handle);
  client.destroy(handle);
  stopped = -1;
  EXPECT_TRUE(client.list().empty());

  // And when it is known.
  handle = createStopped(client);
  expectSilence(client.expectError(runRequest(handle, "true")));
  client.destroy(handle);
  stopped = -1;
}

TEST_F(WatchdogTest, aFrontendThatStartsMeanwhileServesTheOthersAndItsJobsLater) {
  TestClient client = connect();
  std::string handle = client.create();
  std::string other = client.create();
  uint32_t job = client.spawn(handle, "echo early; sleep 1; echo late; exit 7");
  uint32_t another = client.spawn(other, "sleep 1; exit 8");
  stopFirstProcess(handle);
  server().replaceFrontend();
  TestClient later = connect();
  EXPECT_EQ(later.link(other, another).exit_status(), 8u);
  expectSilence(later.expectError(linkRequest(handle, job)));
  expectSilence(later.expectError(runRequest(handle, "true")));
  EXPECT_TRUE(saysSo(later, handle));
  EXPECT_EQ(later.info(handle).state(), "active");
  goOn();
  EXPECT_TRUE(saysSo(later, handle, AGAIN));
  auto answer = linkWhenKnown(later, handle, job);
  EXPECT_EQ(answer.exit_status(), 7u);
  EXPECT_EQ(answer.stdout(), "early\nlate\n");
  EXPECT_EQ(later.output(handle, "echo again"), "again\n");
}

TEST_F(WatchdogTest, oneThatFallsSilentWhileItsJobsAreTakenOverLosesNone) {
  std::string handle, other;
  uint32_t running, ended;
  {
    TestClient client = connect();
    handle = client.create();
    other = client.create();
    running = client.spawn(handle, "echo early; sleep 1; echo late; exit 7");
    ended = client.spawn(handle, "echo done; exit 8");
    client.output(handle, "sleep 0.2");  // it has ended by now
  }
  // It says which jobs it has, and no more.
  TracedProcess wshd(server().wshdPid(handle));
  kill(server().frontendPid(), SIGKILL);
  awaitPacket(wshd);
  server().waitUntilServing();
  TestClient later = connect();
  EXPECT_EQ(later.output(other, "echo fine"), "fine\n");
  expectSilence(later.expectError(linkRequest(handle, running)));
  EXPECT_TRUE(saysSo(later, handle));
  wshd.letGo();
  auto answer = linkWhenKnown(later, handle, running);
  EXPECT_EQ(answer.exit_status(), 7u);
  EXPECT_EQ(answer.stdout(), "early\nlate\n");
  answer = later.link(handle, ended);
  EXPECT_EQ(answer.exit_status(), 8u);
  EXPECT_EQ(answer.stdout(), "done\n");
}

TEST_F(WatchdogTest, oneWhoseJobIsKilledForMemoryAsItIsTakenOverLosesNone) {
  std::string handle;
  uint32_t victim, ended;
  {
    TestClient client = connect();
    handle = client.create();
    limitMemory(client, handle, 32 * MIB);
    ended = client.spawn(handle, "echo done; exit 8");
    client.output(handle, "sleep 0.2");  // it has ended by now
    victim = client.spawn(handle, "echo begun; sleep 1; exec tail < /dev/zero");
  }
  pid_t process = server().wshdPid(handle);
  std::string children =
      "/proc/" + std::to_string(process) + "/task/" + std::to_string(process) + "/children";
  TracedProcess wshd(process);
  kill(server().frontendPid(), SIGKILL);
  // It has a new frontend, which it tells of ends from now on, and has read nothing of it yet.
  awaitReturn(wshd, SYS_accept4);
  pid_t frontend = server().frontendPid();
  kill(frontend, SIGSTOP);
  EXPECT_TRUE(
      waitUntil([&]() { return statusField(std::stoi(readFile(children)), "State")[0] == 'Z'; }));
  wshd.letGo();
  EXPECT_TRUE(waitUntil([&]() { return readFile(children).empty(); }));
  kill(frontend, SIGCONT);
  server().waitUntilServing();
  TestClient later = connect();
  auto answer = later.link(handle, ended);
  EXPECT_EQ(answer.exit_status(), 8u);
  EXPECT_EQ(answer.stdout(), "done\n");
  answer = later.link(handle, victim);
  EXPECT_EQ(answer.exit_status(), 255u);
  EXPECT_EQ(answer.stdout(), "begun\n");
  auto info = later.info(handle);
  EXPECT_EQ(info.state(), "stopped");
  ASSERT_EQ(info.events_size(), 1);
  EXPECT_EQ(info.events(0), "out of memory");
}

TEST_F(WatchdogTest, aBusyContainerAnswers) {
  TestClient client = connect();
  std::string handle = client.create();
  // Longer than the watchdog's patience, with a request of every kind that goes to wshd.
  uint32_t job = client.spawn(handle, "sleep 12");
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(client.output(handle, "sleep 1; echo " + std::to_string(i)),
              std::to_string(i) + "\n");
  }
  EXPECT_EQ(client.link(handle, job).exit_status(), 0u);
  EXPECT_FALSE(hasEvent(client.info(handle), SILENT));
}

}  // namespace
}  // namespace warden::test
