#include "base/copy-place.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace warden {
namespace {

namespace fs = std::filesystem;

class CopyPlaceTest : public testing::Test {
  // granted/{file,dir/inner,link -> dir,out -> ../outside,dangling} beside outside/secret.

 protected:
  void SetUp() override {
    char name[] = "/tmp/warden-place-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    base = name;
    fs::create_directories(base + "/granted/dir");
    fs::create_directories(base + "/outside");
    for (const char* file : {"/granted/file", "/granted/dir/inner", "/outside/secret"})
      Fd(open((base + file).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    fs::create_symlink("dir", base + "/granted/link");
    fs::create_symlink("../outside", base + "/granted/out");
    fs::create_symlink("nowhere", base + "/granted/dangling");
    prefix = Fd(open((base + "/granted").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  void TearDown() override { fs::remove_all(base); }
  ~CopyPlaceTest() noexcept override = default;

  template <typename Find>
  std::string describe(Find&& find, const char* path) {
    auto found = find(GrantedDirectory{prefix, "granted", Resolve::BENEATH}, path);
    if (found.template is<TreeFailure>()) {
      return strerrorname_np(found.template get<TreeFailure>().error);
    }
    auto& place = found.template get<CopyPlace>();
    auto link = fs::read_symlink("/proc/self/fd/" + std::to_string(place.directory.get()));
    return link.string().substr(base.size()) + " | " + place.name +
           (place.asksDirectory ? "/" : "") + (place.calls.empty() ? "" : " | as " + place.calls);
  }
  std::string source(const char* path) { return describe(findCopySource, path); }
  std::string target(const char* path) { return describe(findCopyTarget, path); }

  std::string base;
  Fd prefix;
};

TEST_F(CopyPlaceTest, aSourceIsANameOrWhatIsInADirectory) {
  EXPECT_EQ(source("file"), "/granted | file");
  EXPECT_EQ(source("dir"), "/granted | dir");
  EXPECT_EQ(source("dir/inner"), "/granted/dir | inner");
  EXPECT_EQ(source("dir//inner"), "/granted/dir | inner");
  EXPECT_EQ(source("dir/"), "/granted/dir | ");
  EXPECT_EQ(source("dir//"), "/granted/dir | ");
  EXPECT_EQ(source("dir/."), "/granted/dir | ");
  EXPECT_EQ(source("dir/.."), "/granted | ");
  EXPECT_EQ(source("./"), "/granted | ");
  EXPECT_EQ(source(""), "/granted |  | as granted");
}

TEST_F(CopyPlaceTest, aLinkIsASourceItselfUnlessItIsOnTheWay) {
  EXPECT_EQ(source("link"), "/granted | link");
  EXPECT_EQ(source("dangling"), "/granted | dangling");
  EXPECT_EQ(source("out"), "/granted | out");
  EXPECT_EQ(source("link/"), "/granted/dir | ");
  EXPECT_EQ(source("link/inner"), "/granted/dir | inner");
}

TEST_F(CopyPlaceTest, noSourceIsOutsideOrMissing) {
  for (const char* path : {"..", "../", "../outside", "../outside/secret", "out/", "out/secret",
                           "dir/../../outside/secret"}) {
    EXPECT_EQ(source(path), "EXDEV") << path;
  }
  EXPECT_EQ(source("missing"), "ENOENT");
  EXPECT_EQ(source("missing/file"), "ENOENT");
  EXPECT_EQ(source("file/"), "ENOTDIR");
  EXPECT_EQ(source("file/below"), "ENOTDIR");
  EXPECT_EQ(source("dangling/"), "ENOENT");
}

TEST_F(CopyPlaceTest, aTargetIsADirectoryThatIsThereOrANameInOne) {
  EXPECT_EQ(target(""), "/granted | ");
  EXPECT_EQ(target("./"), "/granted | ");
  EXPECT_EQ(target("dir"), "/granted/dir | ");
  EXPECT_EQ(target("dir/"), "/granted/dir | ");
  EXPECT_EQ(target("link"), "/granted/dir | ");
  EXPECT_EQ(target("new"), "/granted | new");
  EXPECT_EQ(target("new/"), "/granted | new/");
  EXPECT_EQ(target("dir/new"), "/granted/dir | new");
  EXPECT_EQ(target("file"), "/granted | file");
  EXPECT_EQ(target("dangling"), "/granted | dangling");
}

TEST_F(CopyPlaceTest, noTargetIsOutsideOrBelowWhatIsMissing) {
  for (const char* path : {"..", "../outside", "../new", "out", "out/new", "dir/../../new"})
    EXPECT_EQ(target(path), "EXDEV") << path;
  EXPECT_EQ(target("missing/new"), "ENOENT");
  EXPECT_EQ(target("missing/.."), "ENOENT");
  EXPECT_EQ(target("file/"), "ENOTDIR");
  EXPECT_EQ(target("file/new"), "ENOTDIR");
}

}  // namespace
}  // namespace warden
