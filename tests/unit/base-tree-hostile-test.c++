// Streams that packTree() does not write.

#include "tests/support/archive-writer.h"
#include "tests/unit/base-tree-testing.h"

namespace warden {
namespace {

using test::ArchiveWriter;

class HostileTreeTest : public TreeTest {
 protected:
  void SetUp() override {
    TreeTest::SetUp();
    makeDirectory("dst");
    makeDirectory("outside");
    write("outside/canary", "untouched");
  }

  std::string unpack(const std::string& bytes, const std::string& to = "dst") {
    StreamPair stream;
    std::thread writer([&] {
      for (size_t at = 0; at < bytes.size();) {
        ssize_t sent = send(stream.left, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
        if (sent < 0) break;
        at += sent;
      }
      shutdown(stream.left, SHUT_WR);
    });
    auto words = wordsOf(unpackTree(target(to), stream.right));
    stream.right = nullptr;
    writer.join();
    EXPECT_EQ(read("outside/canary"), "untouched");
    EXPECT_EQ(std::distance(fs::directory_iterator(base), {}), 2);
    EXPECT_EQ(std::distance(fs::directory_iterator(base + "/outside"), {}), 1);
    return words;
  }

  void expectRefused(ArchiveWriter& writer) {
    auto words = unpack(writer.finish());
    EXPECT_EQ(words.substr(0, 8), "EBADMSG:") << words;
  }
};

TEST_F(HostileTreeTest, pathsThatLeadOutAreRefused) {
  for (const char* path :
       {"..", "../outside/new", "/tmp/x", "./../outside/new", "./a/../../outside/new", "./..",
        ".//x", "./a//b", "./.", "", "x", "./x/y", "/", "//", "./a/./b"}) {
    SCOPED_TRACE(path);
    ArchiveWriter writer;
    writer.add(".", S_IFDIR).add("./a", S_IFDIR);
    try {
      writer.add(path, S_IFREG, "hostile");
    } catch (const kj::Exception&) {
      writer.finish();
      continue;
    }
    expectRefused(writer);
  }
}

TEST_F(HostileTreeTest, rootsThatAreNoNameAreRefused) {
  for (const char* path : {"..", "/", "a/b", "../outside", "/tmp"}) {
    for (mode_t type : {S_IFREG, S_IFDIR, S_IFLNK}) {
      SCOPED_TRACE(path);
      ArchiveWriter writer;
      expectRefused(writer.add(path, type, "canary"));
    }
  }
  ArchiveWriter file;
  expectRefused(file.add(".", S_IFLNK, "x"));
}

TEST_F(HostileTreeTest, nothingIsMadeBeneathALinkOrAFile) {
  fs::create_symlink("../outside", base + "/dst/there");
  ArchiveWriter link, file, before, late;
  expectRefused(
      link.add(".", S_IFDIR).add("./l", S_IFLNK, "../outside").add("./l/x", S_IFREG, "h"));
  expectRefused(file.add(".", S_IFDIR).add("./f", S_IFREG, "x").add("./f/x", S_IFREG, "h"));
  expectRefused(before.add(".", S_IFDIR).add("./there/x", S_IFREG, "h"));
  expectRefused(late.add(".", S_IFDIR)
                    .add("./d", S_IFDIR)
                    .add("./d", S_IFLNK, "../outside")
                    .add("./d/x", S_IFREG, "h"));
  // A link that is replaced by a directory is followed by nothing.
  ArchiveWriter replaced;
  replaced.add(".", S_IFDIR).add("./there", S_IFDIR).add("./there/x", S_IFREG, "fine");
  EXPECT_EQ(unpack(replaced.finish()), "");
  EXPECT_EQ(read("dst/there/x"), "fine");
}

TEST_F(HostileTreeTest, whatIsNoFileDirectoryOrLinkIsRefused) {
  for (mode_t type : {S_IFIFO, S_IFCHR, S_IFBLK}) {
    ArchiveWriter writer;
    expectRefused(writer.add(".", S_IFDIR).add("./x", type));
  }
  ArchiveWriter hard;
  expectRefused(hard.add(".", S_IFDIR).add("./x", S_IFREG, "", [](auto* entry) {
    archive_entry_copy_hardlink(entry, "../outside/canary");
  }));
  EXPECT_TRUE(fs::is_empty(base + "/dst"));
}

TEST_F(HostileTreeTest, pathsOfSparseFilesAreNoBetter) {
  std::string nul("./a\0b", 5);
  for (std::string path :
       {std::string("../outside/new"), std::string("./../outside/new"), nul, std::string()}) {
    ArchiveWriter writer;
    expectRefused(writer.add(".", S_IFDIR).add("./x", S_IFREG, "x", [&](auto* entry) {
      archive_entry_xattr_add_entry(entry, "warden.path", path.data(), path.size());
    }));
  }
}

TEST_F(HostileTreeTest, everyCutOfAStreamIsFound) {
  ArchiveWriter writer;
  auto whole = writer.add(".", S_IFDIR)
                   .add("./a", S_IFREG, std::string(3000, 'x'))
                   .add("./b", S_IFLNK, std::string(200, 'y'))
                   .finish();
  EXPECT_EQ(unpack(whole), "");
  for (size_t end = 0; end<whole.size(); end += end + 1500> whole.size() ? 64 : 509) {
    auto words = unpack(whole.substr(0, end));
    EXPECT_NE(words, "") << end << " of " << whole.size();
  }
  EXPECT_NE(unpack(whole.substr(0, whole.size() - 512)), "");
}

TEST_F(HostileTreeTest, aSecondRootAndAStreamWithoutAnyAreRefused) {
  ArchiveWriter second, none;
  expectRefused(second.add("a", S_IFREG, "x").add("b", S_IFREG, "x"));
  EXPECT_EQ(unpack(none.finish()), "EBADMSG: read stream without a file");
  EXPECT_EQ(unpack(std::string(1 << 20, 'x')), "EBADMSG: read stream");
}

TEST_F(HostileTreeTest, changedBytesNeverTouchAnythingElse) {
  ArchiveWriter writer;
  auto whole = writer.add(".", S_IFDIR)
                   .add("./dir", S_IFDIR)
                   .add("./dir/file", S_IFREG, std::string(700, 'x'))
                   .add("./link", S_IFLNK, "../outside")
                   .finish();
  for (size_t at = 0; at < whole.size(); at += 7) {
    auto changed = whole;
    changed[at] ^= 0x15;
    unpack(changed);
  }
}

}  // namespace
}  // namespace warden
