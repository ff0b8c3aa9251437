// Containers outlive frontend and helper, whichever way these end; and what is not whole goes.

#include "tests/integration/recovery-helper-test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace warden::test {
namespace {

namespace fs = std::filesystem;

constexpr char FIRST[] = "00000000001";
constexpr char SECOND[] = "00000000002";

// --- whatever ends

class EndTest : public RecoveryHelperTest, public ::testing::WithParamInterface<End> {};

TEST_P(EndTest, containersLiveOnWithAllThatTheyHave) {
  pid_t first = create(FIRST, 0), second = create(SECOND, 1);
  mapPort(FIRST, 5000, 80);
  mapPort(FIRST, 5001, 81);
  mapPort(SECOND, 5002, 80);
  allowOut(FIRST, 0x0a000000, 0x0a0000ff);
  allowOut(FIRST, 0x0b000001, 0x0b000007, schema::Protocol::TCP, true);
  allowOut(SECOND, 0, 0xffffffff, schema::Protocol::UDP);
  limitBandwidth(SECOND, 1000000, 50000);
  limitBandwidth(SECOND, 2000000, 60000);
  call(
      [](auto request) {
        auto limit = request.initLimitMemory();
        limit.setId(FIRST);
        limit.setBytes(64 << 20);
      },
      schema::HelperReply::MEMORY_LIMIT);
  call(
      [](auto request) {
        auto limit = request.initLimitCpu();
        limit.setId(FIRST);
        limit.setShares(333);
      },
      schema::HelperReply::CPU_SHARES);
  auto networkBefore = networkObjects(server->network());
  for (int round = 0; round < 2; ++round) {
    restart(GetParam());
    EXPECT_EQ(whole(), (std::vector<std::string>{FIRST, SECOND}));
    EXPECT_TRUE(dying().empty());
    expectAlive(FIRST, first);
    expectAlive(SECOND, second);
    EXPECT_EQ(networkObjects(server->network()), networkBefore);
  }
  auto adopted = helper->adopt(FIRST)->adopted.value();
  EXPECT_EQ(adopted.slot, 0u);
  EXPECT_EQ(adopted.network, 0u);
  EXPECT_EQ(adopted.owner, 0u);
  EXPECT_TRUE(adopted.privilegedJobs);
  EXPECT_EQ(adopted.ports, (std::vector<std::pair<uint16_t, uint16_t>>{{5000, 80}, {5001, 81}}));
  EXPECT_EQ(adopted.rate, 0u);
  adopted = helper->adopt(SECOND)->adopted.value();
  EXPECT_EQ(adopted.network, 1u);
  EXPECT_EQ(adopted.rate, 2000000u);
  EXPECT_EQ(adopted.burst, 60000u);
  auto memory = helper->call([](auto request) { request.initLimitMemory().setId(FIRST); });
  EXPECT_EQ(memory->number, 64u << 20);
  auto shares = helper->call([](auto request) { request.initLimitCpu().setId(FIRST); });
  EXPECT_EQ(shares->number, 333u);

  // What is in use stays in use, and changes go on from where they were.
  auto refused = helper->create("00000000003", 1);
  EXPECT_EQ(refused->which, schema::HelperReply::REFUSED) << refused->text;
  call(
      [](auto request) {
        auto map = request.initMapPort();
        map.setId(SECOND);
        map.setHostPort(5000);
        map.setContainerPort(1);
      },
      schema::HelperReply::FAILED);
  mapPort(SECOND, 5003, 80);
  limitBandwidth(SECOND, 3000000, 70000);
  limitBandwidth(FIRST, 3000000, 70000);
  helper->destroy(FIRST);
  mapPort(SECOND, 5000, 80);
  restart(GetParam());
  EXPECT_EQ(whole(), std::vector<std::string>{SECOND});
  EXPECT_EQ(helper->adopt(SECOND)->adopted->ports.size(), 3u);
}

TEST_P(EndTest, whatWasBeingDestroyedGoes) {
  pid_t wshd = create(FIRST, 0);
  // Its interface lives on for a moment, and so does the destroy.
  auto held = NetworkNamespace::of(wshd);
  helper->sendBytes(encode([](auto request) { request.initDestroy().setId(FIRST); }));
  ASSERT_TRUE(waitUntil([&]() { return !isAlive(wshd); }));
  restart(GetParam());
  expectGone(FIRST);
}

INSTANTIATE_TEST_SUITE_P(All, EndTest, ::testing::ValuesIn(allEnds()), endName);

// --- what is not whole

TEST_F(RecoveryHelperTest, aContainerWithoutARecordIsRemoved) {
  pid_t wshd = create(FIRST, 0);
  pid_t other = create(SECOND, 1);
  end(End::KILL_ALL);
  unlink(recordPath(FIRST).c_str());
  start();
  EXPECT_EQ(whole(), std::vector<std::string>{SECOND});
  EXPECT_TRUE(waitUntil([&]() { return !isAlive(wshd) && dying().empty(); }));
  expectAlive(SECOND, other);
  // Its slot is free.
  create(FIRST, 0);
}

TEST_F(RecoveryHelperTest, theRecordIsRootsAlone) {
  create(FIRST, 0);
  struct stat status;
  ASSERT_EQ(stat(recordPath(FIRST).c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 0u);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  end(End::KILL_ALL);
  chmod(recordPath(FIRST).c_str(), 0640);
  start();
  expectGone(FIRST);
}

TEST_F(RecoveryHelperTest, anEntryThatIsNotWholeCountsForNothingAndIsCutOff) {
  pid_t wshd = create(FIRST, 0);
  mapPort(FIRST, 5000, 80);
  end(End::KILL_ALL);
  auto whole = readFile(recordPath(FIRST));
  // As long as its two words of numbers, and what is before them.
  auto last = whole.substr(whole.size() - 40);
  for (size_t bytes : {1, 8, 13, 16, 39}) {
    writeFile(recordPath(FIRST), whole + last.substr(0, bytes), 0600);
    start();
    expectAlive(FIRST, wshd);
    EXPECT_EQ(helper->adopt(FIRST)->adopted->ports.size(), 1u);
    end(End::KILL_ALL);
    EXPECT_EQ(readFile(recordPath(FIRST)), whole);
  }
  start();
  mapPort(FIRST, 5001, 80);
  restart(End::KILL_ALL);
  EXPECT_EQ(helper->adopt(FIRST)->adopted->ports.size(), 2u);
}

TEST_F(RecoveryHelperTest, recordsThatAreNonsenseEndTheirContainersOnly) {
  std::string garbage(4096, '\xff');
  for (const std::string& content : {std::string(), std::string(8, '\0'), garbage,
                                     std::string("\x01\0\0\0\0\0\0\0", 8) + garbage}) {
    pid_t other = create(SECOND, 1);
    create(FIRST, 0);
    end(End::KILL_ALL);
    writeFile(recordPath(FIRST), content, 0600);
    start();
    expectAlive(SECOND, other);
    helper->destroy(SECOND);
    expectGone(FIRST);
  }
}

TEST_F(RecoveryHelperTest, aRecordOfAnotherContainerIsNotBelieved) {
  pid_t other = create(SECOND, 1);
  create(FIRST, 0);
  end(End::KILL_ALL);
  writeFile(recordPath(FIRST), readFile(recordPath(SECOND)), 0600);
  start();
  EXPECT_EQ(whole(), std::vector<std::string>{SECOND});
  expectAlive(SECOND, other);
}

TEST_F(RecoveryHelperTest, aRecordOfAnotherBootIsNotBelieved) {
  create(FIRST, 0);
  end(End::KILL_ALL);
  std::string boot = readFile("/proc/sys/kernel/random/boot_id").substr(0, 36);
  std::string record = readFile(recordPath(FIRST));
  size_t at = record.find(boot);
  ASSERT_NE(at, std::string::npos);
  record[at] = record[at] == '0' ? '1' : '0';
  writeFile(recordPath(FIRST), record, 0600);
  start();
  expectGone(FIRST);
}

// The number of a process that has ended may be anybody's.
TEST_F(RecoveryHelperTest, aNumberThatHasPassedOnToAnotherProcessIsNotSignalled) {
  pid_t wshd = create(FIRST, 0);
  end(End::KILL_ALL);
  pid_t stranger = fork();
  if (stranger == 0) {
    for (;;)
      pause();
  }
  std::string record = readFile(recordPath(FIRST));
  int32_t old = wshd, other = stranger;
  size_t replaced = 0;
  for (size_t i = 0; i + sizeof(old) <= record.size(); i += 4) {
    if (memcmp(&record[i], &old, sizeof(old)) != 0) continue;
    memcpy(&record[i], &other, sizeof(other));
    ++replaced;
  }
  EXPECT_EQ(replaced, 1u);
  writeFile(recordPath(FIRST), record, 0600);
  start();
  expectGone(FIRST);
  EXPECT_FALSE(isAlive(wshd));
  EXPECT_TRUE(isAlive(stranger));
  kill(stranger, SIGKILL);
  waitpid(stranger, nullptr, 0);
}

TEST_F(RecoveryHelperTest, aContainerWhoseWshdEndedMeanwhileIsRemoved) {
  pid_t wshd = create(FIRST, 0);
  end(End::TERM);
  kill(wshd, SIGKILL);
  ASSERT_TRUE(waitUntil([&]() { return !isAlive(wshd); }));
  start();
  expectGone(FIRST);
}

TEST_F(RecoveryHelperTest, aContainerWhoseWshdEndsAfterwardsIsNoticed) {
  pid_t wshd = create(FIRST, 0);
  restart(End::KILL_ALL);
  expectAlive(FIRST, wshd);
  kill(wshd, SIGKILL);
  auto destroyed = helper->destroy(FIRST);
  EXPECT_EQ(destroyed->which, schema::HelperReply::DONE) << destroyed->text;
  expectGone(FIRST);
}

TEST_F(RecoveryHelperTest, otherIdsInTheConfigurationEndContainers) {
  create(FIRST, 0);
  end(End::TERM);
  std::string config = readFile(server->configPath());
  std::string start = std::to_string(server->poolStartUid());
  size_t at = config.find(start);
  ASSERT_NE(at, std::string::npos);
  writeFile(server->configPath(),
            config.replace(at, start.size(), std::to_string(server->poolStartUid() + 1)));
  RecoveryHelperTest::start();
  expectGone(FIRST);
}

TEST_F(RecoveryHelperTest, aDirectoryUnderAnotherNameIsNotTheContainer) {
  create(FIRST, 0);
  end(End::TERM);
  fs::rename(server->depotPath() + "/" + FIRST, server->depotPath() + "/" + SECOND);
  start();
  expectGone(FIRST);
}

// --- between frontends

TEST_F(RecoveryHelperTest, aCreateWhoseAnswerNobodyReadIsKnownToTheNextFrontend) {
  auto bytes = encode([](auto request) {
    request.setSequence(7);
    request.setHasClient(true);
    fillCreate(request.initCreate(), FIRST, 0);
  });
  int client = helper->client();
  ASSERT_TRUE(helper->sendBytes(bytes, kj::arrayPtr(&client, 1)));
  ASSERT_TRUE(waitUntil([&]() { return fs::exists(recordPath(FIRST)); }));
  replaceFrontend();
  EXPECT_EQ(whole(), std::vector<std::string>{FIRST});
  expectAlive(FIRST, server->wshdPid(FIRST));
}

TEST_F(RecoveryHelperTest, adoptIsRefusedForWhatIsNotThere) {
  for (const char* id : {"", "..", "00000000009", "0000000000/"}) {
    auto reply = helper->adopt(id);
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->which, schema::HelperReply::REFUSED) << reply->text;
  }
}

TEST_F(RecoveryHelperTest, adoptEndsTheConnectionBeforeIt) {
  create(FIRST, 0);
  auto one = helper->adopt(FIRST);
  ASSERT_TRUE(wshdAnswers(one->fds[1]));
  auto two = helper->adopt(FIRST);
  EXPECT_TRUE(wshdAnswers(two->fds[1]));
  EXPECT_FALSE(wshdAnswers(one->fds[1]));
}

TEST_F(RecoveryHelperTest, adoptDoesNotWaitForAWshdThatIsStopped) {
  pid_t wshd = create(FIRST, 0);
  kill(wshd, SIGSTOP);
  bool failed = false;
  for (int i = 0; i < 20 && !failed; ++i) {
    auto started = std::chrono::steady_clock::now();
    auto reply = helper->adopt(FIRST);
    EXPECT_LT(std::chrono::steady_clock::now() - started, patient(std::chrono::seconds(1)));
    failed = reply->which == schema::HelperReply::FAILED;
  }
  EXPECT_TRUE(failed) << "it takes connections without end";
  EXPECT_EQ(helper->destroy(FIRST)->which, schema::HelperReply::DONE);
}

}  // namespace
}  // namespace warden::test
