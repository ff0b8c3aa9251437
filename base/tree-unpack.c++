#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/tree-archive.h"
#include "base/tree-directories.h"
#include "base/tree-entry.h"
#include "base/tree-reader.h"

namespace warden {

namespace {

class TreeUnpacker {
 public:
  TreeUnpacker(const CopyPlace& target, TreeReader& reader, kj::Maybe<TreeOwner> owner)
      : target(target), reader(reader), maker(owner) {}

  void unpack();

 private:
  struct Pending {  // what a directory gets when it is full
    bool isNew;
    kj::Maybe<mode_t> mode;  // none: it keeps its own
  };

  const CopyPlace& target;
  TreeReader& reader;
  TreeMaker maker;
  Fd made;  // around the root of the tree, where the target asks for it
  TreeDirectories directories;
  std::vector<Pending> pending;

  void addRoot(const TreeEntry& entry);
  void addRootDirectory(const std::string& name, mode_t mode);
  void add(const TreeEntry& entry);
  std::string_view nameHere(std::string_view path) const;
  void put(int directory, const std::string& name, const TreeEntry& entry);
  void leave();
  Fd makeTarget();
};

void TreeUnpacker::unpack() {
  KJ_IF_MAYBE (root, reader.next()) {
    addRoot(*root);
  } else {
    throw TreeFailure{kj::str("read stream without a file"), EBADMSG};
  }
  for (;;) {
    KJ_IF_MAYBE (entry, reader.next()) {
      add(*entry);
    } else {
      break;
    }
  }
  while (directories.depth() > 0)
    leave();
}

bool isName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos;
}

Fd TreeUnpacker::makeTarget() {
  // As rsync(1) does: it is made where there is nothing, and takes the place of nothing.
  const char* name = target.name.c_str();
  Fd directory;
  if (mkdirat(target.directory, name, 0777) == 0) {
    directory = Fd(openat(target.directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  }
  if (directory == nullptr) directories.fail("make", name);
  if (!isEmptyDirectory(directory)) directories.fail("make", name, EEXIST);
  return directory;
}

void TreeUnpacker::addRoot(const TreeEntry& entry) {
  std::string name(entry.path);
  bool isDirectory = entry.kind == TreeEntry::DIRECTORY;
  if (!(isDirectory && name == ".") && !isName(name)) failTree("unpack", name, EBADMSG);
  if (isDirectory) return addRootDirectory(name, entry.mode);
  if (target.name.empty()) return put(target.directory, name, entry);
  if (!target.asksDirectory) return put(target.directory, target.name, entry);
  made = makeTarget();
  put(made, name, entry);
  maker.own(made, target.name);
}

void TreeUnpacker::addRootDirectory(const std::string& name, mode_t mode) {
  TreeEntry root{TreeEntry::DIRECTORY, name, mode, 0, nullptr};
  auto first = reader.next();
  // As rsync(1) does: what is alone takes the name of the target, also a directory.
  bool isAlone = first == nullptr && name != ".";
  if (isAlone && !target.name.empty() && !target.asksDirectory) {
    return put(target.directory, target.name, root);
  }
  if (!target.name.empty()) made = makeTarget();
  int around = made == nullptr ? target.directory.get() : made.get();
  if (name == ".") {
    Fd directory(openat(around, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory == nullptr) directories.fail("open", name);
    maker.openUp(directory);
    directories.enter(name, kj::mv(directory));
    pending.push_back({made != nullptr, mode});
  } else {
    put(around, name, root);
    if (made != nullptr) maker.own(made, target.name);
  }
  KJ_IF_MAYBE (entry, first) {
    add(*entry);
  }
}

std::string_view TreeUnpacker::nameHere(std::string_view path) const {
  const std::string& here = directories.path();
  if (path.size() <= here.size() + 1 || path[here.size()] != '/') return {};
  if (path.compare(0, here.size(), here) != 0) return {};
  std::string_view name = path.substr(here.size() + 1);
  return name.find('/') == std::string_view::npos ? name : std::string_view();
}

void TreeUnpacker::add(const TreeEntry& entry) {
  // Only into a directory of this very stream that is not full yet: never through a link, or what
  // has been there before and is not part of the tree.
  while (directories.depth() > 0 && nameHere(entry.path).empty())
    leave();
  std::string name;
  if (directories.depth() > 0) name = nameHere(entry.path);
  if (!isName(name)) failTree("unpack", entry.path, EBADMSG);
  put(directories.current(), name, entry);
}

void TreeUnpacker::put(int directory, const std::string& name, const TreeEntry& entry) {
  TreePlace place{directory, name, directories};
  switch (entry.kind) {
    case TreeEntry::FILE:
      return maker.makeFile(place, entry, reader);
    case TreeEntry::LINK:
      return maker.makeLink(place, entry);
    case TreeEntry::DIRECTORY:
      break;
  }
  auto opened = maker.makeDirectory(place);
  directories.enter(name, kj::mv(opened.directory));
  pending.push_back({opened.isNew, entry.mode});
}

void TreeUnpacker::leave() {
  std::string path = directories.path();
  Fd left = directories.leave();
  auto& rest = pending.back();
  if (rest.isNew) maker.own(left, path);
  KJ_IF_MAYBE (mode, rest.mode) {
    struct stat status;
    if (fstat(left, &status) < 0) failTree("look at", path, errno);
    if ((status.st_mode & 07777) != *mode && fchmod(left, *mode) < 0) {
      failTree("set permissions of", path, errno);
    }
  }
  pending.pop_back();
}

}  // namespace

kj::Maybe<TreeFailure> unpackTree(const CopyPlace& target, int stream, kj::Maybe<TreeOwner> owner,
                                  mode_t permissions, kj::Maybe<TreeMeter&> meter) {
  try {
    TreeReader reader(stream, permissions, meter);
    TreeUnpacker(target, reader, owner).unpack();
    return nullptr;
  } catch (TreeFailure& failure) {
    return kj::mv(failure);
  }
}

}  // namespace warden
