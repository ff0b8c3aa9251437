// What jobs print: Stream, the output limit, discard_output, size and bytes.

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "tests/support/server-test.h"

namespace warden::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class JobOutputTest : public ServerTest {
 protected:
  bool hasEvent(const std::string& handle, const std::string& event) {
    InfoResponse info = connect().info(handle);
    return std::count(info.events().begin(), info.events().end(), event) > 0;
  }
};

constexpr char OVER_LIMIT[] = "command exceeded maximum output";

// The bytes 0..255 over and over, in octal escapes that every shell's printf knows.
constexpr char ALL_BYTES[] =
    "i=0; while test $i -lt 256; do printf \"\\\\$(printf %o $i)\"; i=$((i+1)); done";

std::string allBytes() {
  std::string bytes;
  for (int i = 0; i < 256; ++i)
    bytes += static_cast<char>(i);
  return bytes;
}

// --- Stream

TEST_F(JobOutputTest, streamsBothOutputsAndEndsWithStatusAndInfo) {
  start();
  TestClient client = connect();
  client.create("c");
  uint32_t job = client.spawn("c", "echo one; echo two >&2; sleep 0.2; echo three; exit 8");
  JobOutput output = client.stream("c", job);
  EXPECT_EQ(output.out, "one\nthree\n");
  EXPECT_EQ(output.err, "two\n");
  EXPECT_EQ(output.exitStatus, 8u);
  EXPECT_FALSE(output.lastCarriedData);
  ASSERT_TRUE(output.info.has_value());
  EXPECT_EQ(output.info->state(), "active");
}

TEST_F(JobOutputTest, streamsAsItComes) {
  start();
  TestClient client = connect();
  client.create("c");
  uint32_t job = client.spawn("c", "echo first; sleep 1000");
  client.startStream("c", job);
  client.setTimeout(seconds(5));
  EXPECT_EQ(client.receive<StreamResponse>().data(), "first\n");
}

TEST_F(JobOutputTest, streamsWhatCameBeforeTheRequestFirst) {
  start();
  TestClient client = connect();
  client.create("c");
  uint32_t job = client.spawn("c", "echo early; touch /tmp/printed; sleep 1; echo late");
  ASSERT_TRUE(
      waitUntil([&]() { return client.run("c", "test -e /tmp/printed").exit_status() == 0; }));
  EXPECT_EQ(client.stream("c", job).out, "early\nlate\n");
}

TEST_F(JobOutputTest, streamsAJobThatHasEnded) {
  start();
  TestClient client = connect();
  client.create("c");
  uint32_t job = client.spawn("c", "echo out; echo err >&2; exit 3");
  ASSERT_TRUE(waitUntil([&]() { return client.info("c").job_ids_size() == 0; }));
  JobOutput output = client.stream("c", job);
  EXPECT_EQ(output.out, "out\n");
  EXPECT_EQ(output.err, "err\n");
  EXPECT_EQ(output.exitStatus, 3u);
}

