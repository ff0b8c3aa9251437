#pragma once
// Tar archives that packTree() does not write: what somebody who has taken over one end of a copy
// could send. Takes libarchive (warden_tree).

#include <archive.h>
#include <archive_entry.h>
#include <kj/debug.h>
#include <sys/stat.h>

#include <functional>
#include <string>

namespace warden::test {

class ArchiveWriter {
 public:
  ArchiveWriter() : archive(archive_write_new()), entry(archive_entry_new()), bytes(4 << 20, 0) {
    archive_write_set_format_pax(archive);
    archive_write_set_options(archive, "hdrcharset=BINARY");
    archive_write_set_bytes_in_last_block(archive, 1);
    archive_write_open_memory(archive, bytes.data(), bytes.size(), &used);
  }

  ArchiveWriter& add(const char* path, mode_t type, const std::string& content = "",
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

  // The whole archive, once.
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

}  // namespace warden::test
