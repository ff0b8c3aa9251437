#include "base/tree-reader.h"

#include <archive_entry.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/tree-directories.h"

namespace warden {

namespace {

constexpr size_t BLOCK_BYTES = 256 * 1024;
// libarchive takes extended headers of 1 MiB, and a map of holes of any size.
constexpr size_t HEADER_BYTES = 2 * 1024 * 1024;

}  // namespace

TreeReader::TreeReader(int stream, mode_t permissions, kj::Maybe<TreeMeter&> meter)
    : stream(stream),
      permissions(permissions),
      meter(meter),
      block(kj::heapArray<kj::byte>(BLOCK_BYTES)),
      archive(archive_read_new()) {
  headerBytes = size_t(0);
  if (archive == nullptr) throw TreeFailure{kj::str("read stream"), ENOMEM};
  if (archive_read_support_format_tar(archive.get()) != ARCHIVE_OK ||
      archive_read_open(archive.get(), this, nullptr, receive, nullptr) != ARCHIVE_OK) {
    fail("");
  }
}

la_ssize_t TreeReader::receive(struct archive* archive, void* self, const void** data) {
  auto& reader = *static_cast<TreeReader*>(self);
  ssize_t size;
  do {
    size = read(reader.stream, reader.block.begin(), BLOCK_BYTES);
  } while (size < 0 && errno == EINTR);
  if (size < 0) {
    reader.streamError = errno == EAGAIN ? ETIMEDOUT : errno == ECONNRESET ? EPIPE : errno;
    archive_set_error(archive, reader.streamError, "stream");
    return ARCHIVE_FATAL;
  }
  if (size == 0) reader.streamEnded = true;
  KJ_IF_MAYBE (bytes, reader.headerBytes) {
    *bytes += size;
    if (*bytes > HEADER_BYTES) {
      reader.streamError = EBADMSG;
      archive_set_error(archive, EBADMSG, "header");
      return ARCHIVE_FATAL;
    }
  }
  *data = reader.block.begin();
  return size;
}

kj::Maybe<TreeEntry> TreeReader::next() {
  struct archive_entry* entry;
  if (archiveEnded) return nullptr;
  headerBytes = size_t(0);
  int result = archive_read_next_header(archive.get(), &entry);
  headerBytes = nullptr;
  if (result == ARCHIVE_OK) {
    KJ_IF_MAYBE (m, meter) m->moved(0, 1);
    return describe(entry);
  }
  // libarchive takes the end of the stream for the end of the archive.
  archiveEnded = result == ARCHIVE_EOF && !streamEnded;
  if (archiveEnded) return nullptr;
  fail("");
}

std::string_view TreeReader::pathOf(struct archive_entry* entry) {
  const char* name;
  const void* value;
  size_t size;
  archive_entry_xattr_reset(entry);
  while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
    if (name != nullptr && strcmp(name, SPARSE_PATH) == 0) {
      return {static_cast<const char*>(value), size};
    }
  }
  const char* path = archive_entry_pathname(entry);
  return path == nullptr ? "" : path;
}

TreeEntry TreeReader::describe(struct archive_entry* entry) {
  TreeEntry result{};
  result.path = pathOf(entry);
  if (result.path.find('\0') != std::string_view::npos) failTree("unpack", result.path, EBADMSG);
  result.mode = archive_entry_perm(entry) & permissions;
  if (archive_entry_hardlink(entry) != nullptr) failTree("unpack", result.path, EBADMSG);
  switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
      result.kind = TreeEntry::FILE;
      result.size = archive_entry_size(entry);
      if (result.size < 0) failTree("unpack", result.path, EBADMSG);
      return result;
    case AE_IFDIR:
      result.kind = TreeEntry::DIRECTORY;
      if (result.path.size() > 1 && result.path.back() == '/') result.path.remove_suffix(1);
      return result;
    case AE_IFLNK:
      result.kind = TreeEntry::LINK;
      result.link = archive_entry_symlink(entry);
      if (result.link != nullptr && *result.link != 0) return result;
      break;
  }
  failTree("unpack", result.path, EBADMSG);
}

kj::Maybe<TreeData> TreeReader::nextData(const TreeEntry& file) {
  for (;;) {
    TreeData data{};
    la_int64_t offset = 0;
    int result = archive_read_data_block(archive.get(), &data.bytes, &data.size, &offset);
    if (result == ARCHIVE_EOF) return nullptr;
    if (result != ARCHIVE_OK) fail(file.path);
    if (data.size == 0) continue;
    bool fits = offset >= 0 && offset <= file.size &&
                data.size <= static_cast<uint64_t>(file.size - offset);
    if (!fits) failTree("unpack", file.path, EBADMSG);
    data.offset = offset;
    KJ_IF_MAYBE (m, meter) m->moved(data.size, 0);
    return data;
  }
}

void TreeReader::fail(std::string_view path) {
  int error = streamError != 0 ? streamError : streamEnded ? EPIPE : EBADMSG;
  if (!path.empty() && error == EBADMSG) failTree("unpack", path, error);
  throw TreeFailure{kj::str("read stream"), error};
}

}  // namespace warden