TEST_F(JobOutputTest, streamsAllOfItToEachOfSeveralClients) {
  start();
  TestClient client = connect();
  client.create("c");
  uint32_t job =
      client.spawn("c", "for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.1; done; exit 2");
  std::vector<TestClient> streamers;
  for (int i = 0; i < 5; ++i) {
    streamers.push_back(connect());
    streamers.back().startStream("c", job);
    std::this_thread::sleep_for(milliseconds(100));
  }
  for (auto& streamer : streamers) {
    JobOutput output = streamer.finishStream();
    EXPECT_EQ(output.out, "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    EXPECT_EQ(output.exitStatus, 2u);
  }
}

TEST_F(JobOutputTest, staysWholeWhenItsStreamerLeaves) {
  start();
  TestClient client = connect();
  client.create("c");
  uint32_t job = client.spawn("c", "echo one; sleep 0.6; echo two; exit 5");
  {
    TestClient leaving = connect();
    leaving.startStream("c", job);
    EXPECT_EQ(leaving.receive<StreamResponse>().data(), "one\n");
  }
  JobOutput output = client.stream("c", job);
  EXPECT_EQ(output.out, "one\ntwo\n");
  EXPECT_EQ(output.exitStatus, 5u);
}

TEST_F(JobOutputTest, isUnknownForAJobThatDoesNotExist) {
  start();
  TestClient client = connect();
  client.create("c");
  StreamRequest request;
  request.set_handle("c");
  request.set_job_id(12345);
  EXPECT_EQ(client.expectError(request), "no such job");
}

TEST_F(JobOutputTest, servesLinkersAndStreamersOfOneJobTogether) {
  start();
  TestClient client = connect();
  client.create("c");
  uint32_t job = client.spawn("c", "echo x; sleep 0.5; echo y; exit 1");
  TestClient linker = connect();
  linker.send(linkRequest("c", job));
  TestClient streamer = connect();
  streamer.startStream("c", job);
  auto response = linker.receive<LinkResponse>();
  EXPECT_EQ(response.stdout(), "x\ny\n");
  EXPECT_EQ(streamer.finishStream().out, "x\ny\n");
}

// --- bytes and size

TEST_F(JobOutputTest, carriesAnyBytes) {
  start();
  TestClient client = connect();
  client.create("büro-日本");
  auto response = client.run("büro-日本", std::string(ALL_BYTES) + "; (" + ALL_BYTES + ") >&2");
  EXPECT_EQ(response.stdout(), allBytes());
  EXPECT_EQ(response.stderr(), allBytes());
  uint32_t job = client.spawn("büro-日本", ALL_BYTES);
  EXPECT_EQ(client.stream("büro-日本", job).out, allBytes());
}

// Writes 64 MiB that do not repeat for long: a counter in eight digits a line.
constexpr char LONG_OUTPUT[] = "seq -w 10000001 17456541 | head -c 67108864";

std::string longOutput() {
  std::string expected;
  expected.reserve(67108864 + 16);
  for (uint32_t n = 10000001; expected.size() < 67108864; ++n) {
    expected += std::to_string(n);
    expected += '\n';
  }
  expected.resize(67108864);
  return expected;
}

TEST_F(JobOutputTest, streams64MebibytesBitForBit) {
  startWith({{"server.job_output_limit", "268435456"}});
  TestClient client = connect();
  client.create("c");
  uint32_t job = client.spawn("c", LONG_OUTPUT);
  JobOutput output = client.stream("c", job);
  EXPECT_EQ(output.exitStatus, 0u);
  EXPECT_EQ(output.out.size(), 67108864u);
  EXPECT_TRUE(output.out == longOutput());
  EXPECT_EQ(output.err, "");
}

TEST_F(JobOutputTest, linksAnOutputOf64MebibytesBitForBitInBoundedMemory) {
  startWith({{"server.job_output_limit", "268435456"}});
  TestClient client = connect();
  client.create("c");
  auto response = client.run("c", LONG_OUTPUT);
  EXPECT_EQ(response.exit_status(), 0u);
  EXPECT_TRUE(response.stdout() == longOutput());
  long peak = std::stol(statusField(server().frontendPid(), "VmHWM"));
  RecordProperty("frontend_peak_kib", static_cast<int>(peak));
  EXPECT_LT(peak, 64 * 1024) << "KiB; the output alone is 65536";
}

TEST_F(JobOutputTest, streamsToASlowClientWithoutHoldingUpAnother) {
  startWith({{"server.job_output_limit", "268435456"}});
  TestClient client = connect();
  client.create("c");
  uint32_t job = client.spawn("c", LONG_OUTPUT);
  TestClient slow = connect();
  slow.startStream("c", job);
  JobOutput output = client.stream("c", job);
  EXPECT_EQ(output.out.size(), 67108864u);
  EXPECT_EQ(slow.finishStream().out.size(), 67108864u);
}

// --- the output limit

TEST_F(JobOutputTest, endsAJobThatIsOverTheLimit) {
  startWith({{"server.job_output_limit", "100000"}});
  TestClient client = connect();
  client.create("c");
  auto response = client.run("c", "yes | head -c 10000000; sleep 1000");
  EXPECT_EQ(response.exit_status(), 255u);
  EXPECT_GE(response.stdout().size(), 100000u);
  EXPECT_LT(response.stdout().size(), 1000000u);
  EXPECT_TRUE(hasEvent("c", OVER_LIMIT));
  EXPECT_EQ(client.info("c").state(), "active");
  EXPECT_EQ(client.output("c", "echo fine"), "fine\n");
}

TEST_F(JobOutputTest, countsBothOutputsTogether) {
  startWith({{"server.job_output_limit", "100000"}});
  TestClient client = connect();
  client.create("c");
  EXPECT_EQ(client.run("c", "yes | head -c 60000").exit_status(), 0u);
  EXPECT_EQ(client.run("c", "yes | head -c 60000 >&2").exit_status(), 0u);
  EXPECT_FALSE(hasEvent("c", OVER_LIMIT));
  auto response = client.run("c", "yes | head -c 60000; yes | head -c 60000 >&2; sleep 1000");
  EXPECT_EQ(response.exit_status(), 255u);
  EXPECT_TRUE(hasEvent("c", OVER_LIMIT));
}

TEST_F(JobOutputTest, allowsExactlyTheLimit) {
  startWith({{"server.job_output_limit", "100000"}});
  TestClient client = connect();
  client.create("c");
  auto response = client.run("c", "yes | head -c 100000; sleep 0.2; exit 3");
  EXPECT_EQ(response.exit_status(), 3u);
  EXPECT_EQ(response.stdout().size(), 100000u);
  EXPECT_FALSE(hasEvent("c", OVER_LIMIT));
}

TEST_F(JobOutputTest, endsAStreamedJobThatIsOverTheLimit) {
  startWith({{"server.job_output_limit", "100000"}});
  TestClient client = connect();
  client.create("c");
  uint32_t job = client.spawn("c", "trap '' TERM PIPE; yes | head -c 10000000; sleep 1000");
  JobOutput output = client.stream("c", job);
  EXPECT_EQ(output.exitStatus, 255u);
  EXPECT_GE(output.out.size(), 100000u);
}

TEST_F(JobOutputTest, keepsAndLimitsNothingWithDiscardOutput) {
  startWith({{"server.job_output_limit", "100000"}});
  TestClient client = connect();
  client.create("c");
  auto run = runRequest("c", "yes | head -c 3000000; yes | head -c 3000000 >&2; exit 4");
  run.set_discard_output(true);
  auto response = client.call(run);
  EXPECT_EQ(response.exit_status(), 4u);
  EXPECT_EQ(response.stdout(), "");
  EXPECT_EQ(response.stderr(), "");
  auto spawn = spawnRequest("c", "yes | head -c 3000000; exit 5");
  spawn.set_discard_output(true);
  JobOutput output = client.stream("c", client.call(spawn).job_id());
  EXPECT_EQ(output.exitStatus, 5u);
  EXPECT_EQ(output.out, "");
  EXPECT_FALSE(hasEvent("c", OVER_LIMIT));
}

TEST_F(JobOutputTest, givesItsRoomOnDiskFreeWhenLinked) {
  startWith({{"server.job_output_limit", "268435456"}});
  TestClient client = connect();
  std::string id = client.create();
  client.run(id, LONG_OUTPUT);
  auto used = [&]() {
    auto result = runProgram({"/usr/bin/du", "-sk", server().depotPath() + "/" + id + "/state"});
    return std::stol(result.out);
  };
  EXPECT_TRUE(waitUntil([&]() { return used() < 1024; })) << used() << " KiB";
}

}  // namespace
}  // namespace warden::test
