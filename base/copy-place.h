#pragma once
// Where a copy reads or writes, found by one resolution of its path. The words are those of
// rsync(1) without options for them: a slash at the end of a source means what is in it.

#include <kj/one-of.h>

#include <string>

#include "base/fd.h"
#include "base/path.h"
#include "base/tree-failure.h"

namespace warden {

struct CopyPlace {
  Fd directory;      // O_PATH
  std::string name;  // in `directory`; empty: the directory itself is meant
  // Only of a source without a name: what its tree is called; empty: it has no name, its contents
  // are copied.
  std::string calls;
  // Only of a target with a name: the path has a slash at the end, a directory is to be made.
  bool asksDirectory = false;
};

struct GrantedDirectory {
  int prefix;         // O_PATH
  std::string calls;  // the last component of its path
  Resolve resolve;    // what is beneath it
};

kj::OneOf<CopyPlace, TreeFailure> findCopySource(const GrantedDirectory& granted,
                                                 const std::string& path);
// `path` is relative, or empty for the prefix. A link as the last component is copied as a link;
// links before it are followed as `granted` allows. Fails where there is nothing, or the user may
// not get there.

kj::OneOf<CopyPlace, TreeFailure> findCopyTarget(const GrantedDirectory& granted,
                                                 const std::string& path);
// A directory that is there, also by a link, or a name in one, which may be taken by something that
// is no directory. Fails where not even the directory above is there.

}  // namespace warden
