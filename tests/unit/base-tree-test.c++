// What is copied, and how it fails, by both ends of a stream.

#include "tests/unit/base-tree-testing.h"

namespace warden {
namespace {

const CopyResult DONE{};

TEST_F(TreeTest, filesAndLinksKeepTheirPermissionsAndContent) {
  makeDirectory("src");
  write("src/file", "content", 0640);
  write("src/program", "x", 04755);
  fs::create_symlink("/no/where", base + "/src/link");
  EXPECT_EQ(copy("src", "dst"), DONE);
  EXPECT_EQ(read("dst/src/file"), "content");
  EXPECT_EQ(modeOf("dst/src/file"), S_IFREG | 0640u);
  EXPECT_EQ(modeOf("dst/src/program"), S_IFREG | 04755u);
  EXPECT_EQ(fs::read_symlink(base + "/dst/src/link"), "/no/where");
}

TEST_F(TreeTest, aFileOrALinkTakesTheNameOfTheTargetOrItsOwn) {
  write("file", "content");
  fs::create_symlink("to", base + "/link");
  makeDirectory("there");
  EXPECT_EQ(copy("file", "new"), DONE);
  EXPECT_EQ(copy("file", "there"), DONE);
  EXPECT_EQ(copy("file", "dir/"), DONE);
  EXPECT_EQ(copy("link", "link2"), DONE);
  EXPECT_EQ(read("new") + read("there/file") + read("dir/file"), "contentcontentcontent");
  EXPECT_EQ(fs::read_symlink(base + "/link2"), "to");
}

TEST_F(TreeTest, whatIsThereIsReplacedAndDirectoriesAreMerged) {
  makeDirectory("src");
  makeDirectory("src/dir", 0750);
  write("src/dir/file", "new");
  write("src/over-link", "new");
  fs::create_symlink("new", base + "/src/over-file");
  makeDirectory("src/over-empty");
  makeDirectory("dst");
  makeDirectory("dst/dir", 0777);
  write("dst/dir/file", "old");
  write("dst/dir/kept", "kept");
  write("outside", "untouched");
  fs::create_symlink("../outside", base + "/dst/over-link");
  write("dst/over-file", "old");
  fs::create_symlink("..", base + "/dst/over-empty");
  fs::create_hard_link(base + "/dst/dir/file", base + "/other-name");
  EXPECT_EQ(copy("src/", "dst"), DONE);
  EXPECT_EQ(read("dst/dir/file") + read("dst/dir/kept") + read("dst/over-link"), "newkeptnew");
  EXPECT_EQ(read("other-name") + read("outside"), "olduntouched");
  EXPECT_EQ(fs::read_symlink(base + "/dst/over-file"), "new");
  EXPECT_EQ(modeOf("dst/over-empty"), S_IFDIR | 0755u);
  EXPECT_EQ(modeOf("dst/dir"), S_IFDIR | 0750u);
}

TEST_F(TreeTest, aDirectoryWithSomethingInItMakesNoWay) {
  makeDirectory("src");
  write("src/a", "file");
  makeDirectory("dst");
  makeDirectory("dst/a");
  write("dst/a/kept", "kept");
  EXPECT_EQ(copy("src/", "dst").unpacking, "ENOTEMPTY: make ./a");
  EXPECT_EQ(read("dst/a/kept"), "kept");
}

TEST_F(TreeTest, specialFilesAreRefusedAndTheStreamHasNoEnd) {
  makeDirectory("src");
  KJ_SYSCALL(mkfifo((base + "/src/fifo\n").c_str(), 0600));
  CopyResult refused{"EINVAL: refuse special file src/fifo\\x0a", "EPIPE: read stream"};
  EXPECT_EQ(copy("src", "dst"), refused);
  EXPECT_EQ(copy("src/fifo\n", "dst").packing, "EINVAL: refuse special file fifo\\x0a");
}

TEST_F(TreeTest, sparseFilesStaySparseByAnyName) {
  std::string name(255, '\xfe');
  makeDirectory("src");
  for (auto& file : {std::string("a"), name}) {
    for (off_t data : {off_t(0), off_t(1) << 30, off_t(5) << 30}) {
      std::string path = "src/" + file;
      write(path, "");
      Fd fd(open((base + "/" + path).c_str(), O_WRONLY | O_CLOEXEC));
      KJ_SYSCALL(ftruncate(fd, off_t(5) << 30));
      if (data > 0) {
        KJ_SYSCALL(pwrite(fd, "data", 4, data - 4));
      }
      EXPECT_EQ(copy("src/", "dst"), DONE);
      struct stat status;
      std::string copied = base + "/dst/" + file;
      KJ_SYSCALL(stat(copied.c_str(), &status));
      EXPECT_EQ(status.st_size, off_t(5) << 30);
      EXPECT_LE(status.st_blocks, 64);
      char bytes[4] = {};
      Fd read(open(copied.c_str(), O_RDONLY | O_CLOEXEC));
      if (data > 0) {
        KJ_SYSCALL(pread(read, bytes, 4, data - 4));
      }
      EXPECT_EQ(std::string(bytes, 4), data > 0 ? "data" : std::string(4, 0));
      fs::remove_all(base + "/dst");
    }
    fs::remove(base + "/src/" + file);
  }
}

class DeepTreeTest : public TreeTest {
 protected:
  // Where making and removing so many directories takes no time.
  std::string within() const override { return "/dev/shm"; }
};

TEST_F(DeepTreeTest, aTreeOfTenThousandLevelsIsCopied) {
  makeDirectory("src");
  Fd at(open((base + "/src").c_str(), O_PATH | O_CLOEXEC));
  for (int i = 0; i < 10000; ++i) {
    KJ_SYSCALL(mkdirat(at, "d", 0500 | (i % 2) << 7));
    Fd next(openat(at, "d", O_PATH | O_CLOEXEC));
    KJ_REQUIRE(next != nullptr);
    if (geteuid() != 0) break;
    at = kj::mv(next);
  }
  EXPECT_EQ(copy("src", "dst"), DONE);
  Fd copied(open((base + "/dst/src").c_str(), O_PATH | O_CLOEXEC));
  int depth = 0;
  for (; copied != nullptr; ++depth)
    copied = Fd(openat(copied, "d", O_PATH | O_CLOEXEC));
  EXPECT_EQ(depth, geteuid() == 0 ? 10001 : 2);
}

TEST_F(TreeTest, aFileThatShrinksIsFilledUpWithZeros) {
  makeDirectory("src");
  write("src/file", std::string(32 << 20, 'x'));
  CopyPlace from = source("src/"), to = target("dst");
  StreamPair stream;
  CopyResult result;
  std::thread packer([&] { result.packing = wordsOf(packTree(from, stream.left)); });
  char byte;
  // It has begun, and waits for the other end.
  KJ_SYSCALL(recv(stream.right, &byte, 1, MSG_PEEK));
  KJ_SYSCALL(truncate((base + "/src/file").c_str(), 1 << 20));
  result.unpacking = wordsOf(unpackTree(to, stream.right));
  packer.join();
  EXPECT_EQ(result, DONE);
  std::string content = read("dst/file");
  ASSERT_EQ(content.size(), size_t(32 << 20));
  EXPECT_EQ(content.substr(0, 1 << 20), std::string(1 << 20, 'x'));
  EXPECT_EQ(content.back(), '\0');
}

TEST_F(TreeTest, bothEndsCountTheSameBytesAndEntries) {
  struct Meter : TreeMeter {
    uint64_t bytes = 0, entries = 0, calls = 0;
    void moved(uint64_t moreBytes, uint64_t moreEntries) override {
      bytes += moreBytes;
      entries += moreEntries;
      ++calls;
    }
  };
  makeDirectory("src");
  makeDirectory("src/deep");
  write("src/deep/small", "12345");
  write("src/large", std::string(3 << 20, 'x'));
  write("src/sparse", std::string(8192, 'x'));
  KJ_SYSCALL(truncate((base + "/src/sparse").c_str(), 1 << 30));
  fs::create_symlink("x", base + "/src/link");
  CopyPlace from = source("src/"), to = target("dst");
  StreamPair stream;
  Meter packed, unpacked;
  std::thread packer([&] { EXPECT_EQ(wordsOf(packTree(from, stream.left, packed)), ""); });
  EXPECT_EQ(wordsOf(unpackTree(to, stream.right, nullptr, ALL_PERMISSIONS, unpacked)), "");
  packer.join();
  EXPECT_EQ(packed.entries, 6u);
  EXPECT_EQ(packed.bytes, 5u + (3 << 20) + 8192);
  EXPECT_EQ(unpacked.entries, packed.entries);
  EXPECT_EQ(unpacked.bytes, packed.bytes);
  EXPECT_LT(packed.calls, 40u);
}

TEST_F(TreeTest, theOwnerGetsWhatIsMadeAndNotWhatWasThere) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  makeDirectory("src");
  makeDirectory("src/old");
  makeDirectory("src/new");
  write("src/new/program", "x", 06755);
  fs::create_symlink("x", base + "/src/link");
  makeDirectory("dst");
  makeDirectory("dst/old");
  EXPECT_EQ(copy("src/", "dst", TreeOwner{1234, 2345}), DONE);
  for (const char* path : {"dst/new", "dst/new/program", "dst/link", "dst/old", "dst"}) {
    struct stat status;
    KJ_SYSCALL(lstat((base + "/" + path).c_str(), &status));
    bool isOld = path == std::string("dst") || path == std::string("dst/old");
    EXPECT_EQ(status.st_uid, isOld ? 0u : 1234u) << path;
    EXPECT_EQ(status.st_gid, isOld ? 0u : 2345u) << path;
  }
  EXPECT_EQ(modeOf("dst/new/program"), S_IFREG | 06755u);
}

TEST_F(TreeTest, theOwnerGetsATargetThatIsMadeForADirectory) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  makeDirectory("src");
  write("src/file", "x");
  makeDirectory("empty");
  EXPECT_EQ(copy("src", "around", TreeOwner{1234, 2345}), DONE);
  EXPECT_EQ(copy("empty", "asked/", TreeOwner{1234, 2345}), DONE);
  for (const char* path : {"around", "around/src", "around/src/file", "asked", "asked/empty"}) {
    struct stat status;
    KJ_SYSCALL(lstat((base + "/" + path).c_str(), &status));
    EXPECT_EQ(status.st_uid, 1234u) << path;
    EXPECT_EQ(status.st_gid, 2345u) << path;
  }
}

