// Where bind mounts go: links of an image that lead far.

#include "privhelper/bind-target.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <limits.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "base/fd.h"

namespace warden::privhelper {
namespace {

namespace fs = std::filesystem;

class BindTargetTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/warden-target-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root = name;
    fs::create_directories(root + "/end/x");
  }
  void TearDown() override { fs::remove_all(root); }
  ~BindTargetTest() noexcept override = default;

  // As many links as are followed at a time, each as long as a link can be (path_resolution(7)).
  void makeLinks(const std::string& first) {
    constexpr int LINKS = 39;
    for (int i = 0; i < LINKS; ++i) {
      std::string next = i + 1 == LINKS ? "end" : first + std::to_string(i + 1);
      std::string way;
      while (way.size() + next.size() + 2 < PATH_MAX)
        way += "./";
      fs::create_symlink(way + next, root + "/" + first + (i == 0 ? "" : std::to_string(i)));
    }
  }

  std::string root;
};

TEST_F(BindTargetTest, linksTakeNoMoreThanASecondOfTheProcessor) {
  makeLinks("far");
  std::string target = "/far";
  for (int i = 0; i < 31; ++i)
    target += "/x/..";
  pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    // Its time begins here. There is no mount, so that what is found is not used.
    Fd directory(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (attachBindMount(directory, -1, "/end/x", true) != EBADF) _exit(1);
    for (int i = 0; i < 64; ++i)
      if (attachBindMount(directory, -1, target, true) == ELOOP) _exit(0);
    _exit(2);
  }
  int status = -1;
  rusage used{};
  ASSERT_EQ(wait4(child, &status, 0, &used), child);
  EXPECT_EQ(status, 0);
  EXPECT_LT(used.ru_utime.tv_sec + used.ru_stime.tv_sec, 2);
}

}  // namespace
}  // namespace warden::privhelper
