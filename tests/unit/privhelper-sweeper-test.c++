#include "privhelper/sweeper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace warden::privhelper {
namespace {

class SweeperTest : public testing::Test {
 protected:
  std::filesystem::path base;
  std::filesystem::path trash;
  Fd directory;

  SweeperTest() {
    char pattern[] = "/tmp/warden-sweeper-XXXXXX";
    base = KJ_ASSERT_NONNULL(mkdtemp(pattern) == nullptr ? nullptr : kj::Maybe<char*>(pattern));
    trash = base / "trash";
    std::filesystem::create_directory(trash);
    int fd;
    KJ_SYSCALL(fd = open(trash.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    directory = Fd(fd);
  }
  ~SweeperTest() noexcept override { std::filesystem::remove_all(base); }
};

TEST_F(SweeperTest, removesATreeOfAnyDepth) {
  // Deeper than any path name can be: made, as removed, step by step.
  int at;
  KJ_SYSCALL(at = open(trash.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Fd current(at);
  for (int depth = 0; depth < 10000; ++depth) {
    KJ_SYSCALL(mkdirat(current, "d", 0700));
    KJ_SYSCALL(at = openat(current, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    current = Fd(at);
  }
  current = nullptr;
  sweep(directory);
  EXPECT_TRUE(std::filesystem::is_empty(trash));
}

TEST_F(SweeperTest, followsNoLinkOutOfTheTree) {
  std::filesystem::create_directory(base / "canary");
  std::ofstream(base / "canary" / "file") << "alive";
  std::filesystem::create_directories(trash / "a" / "b");
  std::filesystem::create_directory_symlink(base / "canary", trash / "link");
  std::filesystem::create_directory_symlink(base / "canary", trash / "a" / "b" / "link");
  sweep(directory);
  EXPECT_TRUE(std::filesystem::is_empty(trash));
  EXPECT_TRUE(std::filesystem::exists(base / "canary" / "file"));
}

TEST_F(SweeperTest, removesSpecialFilesAndUnreadableDirectories) {
  std::filesystem::create_directories(trash / "a" / "closed");
  std::ofstream(trash / "a" / "closed" / "file") << "x";
  std::filesystem::permissions(trash / "a" / "closed", std::filesystem::perms::none);
  KJ_SYSCALL(mkfifo((trash / "a" / "fifo").c_str(), 0600));
  std::ofstream(trash / "plain") << "x";
  sweep(directory);
  EXPECT_TRUE(std::filesystem::is_empty(trash));
}

TEST_F(SweeperTest, toleratesNamesThatEarlierSweepsLeft) {
  for (int i = 0; i < 50; ++i) {
    auto tree = trash / ("t" + std::to_string(i)) / "sub" / "sub";
    std::filesystem::create_directories(tree);
    std::ofstream(tree / "file") << "x";
  }
  sweep(directory);
  EXPECT_TRUE(std::filesystem::is_empty(trash));
}

}  // namespace
}  // namespace warden::privhelper
