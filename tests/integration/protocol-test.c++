// What the socket accepts and how it answers, whatever the request: framing, order, errors.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "tests/support/server-test.h"

namespace warden::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class ProtocolTest : public ServerTest {};

TEST_F(ProtocolTest, answersPing) {
  start();
  TestClient client = connect();
  client.ping();
  client.ping();
}

TEST_F(ProtocolTest, echoesAnyBytes) {
  start();
  TestClient client = connect();
  std::string all;
  for (int i = 0; i < 256; ++i)
    all += static_cast<char>(i);
  for (const std::string& message : {std::string(), std::string("\xff\xfe\r\n\0x", 6), all}) {
    EXPECT_EQ(client.call(echoRequest(message)).message(), message);
  }
}

TEST_F(ProtocolTest, echoesAMessageOfHalfAMebibyte) {
  start();
  std::string message(512 * 1024, 'x');
  EXPECT_EQ(connect().call(echoRequest(message)).message(), message);
}

TEST_F(ProtocolTest, listsNothingAtFirst) {
  start();
  EXPECT_TRUE(connect().list().empty());
}

TEST_F(ProtocolTest, answersPipelinedRequestsInOrder) {
  start();
  TestClient client = connect();
  std::string all;
  for (int i = 0; i < 200; ++i) {
    all += frame(Message::Echo, echoRequest(std::to_string(i)).SerializeAsString());
  }
  client.sendRaw(all);
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(client.receive<EchoResponse>().message(), std::to_string(i));
  }
}

TEST_F(ProtocolTest, answersPipelinedRequestsInOrderWhenTheFirstTakesLong) {
  start();
  TestClient client = connect();
  client.send(createRequest("slow"));
  client.send(runRequest("slow", "sleep 0.3; echo done"));
  client.send(echoRequest("last"));
  EXPECT_EQ(client.receive<CreateResponse>().handle(), "slow");
  EXPECT_EQ(client.receive<RunResponse>().stdout(), "done\n");
  EXPECT_EQ(client.receive<EchoResponse>().message(), "last");
}

TEST_F(ProtocolTest, servesOtherConnectionsWhileOneWaits) {
  start();
  TestClient waiting = connect();
  waiting.create("waiting");
  waiting.send(runRequest("waiting", "sleep 1"));
  TestClient other = connect();
  for (int i = 0; i < 50; ++i)
    other.ping();
  EXPECT_FALSE(waiting.hasInput(milliseconds(0)));
  EXPECT_EQ(waiting.receive<RunResponse>().exit_status(), 0u);
}

TEST_F(ProtocolTest, takesAFrameThatArrivesByteByByte) {
  start();
  TestClient client = connect();
  for (char byte : frame(Message::Echo, echoRequest("slowly").SerializeAsString())) {
    client.sendRaw(std::string(1, byte));
  }
  EXPECT_EQ(client.receive<EchoResponse>().message(), "slowly");
}

TEST_F(ProtocolTest, answersWhatCameBeforeTheClientsEndOfStream) {
  start();
  TestClient client = connect();
  client.send(echoRequest("a"));
  client.send(echoRequest("b"));
  client.shutdownWriting();
  EXPECT_EQ(client.receive<EchoResponse>().message(), "a");
  EXPECT_EQ(client.receive<EchoResponse>().message(), "b");
  EXPECT_TRUE(client.closedByServer(seconds(5)));
}

TEST_F(ProtocolTest, keepsTheConnectionOpenAfterAFailedRequest) {
  start();
  TestClient client = connect();
  EXPECT_EQ(client.expectError(infoRequest("nobody")), "unknown handle");
  EXPECT_EQ(client.expectError(infoRequest("nobody")), "unknown handle");
  client.ping();
}

TEST_F(ProtocolTest, createsTheSocketWithTheConfiguredMode) {
  startWith({{"server.unix_domain_permissions", "0640"}});
  struct stat s;
  ASSERT_EQ(stat(server().socketPath().c_str(), &s), 0);
  EXPECT_TRUE(S_ISSOCK(s.st_mode));
  EXPECT_EQ(s.st_mode & 07777, 0640u);
}

TEST_F(ProtocolTest, writesAPidfileOfTheStartedProcessAndRemovesItAtTheEnd) {
  ServerOptions options;
  std::string pidfile =
      testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + ".pid";
  options.config["server.pidfile"] = pidfile;
  start(options);
  EXPECT_EQ(std::stoi(readFile(pidfile)), server().brokerPid());
  expectCleanStop(server());
  EXPECT_FALSE(tryReadFile(pidfile).has_value());
  unlink(pidfile.c_str());
}

