#pragma once
// Inodes that are taken so that others cannot take them: how the number of files in an ext4 image
// is limited, and the limit changed, while it is mounted. (The kernel fixes the number of inodes
// when the file system is made, and its quotas may not be there.)

#include <stdint.h>

#include <vector>

#include "base/fd.h"

namespace warden::privhelper {

class InodeBallast {
  // Empty files in directories of a directory that only root can reach. It ends with the file
  // system.

 public:
  explicit InodeBallast(int fileSystem) : fileSystem(fileSystem) {}
  // The file system's root, which must stay open. Before anything else, one of these:

  void make();
  // Makes the directory, "ballast".
  void countAll();
  // Takes over what there is. Throw StepError.

  uint64_t inodes() const { return count; }
  uint64_t blocks() const { return blockCount; }
  // Of 512 bytes, that the directories take.

  static uint64_t mostBlocks(uint64_t inodes);
  // What this many more inodes take at most.

  bool resize(uint64_t inodes, uint64_t most);
  // Adds or removes, at most `most`; false: there is more to do. Stops short of it, with true, when
  // no inode is left to take. Throws StepError.

 private:
  int fileSystem;
  Fd current;  // the last directory, while it is filled or emptied
  uint64_t count = 0;
  uint64_t blockCount = 0;
  std::vector<uint64_t> blocksOf;  // each directory's

  bool push();
  void pop();
  void openCurrent();
  void measureCurrent();
  static uint64_t entriesOf(int directory);
};

}  // namespace warden::privhelper