TEST_F(TreeTest, endlessHolesAreRefusedAndLongOnesAreNotSentToNobody) {
  // Of a file system without a limit of its own.
  std::string path = "/dev/shm/warden-tree-test-" + std::to_string(getpid());
  Fd file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  KJ_DEFER(unlink(path.c_str()));
  StreamPair stream;
  stream.right = nullptr;
  Fd directory(open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  CopyPlace place{kj::mv(directory), path.substr(path.rfind('/') + 1)};
  KJ_SYSCALL(ftruncate(file, INT64_MAX));
  EXPECT_EQ(wordsOf(packTree(place, stream.left)).substr(0, 6), "EFBIG:");
  KJ_SYSCALL(ftruncate(file, int64_t(16) << 40));
  EXPECT_EQ(wordsOf(packTree(place, stream.left)), "EPIPE: write stream");
}

TEST_F(TreeTest, anEndThatGoesAwayEndsTheOther) {
  makeDirectory("src");
  write("src/file", std::string(4 << 20, 'x'));
  StreamPair stream;
  stream.right = nullptr;
  EXPECT_EQ(wordsOf(packTree(source("src"), stream.left)), "EPIPE: write stream");
  StreamPair idle;
  timeval soon{0, 1000};
  for (int option : {SO_RCVTIMEO, SO_SNDTIMEO})
    KJ_SYSCALL(setsockopt(idle.left, SOL_SOCKET, option, &soon, sizeof(soon)));
  EXPECT_EQ(wordsOf(packTree(source("src"), idle.left)), "ETIMEDOUT: write stream");
  EXPECT_EQ(wordsOf(unpackTree(target("dst"), idle.left)), "ETIMEDOUT: read stream");
  EXPECT_FALSE(fs::exists(base + "/dst"));
}

}  // namespace
}  // namespace warden