TEST_F(ProtocolTest, stopsCleanlyOnEachSignalAndLeavesContainersAndJobs) {
  for (int signal : {SIGTERM, SIGINT, SIGUSR2}) {
    start();
    TestClient client = connect();
    client.create("left");
    client.spawn("left", "trap '' TERM; sleep 1000");
    client.spawn("left", "sleep 1000", true);
    SCOPED_TRACE(signal);
    pid_t wshd = server().wshdPid(idOf("left"));
    EXPECT_EQ(server().stop(signal), 0) << server().logs();
    EXPECT_TRUE(server().helperPids().empty());
    EXPECT_TRUE(isAlive(wshd));
    server().start();
    destroyAll(server());
    expectCleanStop(server(), signal);
  }
}

TEST_F(ProtocolTest, stopsCleanlyWhenTheWholeProcessGroupIsSignalled) {
  start();
  ASSERT_EQ(kill(-server().brokerPid(), SIGTERM), 0);
  EXPECT_EQ(server().waitForExit(), 0) << server().logs();
  expectNothingRemains(server());
}

// --- frames that cannot be decoded

struct BadFrame {
  const char* name;
  std::string bytes;
};

class UndecodableFrameTest : public ServerTest, public ::testing::WithParamInterface<BadFrame> {};

std::string missingField() {
  // A Link without its required job_id.
  InfoRequest onlyAHandle = infoRequest("x");
  return frame(Message::Link, onlyAHandle.SerializeAsString());
}

INSTANTIATE_TEST_SUITE_P(
    All, UndecodableFrameTest,
    ::testing::Values(BadFrame{"negativeLength", "-5\r\nhello\r\n"},
                      BadFrame{"hexLength", "0x10\r\n"}, BadFrame{"hugeLength", "99999999999\r\n"},
                      BadFrame{"lengthThatOverflows64Bits", "99999999999999999999999999\r\n"},
                      BadFrame{"lengthOverTheLimit", "1048577\r\n"},
                      BadFrame{"lengthWithPlus", "+4\r\n"}, BadFrame{"lengthWithBlank", " 4\r\n"},
                      BadFrame{"emptyLength", "\r\n"},
                      BadFrame{"lengthWithoutEnd", std::string(4096, '1')},
                      BadFrame{"lineFeedOnly", std::string("4\n\b\x5b\x12\0\r\n", 8)},
                      BadFrame{"noCrlfBehindThePayload", std::string("4\r\n\b\x5b\x12\0XX", 9)},
                      BadFrame{"emptyMessage", "0\r\n\r\n"},
                      BadFrame{"garbage", "\xde\xad\xbe\xef\x01\x02\x03\r\n"},
                      BadFrame{"textOfAnotherProtocol", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
                      BadFrame{"garbageAsMessage", "6\r\n\xff\xff\xff\xff\xff\xff\r\n"},
                      BadFrame{"unknownType", std::string("4\r\n\b\x63\x12\0\r\n", 9)},
                      BadFrame{"noType", std::string("2\r\n\x12\0\r\n", 7)},
                      BadFrame{"noPayload", "2\r\n\b\x5b\r\n"},
                      BadFrame{"missingField", missingField()},
                      BadFrame{"undecodableRequest", frame(Message::Echo, "\xff\xff\xff")}),
    [](const auto& info) { return info.param.name; });

TEST_P(UndecodableFrameTest, closesItsConnectionAfterWhatCameBeforeIsAnswered) {
  start();
  TestClient other = connect();
  TestClient client = connect();
  client.sendRaw(frame(Message::Echo, echoRequest("before").SerializeAsString()) +
                 GetParam().bytes);
  EXPECT_EQ(client.receive<EchoResponse>().message(), "before");
  // An Error may come first; the end must.
  try {
    client.setTimeout(seconds(5));
    for (;;)
      client.receiveError();
  } catch (const ConnectionClosed&) {
  }
  other.ping();
}

TEST_F(ProtocolTest, closesAConnectionThatEndsInTheMiddleOfAFrame) {
  start();
  TestClient client = connect();
  client.sendRaw("100\r\nabc");
  client.shutdownWriting();
  EXPECT_TRUE(client.closedByServer(seconds(5)));
  connect().ping();
}

}  // namespace
}  // namespace warden::test
