// Requests, events and connections.

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>

#include "tests/unit/wshd-harness.h"

namespace warden::test {
namespace {

class WshdProtocolTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!canRunWshd()) GTEST_SKIP() << "needs root";
    wshd = std::make_unique<Wshd>();
  }
  void TearDown() override {
    if (wshd != nullptr) {
      EXPECT_TRUE(wshd->isAlive());
    }
  }
  Frontend& frontend() { return wshd->frontend; }
  std::unique_ptr<Wshd> wshd;
};

bool isClosed(int socket) {
  char byte;
  return recv(socket, &byte, 1, 0) <= 0;
}

TEST_F(WshdProtocolTest, answersPing) {
  EXPECT_EQ(frontend().ping().which, schema::WshdMessage::DONE);
}

TEST_F(WshdProtocolTest, refusesAJobIdInUse) {
  ASSERT_EQ(frontend().spawn({.script = "sleep 100"}).which, schema::WshdMessage::SPAWNED);
  Message refused = frontend().spawn({.script = "true"});
  EXPECT_EQ(refused.which, schema::WshdMessage::FAILED);
  EXPECT_EQ(refused.error, EEXIST);
}

TEST_F(WshdProtocolTest, startsNoPrivilegedJobWhereItIsTold) {
  Wshd strict(Root::HOST, "--no-privileged-jobs");
  for (const JobSpec& spec :
       {asRoot({.script = "id"}), JobSpec{.script = "id", .privileged = true},
        JobSpec{.script = "id", .uid = 0}, JobSpec{.script = "id", .groups = {TEST_USER, 0}}}) {
    Message refused = strict.frontend.spawn(spec);
    EXPECT_EQ(refused.which, schema::WshdMessage::FAILED);
    EXPECT_EQ(refused.error, EPERM);
  }
  EXPECT_EQ(strict.run({.script = "echo ok"}).output, "ok\n");
}

TEST_F(WshdProtocolTest, refusesAScriptThatIsNoFile) {
  capnp::MallocMessageBuilder builder;
  auto request = builder.initRoot<schema::WshdRequest>();
  request.setSequence(1);
  request.initSpawn().setHome(kj::StringPtr("/").asBytes());
  sendPacket(frontend().socket(), builder);
  EXPECT_EQ(frontend().receive().error, EBADF);
  Pipe pipe = makePipe();
  int fds[] = {pipe.readEnd};
  sendPacket(frontend().socket(), builder, fds);
  EXPECT_EQ(frontend().receive().step, "check the script's descriptor");
}

TEST_F(WshdProtocolTest, signalsTheProcessGroupOfOneJob) {
  Message first = frontend().spawn({.script = "sleep 1000 & wait", .jobId = 1});
  frontend().spawn({.script = "sleep 1000", .jobId = 2});
  EXPECT_EQ(frontend().signalJob(1, SIGTERM).which, schema::WshdMessage::DONE);
  JobEnd end = frontend().awaitEnd(1);
  EXPECT_EQ(end.which, schema::Job::SIGNAL);
  EXPECT_EQ(end.value, SIGTERM);
  EXPECT_EQ(readToEnd(first.output), "");  // the sleep is gone, too
  EXPECT_EQ(frontend().signalJob(1, SIGTERM).which, schema::WshdMessage::DONE);
  EXPECT_EQ(frontend().signalJob(99, SIGTERM).which, schema::WshdMessage::DONE);
  EXPECT_EQ(frontend().signalJob(2, 0).error, EINVAL);
  EXPECT_EQ(frontend().list().jobs[1].which, schema::Job::RUNNING);
}

TEST_F(WshdProtocolTest, signalsEveryProcessButItself) {
  EXPECT_EQ(frontend().signalAll(SIGTERM).error, ESRCH);  // there is none
  Message other = frontend().spawn({.script = "setsid sleep 1000", .jobId = 1});
  Message root = frontend().spawn(asRoot({.script = "setsid sleep 1000", .jobId = 2}));
  EXPECT_EQ(frontend().signalAll(SIGKILL).which, schema::WshdMessage::DONE);
  EXPECT_EQ(frontend().awaitEnd(1).value, SIGKILL);
  EXPECT_EQ(frontend().awaitEnd(2).value, SIGKILL);
  EXPECT_EQ(readToEnd(other.output), "");
  EXPECT_EQ(readToEnd(root.output), "");
  EXPECT_EQ(frontend().signalAll(65).error, EINVAL);
}

