#pragma once
// The directories that a walk through a tree is in. Trees may be deeper than a process has
// descriptors, and paths longer than PATH_MAX: the walk is by names in directories, and the way
// back out of a deep one by "..".

#include <errno.h>
#include <sys/stat.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/tree-failure.h"

namespace warden {

class TreeDirectories {
 public:
  void enter(std::string_view name, Fd directory);
  // `directory` is open for reading, and called so in the one that the walk is in.

  Fd leave();
  // Goes back to the directory above, and gives the one that was left. Throws TreeFailure (ESTALE)
  // when that has been moved to another place meanwhile.

  size_t depth() const { return levels.size(); }
  int current() const { return levels.back().directory; }
  const std::string& path() const { return pathText; }                  // of the current one: "a/b"
  size_t nameStart(size_t level) const { return levels[level].start; }  // in path()

  std::string pathOf(std::string_view name) const;  // of what is called so in the current one
  [[noreturn]] void fail(const char* verb, std::string_view name, int error = errno) const;
  [[noreturn]] void failHere(const char* verb, int error = errno) const;  // the current one itself

 private:
  struct Level {
    Fd directory;  // of the innermost ones only
    dev_t device;
    ino_t inode;
    size_t start;  // of its name in the path
  };

  std::vector<Level> levels;
  std::string pathText;
};

bool isEmptyDirectory(int directory);
// Open for reading. False also where that cannot be told.

[[noreturn]] void failTree(const char* verb, std::string_view path, int error);
// Throws TreeFailure, with the path in printable characters and shortened.

}  // namespace warden
