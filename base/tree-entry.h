#pragma once
// Files, directories and links as a tree's stream has them, made in the place of what is there.

#include "base/tree-archive.h"
#include "base/tree-directories.h"
#include "base/tree-reader.h"

namespace warden {

struct TreePlace {
  int directory;
  const std::string& name;             // in it
  const TreeDirectories& directories;  // for the words of errors

  [[noreturn]] void fail(const char* verb, int error = errno) const {
    directories.fail(verb, name, error);
  }
};

class TreeMaker {
  // All of it throws TreeFailure. What is not new keeps its owner.

 public:
  explicit TreeMaker(kj::Maybe<TreeOwner> owner) : owner(owner) {}

  void makeFile(const TreePlace& place, const TreeEntry& entry, TreeReader& reader);
  // A file that is there stays as it is until the new one is complete.

  void makeLink(const TreePlace& place, const TreeEntry& entry);

  struct Directory {
    Fd directory;
    bool isNew;
  };
  Directory makeDirectory(const TreePlace& place);
  // Of nobody else's, with all rights of its owner, until it is full.

  void openUp(int directory);
  // So that it can be filled, where it is the process' own.

  void own(int file, std::string_view path);

 private:
  kj::Maybe<TreeOwner> owner;

  void fill(int file, const TreePlace& place, const TreeEntry& entry, TreeReader& reader);
};

}  // namespace warden
