#pragma once
// The entries of a tree's stream. Whoever writes it is not trusted: what is no file, directory or
// link is refused, and what is held in memory is bounded.

#include <archive.h>
#include <kj/array.h>
#include <kj/common.h>
#include <sys/types.h>

#include <memory>
#include <string_view>

#include "base/tree-archive.h"
#include "base/tree-failure.h"

namespace warden {

constexpr char SPARSE_PATH[] = "warden.path";
// The extended attribute that has the path of a sparse file, which goes before the entry's own.

struct TreeEntry {  // valid until the next one
  enum Kind { FILE, DIRECTORY, LINK } kind;
  std::string_view path;  // without a slash at the end; otherwise as in the stream
  mode_t mode;            // permissions only
  off_t size;             // of a file, not negative
  const char* link;       // of a link, not empty
};

struct TreeData {  // of a file; all else is holes
  const void* bytes;
  size_t size;
  off_t offset;  // offset + size is not more than the file's size
};

class TreeReader {
  // All of it throws TreeFailure.

 public:
  TreeReader(int stream, mode_t permissions, kj::Maybe<TreeMeter&> meter = nullptr);
  // No entry has others than these. The meter is told of what is handed out, a block before it is
  // written.
  KJ_DISALLOW_COPY(TreeReader);

  kj::Maybe<TreeEntry> next();
  // None at the end of the archive, which is not the same as the end of the stream.

  kj::Maybe<TreeData> nextData(const TreeEntry& file);

 private:
  struct Free {
    void operator()(struct archive* archive) const { archive_read_free(archive); }
  };

  int stream;
  mode_t permissions;
  kj::Maybe<TreeMeter&> meter;
  int streamError = 0;
  bool streamEnded = false;
  bool archiveEnded = false;
  kj::Maybe<size_t> headerBytes;  // read for the header under way
  kj::Array<kj::byte> block;
  std::unique_ptr<struct archive, Free> archive;

  static la_ssize_t receive(struct archive*, void* self, const void** data);
  static std::string_view pathOf(struct archive_entry* entry);
  TreeEntry describe(struct archive_entry* entry);
  [[noreturn]] void fail(std::string_view path);
};

}  // namespace warden
