#include "privhelper/highest-id.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace warden::privhelper {
namespace {

constexpr uint64_t NUMBER = 1'700'000'000'000'000;

class HighestIdTest : public testing::Test {
 protected:
  std::filesystem::path base;
  Fd depot;

  HighestIdTest() {
    char pattern[] = "/tmp/warden-highest-XXXXXX";
    base = mkdtemp(pattern);
    int fd;
    KJ_SYSCALL(fd = open(base.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    depot = Fd(fd);
  }
  ~HighestIdTest() noexcept override { std::filesystem::remove_all(base); }

  std::filesystem::path file() const { return base / HighestId::FILE.cStr(); }
};

TEST_F(HighestIdTest, outlivesItsProcess) {
  EXPECT_EQ(HighestId(depot).number(), 0u);
  {
    HighestId highest(depot);
    for (uint64_t number : {NUMBER, NUMBER + 7, NUMBER + 3})
      highest.saw(ContainerId::fromNumber(number));
  }
  EXPECT_EQ(HighestId(depot).number(), NUMBER + 7);
  struct stat status;
  ASSERT_EQ(stat(file().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
}

TEST_F(HighestIdTest, isNotUsedUpByAnIdOfAFarFuture) {
  HighestId(depot).saw(ContainerId::fromNumber(NUMBER));
  HighestId highest(depot);
  auto last = ContainerId::parse("vvvvvvvvvvv");
  highest.saw(KJ_ASSERT_NONNULL(last));
  EXPECT_EQ(highest.number(), NUMBER);
  EXPECT_EQ(HighestId(depot).number(), NUMBER);
}

TEST_F(HighestIdTest, takesNothingFromAFileThatHoldsNoId) {
  for (const char* text : {"", "0123", "not an id..", "vvvvvvvvvvv", "vvvvvvvvvv\n"}) {
    std::ofstream(file()) << text;
    EXPECT_EQ(HighestId(depot).number(), 0u) << text;
  }
}

TEST_F(HighestIdTest, isNotReadThroughALink) {
  std::ofstream(base / "other") << ContainerId::fromNumber(NUMBER).text().cStr();
  std::filesystem::create_symlink(base / "other", file());
  HighestId highest(depot);
  EXPECT_EQ(highest.number(), 0u);
  highest.saw(ContainerId::fromNumber(NUMBER + 1));
  EXPECT_EQ(highest.number(), NUMBER + 1);
}

}  // namespace
}  // namespace warden::privhelper
