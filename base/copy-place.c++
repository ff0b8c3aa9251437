#include "base/copy-place.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

namespace warden {

namespace {

struct Split {
  std::string parent;  // "." where there is none
  std::string name;    // without slashes; may be "." or ".."
  bool hasSlash;       // at the end
};

Split split(const std::string& path) {
  size_t end = path.find_last_not_of('/');
  if (end == std::string::npos) return {".", ".", !path.empty()};
  size_t slash = path.rfind('/', end);
  size_t begin = slash == std::string::npos ? 0 : slash + 1;
  std::string parent = begin == 0 ? "." : path.substr(0, begin);
  return {parent, path.substr(begin, end + 1 - begin), end + 1 < path.size()};
}

bool isDots(const std::string& name) {
  return name == "." || name == "..";
}

int open(const GrantedDirectory& granted, const std::string& path) {
  return openResolved(granted.prefix, path.c_str(), O_PATH | O_DIRECTORY, granted.resolve);
}

kj::OneOf<CopyPlace, TreeFailure> failure(const char* step, int error) {
  return TreeFailure{kj::str(step), error};
}

}  // namespace

kj::OneOf<CopyPlace, TreeFailure> findCopySource(const GrantedDirectory& granted,
                                                 const std::string& path) {
  const char* what = "open source of copy";
  auto [parent, name, hasSlash] = split(path);
  bool isDirectory = path.empty() || hasSlash || isDots(name);
  Fd directory(open(granted, path.empty() ? "." : isDirectory ? path : parent));
  if (directory == nullptr) return failure(what, errno);
  if (path.empty()) return CopyPlace{kj::mv(directory), "", granted.calls};
  if (isDirectory) return CopyPlace{kj::mv(directory), "", ""};
  struct stat status;
  if (fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) {
    return failure(what, errno);
  }
  return CopyPlace{kj::mv(directory), name, ""};
}

kj::OneOf<CopyPlace, TreeFailure> findCopyTarget(const GrantedDirectory& granted,
                                                 const std::string& path) {
  const char* what = "open target of copy";
  auto [parent, name, hasSlash] = split(path);
  Fd directory(open(granted, path.empty() ? "." : path));
  if (directory != nullptr) return CopyPlace{kj::mv(directory), "", ""};
  // What is not there yet is made; a file is replaced, where the path does not ask for a directory.
  bool fits = errno == ENOENT || (errno == ENOTDIR && !hasSlash);
  if (!fits || isDots(name)) return failure(what, errno);
  directory = Fd(open(granted, parent));
  if (directory == nullptr) return failure(what, errno);
  return CopyPlace{kj::mv(directory), name, "", hasSlash};
}

}  // namespace warden
