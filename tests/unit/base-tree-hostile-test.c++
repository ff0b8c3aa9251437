// Streams that packTree() does not write.

#include <archive.h>
#include <archive_entry.h>

#include <functional>

#include "tests/unit/base-tree-testing.h"

namespace warden {
namespace {

class Writer {
 public:
  Writer() : archive(archive_write_new()), entry(archive_entry_new()), bytes(4 << 20, 0) {
    archive_write_set_format_pax(archive);
    archive_write_set_options(archive, "hdrcharset=BINARY");
    archive_write_set_bytes_in_last_block(archive, 1);
    archive_write_open_memory(archive, bytes.data(), bytes.size(), &used);
  }

  Writer& add(const char* path, mode_t type, const std::string& content = "",
              const std::function<void(struct archive_entry*)>& change = nullptr) {
    archive_entry_clear(entry);
    archive_entry_copy_pathname(entry, path);
    archive_entry_set_mode(entry, type | 0755);
    if (type == S_IFLNK) archive_entry_copy_symlink(entry, content.c_str());
    if (type == S_IFREG) archive_entry_set_size(entry, content.size());
    if (change) change(entry);
    KJ_REQUIRE(archive_write_header(archive, entry) == ARCHIVE_OK, path);
    if (type == S_IFREG) archive_write_data(archive, content.data(), content.size());
    return *this;
  }

  std::string finish() {
    archive_write_close(archive);
    archive_write_free(archive);
    archive_entry_free(entry);
    bytes.resize(used);
    return bytes;
  }

 private:
  struct archive* archive;
  struct archive_entry* entry;
  std::string bytes;
  size_t used = 0;
};

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

  void expectRefused(Writer& writer) {
    auto words = unpack(writer.finish());
    EXPECT_EQ(words.substr(0, 8), "EBADMSG:") << words;
  }
};

TEST_F(HostileTreeTest, pathsThatLeadOutAreRefused) {
  for (const char* path :
       {"..", "../outside/new", "/tmp/x", "./../outside/new", "./a/../../outside/new", "./..",
        ".//x", "./a//b", "./.", "", "x", "./x/y", "/", "//", "./a/./b"}) {
    SCOPED_TRACE(path);
    Writer writer;
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
      Writer writer;
      expectRefused(writer.add(path, type, "canary"));
    }
  }
  Writer file;
  expectRefused(file.add(".", S_IFLNK, "x"));
}

TEST_F(HostileTreeTest, nothingIsMadeBeneathALinkOrAFile) {
  fs::create_symlink("../outside", base + "/dst/there");
  Writer link, file, before, late;
  expectRefused(
      link.add(".", S_IFDIR).add("./l", S_IFLNK, "../outside").add("./l/x", S_IFREG, "h"));
  expectRefused(file.add(".", S_IFDIR).add("./f", S_IFREG, "x").add("./f/x", S_IFREG, "h"));
  expectRefused(before.add(".", S_IFDIR).add("./there/x", S_IFREG, "h"));
  expectRefused(late.add(".", S_IFDIR)
                    .add("./d", S_IFDIR)
                    .add("./d", S_IFLNK, "../outside")
                    .add("./d/x", S_IFREG, "h"));
  // A link that is replaced by a directory is followed by nothing.
  Writer replaced;
  replaced.add(".", S_IFDIR).add("./there", S_IFDIR).add("./there/x", S_IFREG, "fine");
  EXPECT_EQ(unpack(replaced.finish()), "");
  EXPECT_EQ(read("dst/there/x"), "fine");
}

TEST_F(HostileTreeTest, whatIsNoFileDirectoryOrLinkIsRefused) {
  for (mode_t type : {S_IFIFO, S_IFCHR, S_IFBLK}) {
    Writer writer;
    expectRefused(writer.add(".", S_IFDIR).add("./x", type));
  }
  Writer hard;
  expectRefused(hard.add(".", S_IFDIR).add("./x", S_IFREG, "", [](auto* entry) {
    archive_entry_copy_hardlink(entry, "../outside/canary");
  }));
  EXPECT_TRUE(fs::is_empty(base + "/dst"));
}

TEST_F(HostileTreeTest, pathsOfSparseFilesAreNoBetter) {
  std::string nul("./a\0b", 5);
  for (std::string path :
       {std::string("../outside/new"), std::string("./../outside/new"), nul, std::string()}) {
    Writer writer;
    expectRefused(writer.add(".", S_IFDIR).add("./x", S_IFREG, "x", [&](auto* entry) {
      archive_entry_xattr_add_entry(entry, "warden.path", path.data(), path.size());
    }));
  }
}

TEST_F(HostileTreeTest, everyCutOfAStreamIsFound) {
  Writer writer;
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
  Writer second, none;
  expectRefused(second.add("a", S_IFREG, "x").add("b", S_IFREG, "x"));
  EXPECT_EQ(unpack(none.finish()), "EBADMSG: read stream without a file");
  EXPECT_EQ(unpack(std::string(1 << 20, 'x')), "EBADMSG: read stream");
}

TEST_F(HostileTreeTest, changedBytesNeverTouchAnythingElse) {
  Writer writer;
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
