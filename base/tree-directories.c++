#include "base/tree-directories.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

namespace warden {

namespace {

constexpr size_t OPEN_LEVELS = 64;
constexpr size_t WORD_BYTES = 240;  // of a path in an error

std::string printable(std::string_view path) {
  std::string result;
  if (path.size() > WORD_BYTES) {
    result = "...";
    path = path.substr(path.size() - WORD_BYTES);
  }
  for (unsigned char c : path) {
    if (c >= ' ' && c <= '~' && c != '\\') {
      result += static_cast<char>(c);
    } else {
      char escape[8];
      snprintf(escape, sizeof(escape), "\\x%02x", c);
      result += escape;
    }
  }
  return result;
}

}  // namespace

void failTree(const char* verb, std::string_view path, int error) {
  throw TreeFailure{kj::str(verb, " ", printable(path).c_str()), error};
}

void TreeDirectories::enter(std::string_view name, Fd directory) {
  struct stat status;
  if (fstat(directory, &status) < 0) fail("look at", name);
  if (!pathText.empty()) pathText += '/';
  size_t start = pathText.size();
  pathText += name;
  levels.push_back({kj::mv(directory), status.st_dev, status.st_ino, start});
  if (levels.size() > OPEN_LEVELS) levels[levels.size() - 1 - OPEN_LEVELS].directory = nullptr;
}

Fd TreeDirectories::leave() {
  Fd left = kj::mv(levels.back().directory);
  if (levels.size() > 1 && levels[levels.size() - 2].directory == nullptr) {
    Level& above = levels[levels.size() - 2];
    Fd parent(openat(left, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (parent == nullptr) failHere("go back out of");
    // Who moves a directory while it is copied leads to where nothing has been granted.
    struct stat status;
    if (fstat(parent, &status) < 0 || status.st_dev != above.device ||
        status.st_ino != above.inode) {
      failHere("go back out of", ESTALE);
    }
    above.directory = kj::mv(parent);
  }
  size_t start = levels.back().start;
  pathText.resize(start == 0 ? 0 : start - 1);
  levels.pop_back();
  return left;
}

std::string TreeDirectories::pathOf(std::string_view name) const {
  std::string result;
  result.reserve(pathText.size() + 1 + name.size());
  result = pathText;
  if (!result.empty()) result += '/';
  return result += name;
}

void TreeDirectories::fail(const char* verb, std::string_view name, int error) const {
  failTree(verb, pathOf(name), error);
}

void TreeDirectories::failHere(const char* verb, int error) const {
  failTree(verb, pathText, error);
}

bool isEmptyDirectory(int directory) {
  constexpr size_t ENTRIES_BYTES = 512;  // ".", ".." and at least one more
  alignas(dirent64) char entries[ENTRIES_BYTES];
  ssize_t size = getdents64(directory, entries, sizeof(entries));
  bool empty = size >= 0;
  for (ssize_t at = 0; at < size;) {
    auto* entry = reinterpret_cast<const dirent64*>(entries + at);
    at += entry->d_reclen;
    empty &= strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
  }
  return lseek(directory, 0, SEEK_SET) == 0 && empty;
}

}  // namespace warden
