#include "base/audit-trail.h"

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "base-audit-testing.h"
#include "base/audit-verify.h"
#include "base/unix-address.h"

namespace warden::test {
namespace {

TEST_F(AuditTrailTest, chainsItsLines) {
  write(3);
  auto lines = linesOf(path);
  ASSERT_EQ(lines.size(), 3u);
  std::string prev(64, '0');
  for (size_t i = 0; i < 3; ++i) {
    Json line = Json::parse(lines[i]);
    EXPECT_EQ(line.begin().key(), "time");
    EXPECT_EQ(line["seq"], i + 1);
    EXPECT_EQ(line["prev"], prev);
    EXPECT_EQ(line["handle"], "h" + std::to_string(i));
    prev = sha256Hex(lines[i]);
  }
  EXPECT_EQ(findings(), "");
  struct stat status;
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
}

TEST_F(AuditTrailTest, digestIsSha256) {
  // FIPS 180-4, example of one block.
  EXPECT_EQ(sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_F(AuditTrailTest, goesOnWhereItEnded) {
  write(3);
  write(2);
  EXPECT_EQ(linesOf(path).size(), 5u);
  auto report = verifyAuditTrail(path);
  EXPECT_EQ(told(report), "");
  EXPECT_EQ(report.records, 5u);
  EXPECT_EQ(report.lastSeq, 5u);
}

TEST_F(AuditTrailTest, goesOnAfterADeathBetweenLineAndHead) {
  write(3);
  std::string head = contentOf(path + ".head");
  write(1);
  setContent(path + ".head", head);
  EXPECT_EQ(findings(), "");
  write(1);
  EXPECT_EQ(linesOf(path).size(), 5u);
  EXPECT_EQ(findings(), "");
}

TEST_F(AuditTrailTest, marksALineThatACrashHasTorn) {
  for (size_t length : {1, 40, 150}) {
    write(3);
    std::string head = contentOf(path + ".head");
    write(1);
    std::string whole = contentOf(path);
    auto last = linesOf(path).back();
    setContent(path,
               whole.substr(0, whole.size() - 1 - last.size() + std::min(length, last.size() - 1)));
    setContent(path + ".head", head);
    EXPECT_NE(findings(), "");
    write(2);
    EXPECT_EQ(findings(), "");
    auto lines = linesOf(path);
    EXPECT_NE(lines[lines.size() - 3].find("torn_bytes"), std::string::npos);
  }
  // What marks a torn line vouches for no other.
  auto lines = linesOf(path);
  lines[3][0] = 'x';
  setLines(path, lines);
  EXPECT_NE(findings(), "");
}

TEST_F(AuditTrailTest, neverForgetsThatItsEndWasCut) {
  write(10);
  auto lines = linesOf(path);
  lines.resize(7);
  setLines(path, lines);
  EXPECT_NE(findings().find("records 8 to 10 are missing"), std::string::npos) << findings();
  write(3);
  EXPECT_NE(findings().find("records 8 to 10 are missing"), std::string::npos) << findings();
  EXPECT_EQ(Json::parse(linesOf(path)[7])["seq"], 11);
}

TEST_F(AuditTrailTest, noticesThatItsFileOrItsHeadIsGone) {
  write(4);
  fs::remove(path + ".head");
  EXPECT_NE(findings(), "");
  write(1);
  EXPECT_NE(findings().find("when the server started"), std::string::npos) << findings();

  TemporaryDirectory other;
  std::swap(directory.path, other.path);
  path = directory.path + "/trail";
  write(4);
  fs::remove(path);
  write(1);
  EXPECT_NE(findings(), "");
  EXPECT_EQ(Json::parse(linesOf(path)[0])["seq"], 5);
}

TEST_F(AuditTrailTest, movesAwayAFileThatIsNoTrail) {
  setContent(path, "{\"time\":\"2020\",\"operation\":\"create\"}\n");
  write(2);
  EXPECT_EQ(linesOf(path).size(), 3u);
  EXPECT_EQ(findings(), "");
  int kept = 0;
  for (auto& entry : fs::directory_iterator(directory.path)) {
    kept += entry.path().filename().string().starts_with("trail.before-");
  }
  EXPECT_EQ(kept, 1);
}

TEST_F(AuditTrailTest, rotatesAndKeepsTheChain) {
  write(80, 2000, 3);
  EXPECT_EQ(auditFiles(path).size(), 4u);
  for (auto& file : auditFiles(path))
    EXPECT_LE(fs::file_size(file), 2600u);
  auto report = verifyAuditTrail(path);
  EXPECT_EQ(told(report), "");
  EXPECT_GT(report.firstSeq, 1u);
  EXPECT_EQ(report.lastSeq, 80u);

  write(5, 2000, 1);
  EXPECT_EQ(auditFiles(path).size(), 2u) << "fewer are kept than before";
  EXPECT_EQ(findings(), "");

  fs::remove(path + ".1");
  EXPECT_NE(findings().find("missing at the trail's start"), std::string::npos);
  EXPECT_EQ(findings(/* fromOldest */ true), "");
}

TEST_F(AuditTrailTest, survivesAStopInTheMiddleOfARotation) {
  write(8, 2000, 3);
  ASSERT_FALSE(fs::exists(path + ".1"));
  fs::rename(path, path + ".1");
  setContent(path + ".new", "");
  write(8, 2000, 3);
  EXPECT_EQ(findings(), "");
  EXPECT_EQ(verifyAuditTrail(path).records, 16u);
}

TEST_F(AuditTrailTest, isWholeWhileItIsWritten) {
  pid_t writer = fork();
  if (writer == 0) {
    AuditTrail trail = open(100000, 8);
    for (int i = 0; i < 20000; ++i)
      trail.append({{"request", "create"}});
    _exit(0);
  }
  while (!fs::exists(path + ".head") || fs::file_size(path + ".head") == 0)
    usleep(1000);
  for (int i = 0; i < 30; ++i)
    EXPECT_EQ(findings(/* fromOldest */ true), "");
  kill(writer, SIGKILL);
  waitpid(writer, nullptr, 0);
  write(1);
  EXPECT_EQ(findings(/* fromOldest */ true), "");
}

TEST_F(AuditTrailTest, isWholeAfterItsWriterWasKilledAtAnyMoment) {
  for (int i = 0; i < 20; ++i) {
    pid_t writer = fork();
    if (writer == 0) {
      AuditTrail trail = open(20000, 4);
      for (;;)
        trail.append({{"request", "create"}, {"cause", std::string(i * 50, 'x')}});
    }
    usleep(3000 + 700 * i);
    kill(writer, SIGKILL);
    waitpid(writer, nullptr, 0);
    write(1, 20000, 4);
    EXPECT_EQ(findings(), "");
  }
}

TEST_F(AuditTrailTest, saysThatItIsFullAndGoesOnWhenThereIsRoom) {
  int status = inChild([&]() {
    CHILD_EXPECT(unshare(CLONE_NEWNS) == 0);
    CHILD_EXPECT(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
    CHILD_EXPECT(mount("tmpfs", directory.path.c_str(), "tmpfs", 0, "size=1m") == 0);
    AuditTrail trail = open();
    CHILD_EXPECT(trail.append({{"request", "first"}}));
    CHILD_EXPECT(trail.problem() == nullptr);

    std::ofstream filler(directory.path + "/filler");
    filler << std::string(4 << 20, 'x');
    filler.close();
    // What was allocated ahead is still there for what was begun.
    for (int i = 0; i < 100; ++i)
      CHILD_EXPECT(trail.append({{"request", "begun"}}));
    int written = 100;
    while (trail.append({{"request", "more"}, {"cause", std::string(1000, 'x')}}))
      ++written;
    CHILD_EXPECT(written > 200 && written < 1000);
    int error = 0;
    KJ_IF_MAYBE (problem, trail.problem()) {
      error = problem->error;
    }
    CHILD_EXPECT(error == ENOSPC);
    CHILD_EXPECT(!trail.append({{"request", "lost"}}));

    fs::remove(directory.path + "/filler");
    CHILD_EXPECT(trail.problem() == nullptr);
    CHILD_EXPECT(trail.append({{"request", "again"}}));
    CHILD_EXPECT(findings() == "");
    auto lines = linesOf(path);
    CHILD_EXPECT(Json::parse(lines[lines.size() - 2])["lost"] == 2);
    return 0;
  });
  EXPECT_EQ(status, 0);
}

TEST_F(AuditTrailTest, noticesLackOfRoomBeforeTheOperation) {
  int status = inChild([&]() {
    CHILD_EXPECT(unshare(CLONE_NEWNS) == 0);
    CHILD_EXPECT(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
    CHILD_EXPECT(mount("tmpfs", directory.path.c_str(), "tmpfs", 0, "size=1m") == 0);
    AuditTrail trail = open();
    std::ofstream(directory.path + "/filler") << std::string(4 << 20, 'x');
    CHILD_EXPECT(trail.problem() != nullptr);
    CHILD_EXPECT(trail.problem() != nullptr);
    fs::remove(directory.path + "/filler");
    CHILD_EXPECT(trail.problem() == nullptr);
    CHILD_EXPECT(findings() == "");
    return 0;
  });
  EXPECT_EQ(status, 0);
}

TEST_F(AuditTrailTest, refusesWhatIsNoRegularFile) {
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_THROW(open(), kj::Exception);
  fs::remove(path);
  fs::create_symlink("elsewhere", path);
  EXPECT_THROW(open(), kj::Exception);
  EXPECT_FALSE(fs::exists(directory.path + "/elsewhere"));
}

TEST_F(AuditTrailTest, copiesEachLineToTheJournal) {
  std::string socketPath = directory.path + "/journal";
  Fd receiver(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  UnixAddress address(socketPath);
  ASSERT_EQ(bind(receiver, address.get(), address.size()), 0);
  AuditTrail trail = open();
  trail.copyTo(AuditJournal(socketPath.c_str()));
  EXPECT_TRUE(trail.append({{"handle", "a\nPRIORITY=0"}}));
  char buffer[4096];
  ssize_t n = recv(receiver, buffer, sizeof(buffer), MSG_DONTWAIT);
  ASSERT_GT(n, 0);
  std::string entry(buffer, n), line = linesOf(path)[0];
  EXPECT_EQ(entry,
            "MESSAGE=" + line +
                "\nPRIORITY=5\nSYSLOG_IDENTIFIER=warden-audit\nWARDEN_SEQ=1\nWARDEN_SHA256=" +
                sha256Hex(line) + "\n");
  // A journal that has gone, or does not read, is not waited for.
  for (int i = 0; i < 5000; ++i)
    ASSERT_TRUE(trail.append({{"i", i}}));
  receiver = nullptr;
  EXPECT_TRUE(trail.append({{"request", "last"}}));
}

TEST_F(AuditTrailTest, aLineCostsMicroseconds) {
  AuditTrail trail = open();
  constexpr int COUNT = 20000;
  auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < COUNT; ++i) {
    trail.append({{"from", "frontend"},
                  {"request", "run"},
                  {"handle", "0123456789a"},
                  {"outcome", "done"},
                  {"duration_us", i}});
  }
  double us =
      std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count() /
      COUNT;
  RecordProperty("append_us", std::to_string(us));
  printf("one append: %.1f us\n", us);
  EXPECT_LT(us, 1000);
}

}  // namespace
}  // namespace warden::test
