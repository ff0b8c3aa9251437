// LimitDisk as the helper answers it, whatever backend the depot's file system leads to: what is
// malformed is refused, what is set holds for the container's files, and nobody waits for it.

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <chrono>

#include "tests/escape/hostile-test.h"

namespace warden::test {
namespace {

constexpr char ID[] = "0123456789b";
constexpr uint64_t MIB = 1 << 20;

class HostileDiskTest : public HostileFrontendTest {
 protected:
  void create() {
    auto reply = helper->create(ID, 3);
    ASSERT_TRUE(answered(reply, schema::HelperReply::CREATED));
  }

  static HelperConnection::Fill limits(uint64_t blocks, uint64_t inodes, const char* id = ID) {
    return [=](schema::HelperRequest::Builder request) {
      auto limit = request.initLimitDisk();
      limit.setId(id);
      auto values = limit.initLimits();
      values.setBlocksSoft(blocks);
      values.setBlocksHard(blocks);
      values.setInodesSoft(inodes);
      values.setInodesHard(inodes);
    };
  }

  DiskReply expectLimited(uint64_t blocks, uint64_t inodes) {
    auto reply = helper->call(limits(blocks, inodes));
    if (!reply || !reply->disk) {
      ADD_FAILURE() << (reply ? reply->text : "no reply") << server->logs();
      return {};
    }
    EXPECT_EQ(reply->disk->blocksHard, blocks);
    EXPECT_EQ(reply->disk->inodesHard, inodes);
    return *reply->disk;
  }

  std::optional<Reply> read(const char* id = ID) {
    return helper->call([&](schema::HelperRequest::Builder request) {
      auto limit = request.initLimitDisk();
      limit.setId(id);
      limit.setRead();
    });
  }

  // Where the host's root finds the container's files. Root here has no more rights to disk space
  // than the helper (no CAP_SYS_RESOURCE is needed, and none helps).
  std::string inContainer(const std::string& path) {
    return server->depotPath() + "/" + ID + "/tmp/rootfs/" + path;
  }

  int write(const std::string& path, uint64_t bytes) {
    Fd file(open(inContainer(path).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    if (file == nullptr) return errno;
    std::vector<char> block(64 * 1024, 'x');
    for (uint64_t written = 0; written < bytes; written += block.size()) {
      if (::write(file, block.data(), block.size()) < 0) return errno;
    }
    return 0;
  }
};

TEST_F(HostileDiskTest, isRefusedForIdsThatAreMalformedOrUnknown) {
  for (const char* id : {"", "..", "../../../etc", "0123456789", "0123456789A", "00000000000"}) {
    SCOPED_TRACE(id);
    expectRefused(limits(1024, 0, id));
    expectRefused([&](auto request) {
      auto limit = request.initLimitDisk();
      limit.setId(id);
      limit.setRead();
    });
  }
  expectRefused([](auto request) { request.initLimitDisk(); });
}

TEST_F(HostileDiskTest, limitsWhatIsWrittenAndSaysWhatIsUsed) {
  create();
  auto before = read();
  ASSERT_TRUE(before && before->disk);
  EXPECT_EQ(before->disk->blocksHard, 0u);
  expectLimited(8 * 1024, 0);
  int error = write("tmp/f", 32 * MIB);
  EXPECT_TRUE(error == ENOSPC || error == EDQUOT) << error;
  auto after = read();
  ASSERT_TRUE(after && after->disk);
  EXPECT_LE(after->disk->bytesUsed, 8 * MIB);
  EXPECT_GE(after->disk->bytesUsed, 6 * MIB);
  expectLimited(64 * 1024, 0);
  EXPECT_EQ(write("tmp/g", 8 * MIB), 0);
  // Below what is in use.
  expectLimited(1024, 0);
  EXPECT_NE(write("tmp/h", MIB), 0);
  expectLimited(0, 0);
  EXPECT_EQ(write("tmp/i", MIB), 0);
}

TEST_F(HostileDiskTest, limitsFilesWithoutKeepingOthersWaiting) {
  create();
  uint64_t used = read()->disk->inodesUsed;
  if (used == 0) GTEST_SKIP() << "the depot's file system counts no inodes";
  auto bytes = encode([&](schema::HelperRequest::Builder request) {
    request.setSequence(1000000);
    limits(0, used + 10)(request);
  });
  ASSERT_TRUE(helper->sendBytes(bytes));
  auto since = std::chrono::steady_clock::now();
  ASSERT_TRUE(helper->create("0123456789c", 4));
  EXPECT_LT(std::chrono::steady_clock::now() - since, std::chrono::seconds(1));
  helper->destroy("0123456789c");

  expectLimited(0, used + 10);
  int made = 0;
  while (made < 100 && write("tmp/f" + std::to_string(made), 0) == 0)
    ++made;
  EXPECT_EQ(made, 10);
  expectLimited(0, 0);
  EXPECT_EQ(write("tmp/one-more", 0), 0);
}

TEST_F(HostileDiskTest, destroyDoesNotWaitForALimitThatIsUnderWay) {
  create();
  for (uint64_t sequence = 1000000; sequence < 1000010; ++sequence) {
    auto bytes = encode([&](schema::HelperRequest::Builder request) {
      request.setSequence(sequence);
      limits(0, sequence % 2 == 0 ? 50 : 0)(request);
    });
    ASSERT_TRUE(helper->sendBytes(bytes));
  }
  auto gone = helper->destroy(ID);
  ASSERT_TRUE(answered(gone));
  EXPECT_EQ(gone->which, schema::HelperReply::DONE) << gone->text;
}

TEST_F(HostileDiskTest, failsForWhatNoDiskCanHold) {
  create();
  for (uint64_t blocks : {UINT64_MAX, UINT64_MAX / 1024 + 2, uint64_t(1) << 54}) {
    auto reply = helper->call(limits(blocks, 0));
    ASSERT_TRUE(answered(reply));
    EXPECT_EQ(reply->which, schema::HelperReply::FAILED);
    EXPECT_NE(reply->text.find("limit disk"), std::string::npos) << reply->text;
  }
  EXPECT_EQ(read()->disk->blocksHard, 0u);
}

}  // namespace
}  // namespace warden::test
