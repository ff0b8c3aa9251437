#include "client/progress-line.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"

namespace warden::client {
namespace {

using std::chrono::seconds;

CopyProgress progressOf(uint64_t bytes, uint64_t entries) {
  CopyProgress progress;
  progress.set_bytes(bytes);
  progress.set_entries(entries);
  return progress;
}

std::string readSome(int fd) {
  char text[4096];
  ssize_t n;
  KJ_SYSCALL(n = read(fd, text, sizeof(text)));
  return std::string(text, n);
}

TEST(ProgressLineTest, namesBytesEntriesAndRate) {
  EXPECT_EQ(progressText(progressOf(0, 0), seconds(0)), "0 bytes, 0 entries, 0 bytes/s");
  EXPECT_EQ(progressText(progressOf(1023, 1), seconds(1)), "1023 bytes, 1 entry, 1023 bytes/s");
  EXPECT_EQ(progressText(progressOf(25 << 19, 45), seconds(2)), "12.5 MiB, 45 entries, 6.2 MiB/s");
  EXPECT_EQ(progressText(progressOf(UINT64_MAX, UINT64_MAX), seconds(1)),
            "16.0 EiB, 18446744073709551615 entries, 16.0 EiB/s");
}

TEST(ProgressLineTest, isALineASecondAndTheLastWhereThereIsNoTerminal) {
  auto pipe = makePipe();
  ProgressLine line(pipe.writeEnd);
  EXPECT_FALSE(line.isOnTerminal());
  for (int i = 1; i <= 5; ++i)
    line.show(progressOf(0, i));
  EXPECT_EQ(readSome(pipe.readEnd), "0 bytes, 1 entry, 0 bytes/s\n");
  line.finish();
  EXPECT_EQ(readSome(pipe.readEnd), "0 bytes, 5 entries, 0 bytes/s\n");
  line.finish();
  pipe.writeEnd = nullptr;
  EXPECT_EQ(readSome(pipe.readEnd), "");
}

TEST(ProgressLineTest, isWrittenOverOnATerminal) {
  Fd terminal(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_EQ(grantpt(terminal), 0);
  ASSERT_EQ(unlockpt(terminal), 0);
  Fd shown(open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(shown != nullptr);
  {
    ProgressLine line(shown);
    EXPECT_TRUE(line.isOnTerminal());
    line.show(progressOf(0, 10));
    line.show(progressOf(0, 1));
  }
  // The terminal adds CR to what ends the line.
  EXPECT_EQ(readSome(terminal),
            "\r0 bytes, 10 entries, 0 bytes/s\r0 bytes, 1 entry, 0 bytes/s   \r\n");
}

}  // namespace
}  // namespace warden::client
