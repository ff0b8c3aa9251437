#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>

#include "base/path.h"
#include "frontend/client-error.h"
#include "frontend/etc-files.h"
#include "schema/privhelper.capnp.h"

namespace warden::frontend {

namespace {

constexpr size_t MAX_FILE_BYTES = schema::Image::MAX_FILE_BYTES;
constexpr uint32_t MAX_IMAGE_ID = 65535;
constexpr char PASSWD[] = "etc/passwd";
constexpr char GROUP[] = "etc/group";

kj::Maybe<ImageOwner> findVcap(const kj::Vector<PasswdEntry>& passwd) {
  for (auto& entry : passwd) {
    if (entry.name != "vcap") continue;
    bool usable =
        entry.uid >= 1 && entry.uid <= MAX_IMAGE_ID && entry.gid >= 1 && entry.gid <= MAX_IMAGE_ID;
    if (usable) return ImageOwner{entry.uid, entry.gid};
    return nullptr;
  }
  return nullptr;
}

[[noreturn]] void fail(kj::StringPtr path, const kj::Exception& problem) {
  kj::throwFatalException(
      clientErrorOf("could not read the root file system's ", path, ": ", problem.getDescription(),
                    "; make it a regular file of at most 1 MiB that can be read"));
}

kj::Array<char> readOpened(kj::StringPtr path, int file) {
  if (file < 0) return nullptr;
  kj::Array<kj::byte> content;
  KJ_IF_MAYBE (problem,
               kj::runCatchingExceptions([&]() { content = readAll(file, MAX_FILE_BYTES); })) {
    fail(path, *problem);
  }
  return kj::heapArray(content.asChars());
}

}  // namespace

ImageFacts::ImageFacts(OpenedImage opened)
    : imageNumber(opened.number), hasRootHome(opened.hasRootHome) {
  Accounts facts;
  facts.passwd = parsePasswd(readOpened(PASSWD, opened.passwd));
  facts.group = parseGroup(readOpened(GROUP, opened.group));
  facts.vcap = findVcap(facts.passwd);
  cached = kj::mv(facts);
}

bool ImageFacts::Version::operator==(const Version& other) const {
  auto same = [](const timespec& a, const timespec& b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
  };
  return device == other.device && inode == other.inode && size == other.size &&
         same(modified, other.modified) && same(changed, other.changed);
}

ImageFacts::File ImageFacts::find(kj::StringPtr path) const {
  // O_PATH touches nothing: opening a device or a FIFO for reading could do harm or block.
  File file;
  KJ_IF_MAYBE (fd, tryOpenInRoot(image, path, O_PATH)) {
    file.fd = kj::mv(*fd);
  } else {
    return file;
  }
  struct stat status;
  KJ_SYSCALL(fstat(file.fd, &status));
  if (!S_ISREG(status.st_mode) || status.st_size > static_cast<off_t>(MAX_FILE_BYTES)) {
    kj::throwFatalException(clientErrorOf("the root file system's ", path,
                                          " is not a regular file of at most 1 MiB; correct it"));
  }
  file.version = {status.st_dev, status.st_ino, status.st_size, status.st_mtim, status.st_ctim};
  return file;
}

kj::Array<char> ImageFacts::read(kj::StringPtr path, const File& file) const {
  if (file.fd.get() < 0) return nullptr;
  Fd fd;
  KJ_IF_MAYBE (problem, kj::runCatchingExceptions([&]() {
                 fd = openInRoot(image, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
                 struct stat status;
                 KJ_SYSCALL(fstat(fd, &status));
                 KJ_REQUIRE(S_ISREG(status.st_mode), "no longer a regular file");
               })) {
    fail(path, *problem);
  }
  return readOpened(path, fd);
}

const ImageFacts::Accounts& ImageFacts::accounts() {
  if (image == nullptr) return KJ_ASSERT_NONNULL(cached);
  auto passwd = find(PASSWD);
  auto group = find(GROUP);
  KJ_IF_MAYBE (known, cached) {
    if (passwd.version == passwdVersion && group.version == groupVersion) return *known;
  }
  Accounts fresh;
  fresh.passwd = parsePasswd(read(PASSWD, passwd));
  fresh.group = parseGroup(read(GROUP, group));
  fresh.vcap = findVcap(fresh.passwd);
  passwdVersion = passwd.version;
  groupVersion = group.version;
  return cached.emplace(kj::mv(fresh));
}

bool ImageFacts::hasDirectory(kj::StringPtr absolutePath) const {
  if (image.get() < 0) return absolutePath == "/root" && hasRootHome;
  return tryOpenInRoot(image, absolutePath, O_PATH | O_DIRECTORY) != nullptr;
}

}  // namespace warden::frontend
