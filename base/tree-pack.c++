#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>

#include "base/tree-archive.h"
#include "base/tree-directories.h"
#include "base/tree-reader.h"

namespace warden {

namespace {

constexpr size_t BLOCK_BYTES = 256 * 1024;
// Read again for each directory in it, so not many names at once.
constexpr size_t NAMES_BYTES = 8 * 1024;
// Larger ones are nothing but holes on today's disks, at the end of which no copy would arrive.
constexpr off_t MAX_FILE_BYTES = off_t(16) << 40;
constexpr size_t ZEROS_AT_ONCE = size_t(1) << 30;
// Of a file with more holes than that the last ones are copied as zeros.
constexpr size_t MAX_REGIONS = 10000;

constexpr int OPEN_FILE = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
constexpr int OPEN_DIRECTORY = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_DIRECTORY;

struct Region {  // of a file, with data
  off_t begin;
  off_t end;
};

struct FreeWriter {
  void operator()(struct archive* archive) const { archive_write_free(archive); }
};
struct FreeEntry {
  void operator()(struct archive_entry* entry) const { archive_entry_free(entry); }
};

class TreePacker {
 public:
  TreePacker(int stream, kj::Maybe<TreeMeter&> meter);
  ~TreePacker() noexcept {
    // Without an end, where it has not been written.
    if (archive != nullptr) archive_write_fail(archive.get());
  }
  KJ_DISALLOW_COPY(TreePacker);

  void pack(const CopyPlace& source);

 private:
  int stream;
  kj::Maybe<TreeMeter&> meter;
  int streamError = 0;
  std::unique_ptr<struct archive, FreeWriter> archive;
  std::unique_ptr<struct archive_entry, FreeEntry> entry;
  kj::Array<kj::byte> block = kj::heapArray<kj::byte>(BLOCK_BYTES);
  std::vector<Region> regions;
  TreeDirectories directories;
  std::vector<off_t> positions;  // in each of them
  alignas(dirent64) char names[NAMES_BYTES];
  size_t nextName = 0;
  size_t namesEnd = 0;

