#include "base/tree-entry.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace warden {

namespace {

constexpr int CREATE_FILE = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
constexpr int OPEN_DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
constexpr long FCHMODAT2 = 452;  // since Linux 6.6; not in the C library's headers

// A file under way, removed where it is not finished.
class NewFile {
 public:
  explicit NewFile(const TreePlace& place) : place(place), name(place.name) {
    if (create() || (errno == EEXIST && removeDirectory() && create())) return;
    if (errno != EEXIST) place.fail("make");
    useOtherName();
    if (!create()) place.fail("make");
  }
  ~NewFile() noexcept {
    if (file != nullptr) unlinkat(place.directory, name.c_str(), 0);
  }
  KJ_DISALLOW_COPY(NewFile);

  int get() const { return file; }

  void finish() {
    bool hasOther = name != place.name;
    if (hasOther && renameat(place.directory, name.c_str(), place.directory, place.name.c_str())) {
      place.fail("replace");
    }
    file = nullptr;
  }

 private:
  const TreePlace& place;
  std::string name;
  Fd file;

  bool create() {
    file = Fd(openat(place.directory, name.c_str(), CREATE_FILE, 0600));
    return file != nullptr;
  }
  bool removeDirectory() {
    struct stat status;
    if (fstatat(place.directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) return false;
    if (S_ISDIR(status.st_mode)) return unlinkat(place.directory, name.c_str(), AT_REMOVEDIR) == 0;
    errno = EEXIST;
    return false;
  }
  void useOtherName() {
    uint64_t number;
    if (getrandom(&number, sizeof(number), 0) != sizeof(number)) place.fail("name");
    char text[40];
    snprintf(text, sizeof(text), ".warden-copy-%016llx", static_cast<unsigned long long>(number));
    name = text;
  }
};

void removeWhatIsThere(const TreePlace& place) {
  const char* name = place.name.c_str();
  struct stat status;
  if (fstatat(place.directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0) place.fail("look at");
  if (unlinkat(place.directory, name, S_ISDIR(status.st_mode) ? AT_REMOVEDIR : 0) < 0) {
    place.fail("replace");
  }
}

void writeAt(int file, TreeData data, const TreePlace& place) {
  auto* bytes = static_cast<const char*>(data.bytes);
  while (data.size > 0) {
    ssize_t size = pwrite(file, bytes, data.size, data.offset);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) place.fail("write");
    bytes += size;
    data.size -= size;
    data.offset += size;
  }
}

}  // namespace

void TreeMaker::makeFile(const TreePlace& place, const TreeEntry& entry, TreeReader& reader) {
  NewFile file(place);
  fill(file.get(), place, entry, reader);
  // Before its permissions: a program must not run as its owner-to-be while it is another's, and
  // chown(2) takes the set-user-ID bit away.
  own(file.get(), entry.path);
  if (fchmod(file.get(), entry.mode) < 0) place.fail("set permissions of");
  file.finish();
}

void TreeMaker::fill(int file, const TreePlace& place, const TreeEntry& entry, TreeReader& reader) {
  off_t end = 0;
  for (;;) {
    KJ_IF_MAYBE (data, reader.nextData(entry)) {
      writeAt(file, *data, place);
      end = kj::max(end, off_t(data->offset + data->size));
    } else {
      break;
    }
  }
  if (end < entry.size && ftruncate(file, entry.size) < 0) place.fail("write");
}

void TreeMaker::makeLink(const TreePlace& place, const TreeEntry& entry) {
  const char* name = place.name.c_str();
  if (symlinkat(entry.link, place.directory, name) < 0) {
    if (errno != EEXIST) place.fail("make link");
    removeWhatIsThere(place);
    if (symlinkat(entry.link, place.directory, name) < 0) place.fail("make link");
  }
  KJ_IF_MAYBE (to, owner) {
    // Not by its name: whoever owns the directory may have put something else of this user's there.
    Fd link(openat(place.directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat status;
    if (link == nullptr || fstat(link, &status) < 0) place.fail("give to its owner");
    if (!S_ISLNK(status.st_mode)) failTree("give to its owner", entry.path, EEXIST);
    if (fchownat(link, "", to->uid, to->gid, AT_EMPTY_PATH) < 0) place.fail("give to its owner");
  }
}

TreeMaker::Directory TreeMaker::makeDirectory(const TreePlace& place) {
  const char* name = place.name.c_str();
  bool isNew = mkdirat(place.directory, name, 0700) == 0;
  if (!isNew) {
    if (errno != EEXIST) place.fail("make");
    struct stat status;
    if (fstatat(place.directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0) place.fail("look at");
    if (!S_ISDIR(status.st_mode)) {
      removeWhatIsThere(place);
      if (mkdirat(place.directory, name, 0700) < 0) place.fail("make");
      isNew = true;
    }
  }
  Fd directory(openat(place.directory, name, OPEN_DIRECTORY));
  if (directory == nullptr && errno == EACCES) {
    // It is not readable. Older kernels cannot change that without following a link.
    if (syscall(FCHMODAT2, place.directory, name, 0700, AT_SYMLINK_NOFOLLOW) == 0) {
      directory = Fd(openat(place.directory, name, OPEN_DIRECTORY));
    } else {
      errno = EACCES;
    }
  }
  if (directory == nullptr) place.fail("open");
  // What has something in it is not the one that was made: somebody has put it there.
  isNew = isNew && isEmptyDirectory(directory);
  openUp(directory);
  return {kj::mv(directory), isNew};
}

void TreeMaker::openUp(int directory) {
  struct stat status;
  if (fstat(directory, &status) < 0 || (status.st_mode & 0700) == 0700) return;
  // Where it is not allowed, making what is in it fails, if it is needed.
  (void)!fchmod(directory, (status.st_mode & 07777) | 0700);
}

void TreeMaker::own(int file, std::string_view path) {
  KJ_IF_MAYBE (to, owner) {
    if (fchown(file, to->uid, to->gid) < 0) failTree("give to its owner", path, errno);
  }
}

}  // namespace warden
