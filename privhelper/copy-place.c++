#include "privhelper/copy-place.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "privhelper/step.h"

namespace warden::privhelper {

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

Fd openDirectory(const GrantedDirectory& granted, const std::string& path, const char* what) {
  return Fd(step(what, [&] { return open(granted, path); }));
}

}  // namespace

CopyPlace findCopySource(const GrantedDirectory& granted, const std::string& path) {
  const char* what = "open source of copy";
  if (path.empty()) return {openDirectory(granted, ".", what), "", granted.calls};
  auto [parent, name, hasSlash] = split(path);
  if (hasSlash || isDots(name)) return {openDirectory(granted, path, what), "", ""};
  Fd directory = openDirectory(granted, parent, what);
  struct stat status;
  step(what, [&] { return fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW); });
  return {kj::mv(directory), name, ""};
}

CopyPlace findCopyTarget(const GrantedDirectory& granted, const std::string& path) {
  const char* what = "open target of copy";
  auto [parent, name, hasSlash] = split(path);
  Fd directory(open(granted, path.empty() ? "." : path));
  if (directory != nullptr) return {kj::mv(directory), "", ""};
  // What is not there yet is made; a file is replaced, where the path does not ask for a directory.
  bool fits = errno == ENOENT || (errno == ENOTDIR && !hasSlash);
  if (!fits || isDots(name)) throw StepError(what, errno);
  return {openDirectory(granted, parent, what), name, ""};
}

}  // namespace warden::privhelper