  static la_ssize_t sendBlock(struct archive*, void* self, const void* data, size_t size);
  void walk();
  const dirent64* readName();
  void add(int directory, const char* name, unsigned char type);
  void addDirectory(std::string_view name, Fd directory);
  void addLink(int directory, const char* name);
  void addFile(int directory, const char* name);
  void findRegions(int file, const struct stat& status);
  void put(const void* data, size_t size, const char* name);
  void putZeros(off_t size, const char* name);
  void requireReader(const char* name);
  void putData(int file, Region region, const char* name);
  void begin(std::string_view name, mode_t mode, off_t size);
  void writeHeader(std::string_view name);
  [[noreturn]] void failWriting(std::string_view name);
};

TreePacker::TreePacker(int stream, kj::Maybe<TreeMeter&> meter)
    : stream(stream), meter(meter), archive(archive_write_new()), entry(archive_entry_new()) {
  if (archive == nullptr || entry == nullptr) throw TreeFailure{kj::str("begin stream"), ENOMEM};
  auto* writer = archive.get();
  if (archive_write_set_format_pax_restricted(writer) != ARCHIVE_OK ||
      archive_write_set_options(writer, "hdrcharset=BINARY,xattrheader=SCHILY") != ARCHIVE_OK ||
      archive_write_set_bytes_per_block(writer, BLOCK_BYTES) != ARCHIVE_OK ||
      archive_write_set_bytes_in_last_block(writer, 1) != ARCHIVE_OK ||
      archive_write_open(writer, this, nullptr, sendBlock, nullptr) != ARCHIVE_OK) {
    throw TreeFailure{kj::str("begin stream"), ENOMEM};
  }
}

la_ssize_t TreePacker::sendBlock(struct archive*, void* self, const void* data, size_t size) {
  auto& packer = *static_cast<TreePacker*>(self);
  for (;;) {
    ssize_t sent = send(packer.stream, data, size, MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    if (errno == EINTR) continue;
    packer.streamError = errno == EAGAIN ? ETIMEDOUT : errno == ECONNRESET ? EPIPE : errno;
    return ARCHIVE_FATAL;
  }
}

void TreePacker::pack(const CopyPlace& source) {
  if (source.name.empty()) {
    Fd directory(openat(source.directory, ".", OPEN_DIRECTORY));
    std::string name = source.calls.empty() ? "." : source.calls;
    if (directory == nullptr) directories.fail("read", name);
    addDirectory(name, kj::mv(directory));
    walk();
  } else {
    struct stat status;
    const char* name = source.name.c_str();
    if (fstatat(source.directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
      directories.fail("look at", name);
    }
    add(source.directory, name, IFTODT(status.st_mode));
    walk();
  }
  if (archive_write_close(archive.get()) != ARCHIVE_OK) failWriting("");
  archive = nullptr;
}

void TreePacker::walk() {
  while (directories.depth() > 0) {
    const dirent64* found = readName();
    if (found == nullptr) {
      directories.leave();
      positions.pop_back();
      nextName = namesEnd = 0;
      if (positions.empty()) return;
      if (lseek(directories.current(), positions.back(), SEEK_SET) < 0)
        directories.failHere("read");
      continue;
    }
    positions.back() = found->d_off;
    if (strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0) continue;
    add(directories.current(), found->d_name, found->d_type);
  }
}

const dirent64* TreePacker::readName() {
  if (nextName == namesEnd) {
    ssize_t size = getdents64(directories.current(), names, sizeof(names));
    if (size < 0 && errno != ENOENT) directories.failHere("read");  // ENOENT: it has been removed
    if (size <= 0) return nullptr;
    nextName = 0;
    namesEnd = size;
  }
  auto* found = reinterpret_cast<const dirent64*>(names + nextName);
  nextName += found->d_reclen;
  return found;
}

void TreePacker::add(int directory, const char* name, unsigned char type) {
  // What is removed between its name being read and now is not part of the tree.
  if (type == DT_UNKNOWN) {
    struct stat status;
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
      if (errno == ENOENT) return;
      directories.fail("look at", name);
    }
    type = IFTODT(status.st_mode);
  }
  if (type == DT_REG) return addFile(directory, name);
  if (type == DT_LNK) return addLink(directory, name);
  if (type != DT_DIR) directories.fail("refuse special file", name, EINVAL);
  Fd opened(openat(directory, name, OPEN_DIRECTORY));
  if (opened != nullptr) return addDirectory(std::string(name), kj::mv(opened));
  if (errno != ENOENT || directories.depth() == 0) directories.fail("read", name);
}

void TreePacker::addDirectory(std::string_view name, Fd directory) {
  struct stat status;
  if (fstat(directory, &status) < 0) directories.fail("look at", name);
  begin(name, status.st_mode, 0);
  writeHeader(name);
  directories.enter(name, kj::mv(directory));
  positions.push_back(0);
  nextName = namesEnd = 0;
}

void TreePacker::addLink(int directory, const char* name) {
  char target[PATH_MAX + 1];
  ssize_t size = readlinkat(directory, name, target, sizeof(target) - 1);
  if (size < 0 && errno == ENOENT && directories.depth() > 0) return;
  if (size < 0) directories.fail("read", name);
  target[size] = 0;
  begin(name, S_IFLNK | 0777, 0);
  archive_entry_copy_symlink(entry.get(), target);
  writeHeader(name);
}

void TreePacker::addFile(int directory, const char* name) {
  Fd file(openat(directory, name, OPEN_FILE));
  if (file == nullptr && errno == ENOENT && directories.depth() > 0) return;
  struct stat status;
  if (file == nullptr || fstat(file, &status) < 0) directories.fail("read", name);
  if (!S_ISREG(status.st_mode)) directories.fail("refuse special file", name, EINVAL);
  if (status.st_size > MAX_FILE_BYTES)
    directories.fail("refuse a file of more than 16 TiB", name, EFBIG);
  begin(name, status.st_mode, status.st_size);
  findRegions(file, status);
  writeHeader(name);
  off_t position = 0;
  for (Region region : regions) {
    putZeros(region.begin - position, name);
    putData(file, region, name);
    position = region.end;
  }
  putZeros(status.st_size - position, name);
}

void TreePacker::findRegions(int file, const struct stat& status) {
  off_t size = status.st_size;
  regions.clear();
  constexpr off_t STATUS_BLOCK = 512;  // stat(2)
  bool hasHoles = status.st_blocks < size / STATUS_BLOCK;
  for (off_t end = 0; hasHoles && end < size;) {
    off_t begin = lseek(file, end, SEEK_DATA);
    if (begin < 0 && errno != ENXIO) hasHoles = false;  // its file system does not tell
    if (begin < 0 || begin >= size) break;
    end = regions.size() + 1 < MAX_REGIONS ? lseek(file, begin, SEEK_HOLE) : size;
    if (end <= begin || end > size) end = size;
    regions.push_back({begin, end});
  }
  if (!hasHoles) {
    regions.assign(1, {0, size});
    return;
  }
  // With binary names, libarchive cuts those of sparse files off.
  std::string_view path = archive_entry_pathname(entry.get());
  archive_entry_xattr_add_entry(entry.get(), SPARSE_PATH, path.data(), path.size());
  // libarchive's own word for a file of one hole.
  if (regions.empty()) archive_entry_sparse_add_entry(entry.get(), 0, 0);
  for (Region region : regions)
    archive_entry_sparse_add_entry(entry.get(), region.begin, region.end - region.begin);
}

void TreePacker::putZeros(off_t size, const char* name) {
  // libarchive leaves out what the entry says are holes, but counts it.
  if (size <= 0) return;
  memset(block.begin(), 0, kj::min(off_t(BLOCK_BYTES), size));
  for (size_t written = 0; size > 0; size -= kj::min(off_t(BLOCK_BYTES), size)) {
    put(block.begin(), kj::min(off_t(BLOCK_BYTES), size), name);
    written += BLOCK_BYTES;
    if (written % ZEROS_AT_ONCE == 0) requireReader(name);
  }
}

void TreePacker::requireReader(const char* name) {
  // Holes are sent as nothing, so that nothing tells that nobody reads any more.
  pollfd p{stream, 0, 0};
  if (poll(&p, 1, 0) <= 0) return;
  streamError = EPIPE;
  failWriting(name);
}

void TreePacker::putData(int file, Region region, const char* name) {
  while (region.begin < region.end) {
    size_t wanted = kj::min(off_t(BLOCK_BYTES), region.end - region.begin);
    ssize_t size = pread(file, block.begin(), wanted, region.begin);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) directories.fail("read", name);
    if (size == 0) return putZeros(region.end - region.begin, name);  // it has shrunk
    put(block.begin(), size, name);
    region.begin += size;
    KJ_IF_MAYBE (m, meter) m->moved(size, 0);
  }
}

void TreePacker::put(const void* data, size_t size, const char* name) {
  auto* bytes = static_cast<const char*>(data);
  while (size > 0) {
    la_ssize_t taken = archive_write_data(archive.get(), bytes, size);
    if (taken <= 0) failWriting(name);
    bytes += taken;
    size -= taken;
  }
}

void TreePacker::begin(std::string_view name, mode_t mode, off_t size) {
  auto* next = entry.get();
  archive_entry_clear(next);
  archive_entry_copy_pathname(next, directories.pathOf(name).c_str());
  archive_entry_set_mode(next, mode);
  archive_entry_set_size(next, size);
}

void TreePacker::writeHeader(std::string_view name) {
  if (archive_write_header(archive.get(), entry.get()) != ARCHIVE_OK) failWriting(name);
  KJ_IF_MAYBE (m, meter) m->moved(0, 1);
}

void TreePacker::failWriting(std::string_view name) {
  if (streamError != 0) throw TreeFailure{kj::str("write stream"), streamError};
  int error = archive_errno(archive.get());
  directories.fail("pack", name, error > 0 ? error : EINVAL);
}

}  // namespace

kj::Maybe<TreeFailure> packTree(const CopyPlace& source, int stream, kj::Maybe<TreeMeter&> meter) {
  try {
    TreePacker(stream, meter).pack(source);
    return nullptr;
  } catch (TreeFailure& failure) {
    return kj::mv(failure);
  }
}

}  // namespace warden
