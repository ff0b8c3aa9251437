#include "base/progress-pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <signal.h>
#include <unistd.h>

#include <string>

namespace warden {
namespace {

class ProgressPipeTest : public testing::Test {
 protected:
  void SetUp() override { signal(SIGPIPE, SIG_IGN); }
  ~ProgressPipeTest() noexcept override = default;

  void write(const std::string& bytes) {
    EXPECT_EQ(::write(pipe.writeEnd, bytes.data(), bytes.size()), ssize_t(bytes.size()));
  }
  size_t fill() {
    size_t records = 0;
    Progress any;
    for (; ::write(pipe.writeEnd, &any, sizeof(any)) > 0; ++records) {
    }
    return records;
  }

  Pipe pipe = makeProgressPipe();
};

TEST_F(ProgressPipeTest, carriesTheLatestRecord) {
  EXPECT_TRUE(latestProgress(pipe.readEnd) == nullptr);
  tellProgress(pipe.writeEnd, {1, 2});
  tellProgress(pipe.writeEnd, {3, 4});
  EXPECT_EQ(KJ_ASSERT_NONNULL(latestProgress(pipe.readEnd)), (Progress{3, 4}));
  EXPECT_TRUE(latestProgress(pipe.readEnd) == nullptr);
}

TEST_F(ProgressPipeTest, losesWhatFindsItFullAndNeverWaits) {
  size_t records = fill();
  EXPECT_LE(records, size_t(65536) / sizeof(Progress));
  tellProgress(pipe.writeEnd, {1, 2});
  while (latestProgress(pipe.readEnd) != nullptr) {
  }
  tellProgress(pipe.writeEnd, {5, 6});
  EXPECT_EQ(KJ_ASSERT_NONNULL(latestProgress(pipe.readEnd)), (Progress{5, 6}));
}

TEST_F(ProgressPipeTest, takesABoundedPieceOfAFlood) {
  // A pipe belongs to both of its ends.
  ASSERT_GE(fcntl(pipe.writeEnd, F_SETPIPE_SZ, 1 << 20), 1 << 20);
  size_t records = fill();
  size_t reads = 0;
  while (latestProgress(pipe.readEnd) != nullptr)
    ++reads;
  EXPECT_EQ(reads, records * sizeof(Progress) / 4096);
}

TEST_F(ProgressPipeTest, takesNoNumbersFromHalfARecord) {
  write("abc");
  EXPECT_TRUE(latestProgress(pipe.readEnd) == nullptr);
  write(std::string(sizeof(Progress), '\xff') + "rest");
  EXPECT_EQ(KJ_ASSERT_NONNULL(latestProgress(pipe.readEnd)), (Progress{~0ull, ~0ull}));
}

TEST_F(ProgressPipeTest, survivesTheOtherEnd) {
  pipe.readEnd = nullptr;
  tellProgress(pipe.writeEnd, {1, 2});
  pipe = makeProgressPipe();
  pipe.writeEnd = nullptr;
  EXPECT_TRUE(latestProgress(pipe.readEnd) == nullptr);
}

TEST_F(ProgressPipeTest, isKnownByItsWriteEnd) {
  EXPECT_TRUE(isProgressPipe(pipe.writeEnd));
  EXPECT_FALSE(isProgressPipe(pipe.readEnd));
  EXPECT_FALSE(isProgressPipe(makePipe().writeEnd)) << "it blocks";
  EXPECT_FALSE(isProgressPipe(makePacketPair().left));
  EXPECT_FALSE(isProgressPipe(Fd(open("/dev/null", O_WRONLY | O_NONBLOCK | O_CLOEXEC))));
  EXPECT_FALSE(isProgressPipe(-1));
}

}  // namespace
}  // namespace warden