TEST_F(WshdProtocolTest, listsJobsUntilTheyAreForgotten) {
  frontend().spawn({.script = "exit 3", .jobId = 10});
  frontend().spawn({.script = "sleep 1000", .jobId = 11});
  frontend().awaitEnd(10);
  auto jobs = frontend().list().jobs;
  ASSERT_EQ(jobs.size(), 2u);
  EXPECT_EQ(jobs[0].jobId, 10u);
  EXPECT_EQ(jobs[0].value, 3);
  EXPECT_EQ(jobs[1].which, schema::Job::RUNNING);
  EXPECT_EQ(frontend().forget(10).which, schema::WshdMessage::DONE);
  EXPECT_EQ(frontend().forget(10).which, schema::WshdMessage::DONE);
  EXPECT_EQ(frontend().list().jobs.size(), 1u);
  EXPECT_EQ(frontend().attach(10).error, ESRCH);
}

TEST_F(WshdProtocolTest, keepsOutputForAFrontendThatComesBack) {
  frontend().spawn({.script = "echo before; read x < /dev/zero"});
  frontend().replace(wshd->connect());
  Message attached = frontend().attach(1);
  ASSERT_EQ(attached.which, schema::WshdMessage::SPAWNED);
  char text[8] = {};
  EXPECT_EQ(read(attached.output, text, 7), 7);
  EXPECT_STREQ(text, "before\n");
}

TEST_F(WshdProtocolTest, tellsANewConnectionOfLaterEndsOnlyByEvent) {
  frontend().spawn({.script = "exit 4", .jobId = 1});
  frontend().spawn({.script = "sleep 0.3; exit 5", .jobId = 2});
  frontend().awaitEnd(1);
  frontend().replace(wshd->connect());
  auto jobs = frontend().list().jobs;
  ASSERT_EQ(jobs.size(), 2u);
  EXPECT_EQ(jobs[0].value, 4);
  Message event = frontend().receive();
  ASSERT_EQ(event.which, schema::WshdMessage::EXITED);
  EXPECT_EQ(event.jobs[0].jobId, 2u);
  EXPECT_EQ(event.jobs[0].value, 5);
}

TEST_F(WshdProtocolTest, endsTheOldConnectionWhenANewOneComes) {
  Frontend next(wshd->connect());
  EXPECT_EQ(next.ping().which, schema::WshdMessage::DONE);
  EXPECT_TRUE(isClosed(frontend().socket()));
}

