#include "privhelper/inode-ballast.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <kj/string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr char NAME[] = "ballast";

// A directory and its files. They come and go from the end: number n stands for directory
// n / INODES_OF_ONE where n is a multiple of that, and else for a file of it.
constexpr uint64_t INODES_OF_ONE = 1025;

// The kernel looks through every name of a block for each file that it makes: with names as long as
// these a block has few, and making a file takes a third of the time.
constexpr uint64_t NAME_LENGTH = 60;
constexpr uint64_t BLOCKS_OF_ONE = 8 * 2 * (INODES_OF_ONE * (NAME_LENGTH + 8 + 4) / 4096 + 2);

kj::String directoryName(uint64_t number) {
  return kj::str(NAME, '/', number / INODES_OF_ONE);
}

kj::String fileName(uint64_t number) {
  return kj::str("0000000000000000000000000000000000000000000000000000", number % INODES_OF_ONE);
}

Fd openDirectory(int parent, kj::StringPtr name) {
  return Fd(step("open ballast", [&] {
    return openat(parent, name.cStr(), O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  }));
}

bool isDirectory(uint64_t number) {
  return number % INODES_OF_ONE == 0;
}

}  // namespace

void InodeBallast::make() {
  step("make ballast", [&] { return mkdirat(fileSystem, NAME, 0700); });
}

void InodeBallast::countAll() {
  // As they come and go from the end, all directories but the last are full.
  Fd all = openDirectory(fileSystem, NAME);
  uint64_t directories = entriesOf(all);
  for (uint64_t i = 0; i < directories; ++i) {
    count = i * INODES_OF_ONE + 1;
    blocksOf.push_back(0);
    openCurrent();
    measureCurrent();
  }
  if (directories > 0) count += entriesOf(current);
  current = nullptr;
}

uint64_t InodeBallast::entriesOf(int directory) {
  Fd list = openDirectory(directory, ".");
  std::unique_ptr<DIR, int (*)(DIR*)> entries(fdopendir(list), closedir);
  if (entries == nullptr) throw StepError("count ballast", errno);
  list.release();
  uint64_t found = 0;
  while (dirent* entry = readdir(entries.get()))
    if (entry->d_name[0] != '.') ++found;
  return found;
}

uint64_t InodeBallast::mostBlocks(uint64_t inodes) {
  return (inodes / INODES_OF_ONE + 2) * BLOCKS_OF_ONE;
}

bool InodeBallast::resize(uint64_t inodes, uint64_t most) {
  bool full = false;
  for (; most > 0 && count != inodes && !full; --most) {
    if (count > inodes) {
      pop();
    } else {
      full = !push();
    }
  }
  if (current != nullptr) measureCurrent();
  current = nullptr;
  return full || count == inodes;
}

bool InodeBallast::push() {
  int result;
  if (isDirectory(count)) {
    if (current != nullptr) measureCurrent();
    result = mkdirat(fileSystem, directoryName(count).cStr(), 0700);
  } else {
    if (current == nullptr) openCurrent();
    result = mknodat(current, fileName(count).cStr(), S_IFREG | 0600, 0);
  }
  if (result < 0) {
    if (errno == ENOSPC) return false;
    throw StepError("limit inodes", errno);
  }
  if (isDirectory(count)) {
    blocksOf.push_back(0);
    current = nullptr;
  }
  ++count;
  return true;
}

void InodeBallast::pop() {
  uint64_t last = count - 1;
  if (isDirectory(last)) {
    current = nullptr;
    if (unlinkat(fileSystem, directoryName(last).cStr(), AT_REMOVEDIR) < 0) {
      throw StepError("limit inodes", errno);
    }
    blockCount -= blocksOf.back();
    blocksOf.pop_back();
  } else {
    if (current == nullptr) openCurrent();
    if (unlinkat(current, fileName(last).cStr(), 0) < 0) throw StepError("limit inodes", errno);
  }
  count = last;
}

void InodeBallast::openCurrent() {
  current = openDirectory(fileSystem, directoryName(count - 1));
}

void InodeBallast::measureCurrent() {
  struct stat status;
  step("open ballast", [&] { return fstat(current, &status); });
  blockCount += status.st_blocks - blocksOf.back();
  blocksOf.back() = status.st_blocks;
}

}  // namespace warden::privhelper
