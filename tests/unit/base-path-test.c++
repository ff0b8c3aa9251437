#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <kj/exception.h>
#include <sys/stat.h>

#include "base-testing.h"

namespace warden {
namespace {

class PathTest : public testing::Test {
  // outside/secret and root/{file,dir/inner} with every kind of link that leads out of root.

 public:
  ~PathTest() noexcept override = default;

 protected:
  void SetUp() override {
    for (const char* directory : {"/root", "/root/dir", "/outside", "/root/etc"}) {
      ASSERT_EQ(mkdir((base.path + directory).c_str(), 0755), 0);
    }
    write("/outside/secret", "secret");
    write("/root/file", "file");
    write("/root/dir/inner", "inner");
    write("/root/etc/passwd", "image");
    link("../outside/secret", "/root/relative-out");
    link(base.path + "/outside/secret", "/root/absolute-out");
    link("../outside", "/root/dir-out");
    link("file", "/root/inside");
    link("/etc/passwd", "/root/absolute");
    link("../../../../../../../../etc/passwd", "/root/dir/many-up");
    link("loop", "/root/loop");
    link("/proc/self/fd/0", "/root/magic");
    root = test::openDirectory(base.path + "/root");
  }

  void write(const std::string& path, const std::string& content) {
    Fd fd(open((base.path + path).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    writeAll(fd, kj::StringPtr(content.c_str()).asBytes());
  }

  void link(const std::string& target, const std::string& path) {
    ASSERT_EQ(symlink(target.c_str(), (base.path + path).c_str()), 0);
  }

  static std::string read(int fd) {
    auto bytes = readAll(fd, 1000);
    return std::string(bytes.asChars().begin(), bytes.size());
  }

  test::TemporaryDirectory base;
  Fd root;
};

bool failsWith(int error, const std::function<void()>& body) {
  KJ_IF_MAYBE (e, kj::runCatchingExceptions(body)) {
    std::string text = e->getDescription().cStr();
    if (text.find(strerror(error)) != std::string::npos) return true;
    ADD_FAILURE() << text;
    return false;
  }
  return false;
}

TEST_F(PathTest, opensBeneath) {
  EXPECT_EQ(read(openBeneath(root, "file", O_RDONLY)), "file");
  EXPECT_EQ(read(openBeneath(root, "dir/inner", O_RDONLY)), "inner");
  EXPECT_EQ(read(openBeneath(root, "dir/../file", O_RDONLY)), "file");
  EXPECT_NE(fcntl(openBeneath(root, "file", O_RDONLY), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_F(PathTest, beneathIsNotLedOut) {
  for (const char* path :
       {"..", "../outside/secret", "dir/../../outside/secret", "/etc/passwd", "/", "dir/../.."}) {
    EXPECT_TRUE(failsWith(EXDEV, [&] { openBeneath(root, path, O_RDONLY); })) << path;
  }
}

TEST_F(PathTest, beneathFollowsNoLinkWhereverItStands) {
  for (const char* path : {"relative-out", "absolute-out", "inside", "loop", "magic", "absolute",
                           "dir-out/secret", "dir-out/../file"}) {
    EXPECT_TRUE(failsWith(ELOOP, [&] { openBeneath(root, path, O_RDONLY); })) << path;
  }
}

TEST_F(PathTest, beneathCreatesNothingThroughALink) {
  link("../outside/made", "/root/dangling");
  EXPECT_ANY_THROW(openBeneath(root, "dangling", O_CREAT | O_WRONLY, 0600));
  EXPECT_ANY_THROW(openBeneath(root, "dir-out/made", O_CREAT | O_WRONLY, 0600));
  EXPECT_NE(access((base.path + "/outside/made").c_str(), F_OK), 0);
}

TEST_F(PathTest, beneathCreatesWithTheModeItIsGiven) {
  umask(0);
  Fd made = openBeneath(root, "dir/made", O_CREAT | O_EXCL | O_WRONLY, 0640);
  umask(022);
  struct stat status;
  ASSERT_EQ(fstat(made, &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640u);
}

TEST_F(PathTest, aLinkThatReplacesADirectoryMeanwhileDoesNotLeadOut) {
  // Another process swaps a directory for a link as fast as it can; no open may see the outside.
  ASSERT_EQ(mkdir((base.path + "/root/swap").c_str(), 0755), 0);
  write("/root/swap/secret", "inside");
  ASSERT_EQ(symlink("../outside", (base.path + "/root/swap-link").c_str()), 0);
  pid_t pid = fork();
  if (pid == 0) {
    std::string a = base.path + "/root/swap", b = base.path + "/root/swap-link";
    for (;;)
      renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE);
  }
  int opened = 0;
  for (int i = 0; i < 20000; ++i) {
    kj::runCatchingExceptions([&] {
      Fd fd = openBeneath(root, "swap/secret", O_RDONLY);
      EXPECT_EQ(read(fd), "inside");
      ++opened;
    });
  }
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  EXPECT_GT(opened, 0);
}

TEST_F(PathTest, tryOpenIsNoneOnlyForWhatLeadsNowhere) {
  EXPECT_TRUE(tryOpenInRoot(root, "file", O_RDONLY) != nullptr);
  for (const char* path : {"missing", "file/below", "missing/below", "loop", "dir-out/secret"}) {
    EXPECT_TRUE(tryOpenInRoot(root, path, O_RDONLY) == nullptr) << path;
  }
  EXPECT_ANY_THROW(tryOpenInRoot(root, "dir", O_WRONLY));
  EXPECT_ANY_THROW(tryOpenInRoot(999999, "file", O_RDONLY));
}

TEST_F(PathTest, inRootResolvesAsAProcessInsideWould) {
  EXPECT_EQ(read(openInRoot(root, "/etc/passwd", O_RDONLY)), "image");
  EXPECT_EQ(read(openInRoot(root, "etc/passwd", O_RDONLY)), "image");
  EXPECT_EQ(read(openInRoot(root, "/absolute", O_RDONLY)), "image");
  EXPECT_EQ(read(openInRoot(root, "/dir/many-up", O_RDONLY)), "image");
  EXPECT_EQ(read(openInRoot(root, "../../../etc/passwd", O_RDONLY)), "image");
  EXPECT_EQ(read(openInRoot(root, "inside", O_RDONLY)), "file");
}

TEST_F(PathTest, inRootNeverReachesTheOutside) {
  for (const char* path : {"relative-out", "absolute-out", "dir-out/secret"}) {
    EXPECT_TRUE(failsWith(ENOENT, [&] { openInRoot(root, path, O_RDONLY); })) << path;
  }
  EXPECT_TRUE(failsWith(ELOOP, [&] { openInRoot(root, "loop", O_RDONLY); }));
}

TEST_F(PathTest, inRootRefusesMagicLinks) {
  Fd slash = test::openDirectory("/");
  EXPECT_TRUE(failsWith(ELOOP, [&] { openInRoot(slash, "/proc/self/root/etc", O_RDONLY); }));
  EXPECT_TRUE(failsWith(ELOOP, [&] { openInRoot(slash, "/proc/self/fd/0", O_RDONLY); }));
}

TEST_F(PathTest, leaksNoDescriptorWhenItFails) {
  int before = test::openDescriptors();
  for (int i = 0; i < 10; ++i) {
    kj::runCatchingExceptions([&] { openBeneath(root, "loop", O_RDONLY); });
    kj::runCatchingExceptions([&] { openInRoot(root, "loop", O_RDONLY); });
    (void)tryOpenInRoot(root, "missing", O_RDONLY);
  }
  EXPECT_EQ(test::openDescriptors(), before);
}

}  // namespace
}  // namespace warden