TEST_F(WshdProtocolTest, runsOnWhileNoFrontendIsThere) {
  frontend().spawn({.script = "sleep 0.2; exit 6"});
  frontend().replace(Fd());
  usleep(400'000);
  frontend().replace(wshd->connect());
  auto jobs = frontend().list().jobs;
  ASSERT_EQ(jobs.size(), 1u);
  EXPECT_EQ(jobs[0].value, 6);
}

TEST_F(WshdProtocolTest, dropsTheConnectionForMalformedPackets) {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    std::string bytes(1 + random() % 300, '\0');
    for (char& byte : bytes)
      byte = static_cast<char>(random());
    // A frame header that is plausible reaches deeper.
    if (i % 2 == 0 && bytes.size() >= 16) {
      bytes.resize(bytes.size() & ~size_t{7});
      uint32_t header[2] = {0, static_cast<uint32_t>(bytes.size() / 8 - 1)};
      memcpy(bytes.data(), header, sizeof(header));
    }
    ASSERT_EQ(send(frontend().socket(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
    frontend().replace(wshd->connect());
    ASSERT_EQ(frontend().ping().which, schema::WshdMessage::DONE);
  }
}

TEST_F(WshdProtocolTest, forgetsWithoutAnAnswerWhenThereIsNoSequence) {
  frontend().spawn({.script = "exit 3", .jobId = 10});
  frontend().awaitEnd(10);
  frontend().sendForget(0, 10);
  frontend().sendForget(0, 10);
  EXPECT_EQ(frontend().list().jobs.size(), 0u);  // the next that comes answers this one
}

TEST_F(WshdProtocolTest, saysInAReplyThatMayWaitHowTheJobEnded) {
  for (int i = 0; i < 20; ++i) {
    Message started = frontend().spawn({.script = "exit 3", .jobId = 10, .replyMayWait = true});
    ASSERT_EQ(started.which, schema::WshdMessage::SPAWNED);
    EXPECT_EQ(frontend().awaitEnd(10).value, 3);
    // Said once: no event comes after it.
    frontend().sendPing(77);
    EXPECT_EQ(frontend().receive().sequence, 77u);
    frontend().forget(10);
  }
}

TEST_F(WshdProtocolTest, sendsPipesOfAnEndedJobWhereTheyHoldOutputOnly) {
  for (const char* script : {"true", "echo text", "echo text >&2"}) {
    // Often enough to see both: an end in the reply, and a reply that comes first.
    for (int i = 0; i < 20; ++i) {
      auto started = frontend().spawn({.script = script, .jobId = 10, .replyMayWait = true});
      ASSERT_EQ(started.which, schema::WshdMessage::SPAWNED);
      std::string text;
      if (started.output != nullptr) text = readToEnd(started.output) + readToEnd(started.errors);
      EXPECT_EQ(text, std::string(script) == "true" ? "" : "text\n");
      EXPECT_EQ(frontend().awaitEnd(10).value, 0);
      frontend().forget(10);
    }
  }
}

TEST_F(WshdProtocolTest, dropsTheConnectionForARequestWithoutSequence) {
  frontend().sendPing(0);
  EXPECT_TRUE(isClosed(frontend().socket()));
  frontend().replace(wshd->connect());
  EXPECT_EQ(frontend().ping().which, schema::WshdMessage::DONE);
}

TEST_F(WshdProtocolTest, stopsReadingForAFrontendThatDoesNotRead) {
  setNonblocking(frontend().socket());
  uint64_t sent = 0;
  // wshd serves until both directions are full, then nothing more is taken.
  for (int idle = 0; idle < 50;) {
    try {
      capnp::MallocMessageBuilder builder;
      auto request = builder.initRoot<schema::WshdRequest>();
      request.setSequence(sent + 1);
      request.setPing();
      if (sendPacket(frontend().socket(), builder)) {
        ++sent;
        idle = 0;
        ASSERT_LT(sent, 100'000u);
        continue;
      }
    } catch (const kj::Exception& e) {
      FAIL() << e.getDescription().cStr();
    }
    ++idle;
    usleep(2000);
  }
  setNonblocking(frontend().socket(), false);
  for (uint64_t i = 1; i <= sent; ++i)
    ASSERT_EQ(frontend().receive().sequence, i);
}

TEST_F(WshdProtocolTest, survivesSignalsOfTheContainersRoot) {
  wshd->run(asRoot({.script = "for s in 1 2 3 6 9 10 12 13 15 19; do kill -$s 1; done"}));
  EXPECT_EQ(frontend().ping().which, schema::WshdMessage::DONE);
}

TEST_F(WshdProtocolTest, startsJobsInBoundedTimeWhileAnotherJobStopsThem) {
  frontend().spawn({.script = "while :; do kill -STOP -1; done", .jobId = 1});
  for (uint32_t id = 2; id < 40; ++id) {
    Message message = frontend().spawn({.script = "true", .jobId = id});
    if (message.which == schema::WshdMessage::SPAWNED) continue;
    EXPECT_EQ(message.step, "start the shell in time");
    EXPECT_EQ(message.error, ETIMEDOUT);
    break;
  }
  EXPECT_EQ(frontend().signalJob(1, SIGKILL).which, schema::WshdMessage::DONE);
  EXPECT_EQ(frontend().awaitEnd(1).value, SIGKILL);
  EXPECT_EQ(wshd->run({.script = "exit 9", .jobId = 100}).exitCode, 9);
}

TEST_F(WshdProtocolTest, servesManyJobsWithoutKeepingAnythingOfThem) {
  for (int i = 0; i < 200; ++i)
    ASSERT_EQ(wshd->run({.script = "exit 0"}).exitCode, 0);
  EXPECT_EQ(frontend().list().jobs.size(), 0u);
  std::string path = "/proc/" + std::to_string(wshd->pid) + "/fd";
  size_t count = 0;
  for (int fd = 0; fd < 64; ++fd) {
    if (access((path + "/" + std::to_string(fd)).c_str(), F_OK) == 0) ++count;
  }
  EXPECT_LE(count, 6u);  // standard ones, two sockets, the signalfd
}

}  // namespace
}  // namespace warden::test
