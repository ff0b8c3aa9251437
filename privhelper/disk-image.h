#pragma once
// Empty ext4 file systems in sparse files.

#include <kj/array.h>
#include <kj/vector.h>
#include <stdint.h>

#include "base/fd.h"

namespace warden::privhelper {

class DiskImage {
  // The blocks of an empty file system that are not zero: some kilobytes, made once by libext2fs. A
  // new file system is these in a sparse file.

 public:
  DiskImage(uint64_t bytes, uint32_t inodes);
  // Somewhat more inodes than asked for, as the layout gives. Throws StepError.

  uint64_t bytes() const { return size; }

  void write(int file) const;
  // Into an empty file. Where the first tables lie, a full depot has room for what the kernel
  // writes there later. Throws StepError.

 private:
  struct Piece {
    uint64_t offset;
    kj::Array<kj::byte> content;
  };
  uint64_t size;
  uint64_t tables;  // bytes at its beginning
  kj::Vector<Piece> pieces;

  void collect(int file);
};

constexpr uint32_t IMAGE_BLOCK = 4096;  // bytes

}  // namespace warden::privhelper
