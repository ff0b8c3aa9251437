#include "privhelper/disk-image.h"

#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>

#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr uint32_t INODE_BYTES = 256;
constexpr uint32_t INODES_OF_GROUP = 4096;
constexpr uint32_t BLOCKS_OF_GROUP = 8 * IMAGE_BLOCK;
constexpr uint32_t EXTRA_INODE_BYTES =
    32;  // what the kernel uses beyond 128 (times to the nanosecond)

struct CloseImage {
  void operator()(ext2_filsys fs) const { ext2fs_free(fs); }
};
using Image = std::unique_ptr<struct_ext2_filsys, CloseImage>;

void check(errcode_t error) {
  if (error != 0) throw StepError("make image", 0, error_message(error));
}

ext2_super_block layout(uint64_t bytes) {
  ext2_super_block super{};
  super.s_rev_level = EXT2_DYNAMIC_REV;
  super.s_log_block_size = super.s_log_cluster_size = 2;  // IMAGE_BLOCK
  super.s_inode_size = INODE_BYTES;
  super.s_inodes_count = (bytes / IMAGE_BLOCK / BLOCKS_OF_GROUP + 1) * INODES_OF_GROUP;
  // Tables of 64 groups lie together, so that few places of the sparse file are written to, and
  // still leave half of their first group to data, which the kernel therefore finds at once.
  super.s_log_groups_per_flex = 6;
  ext2fs_blocks_count_set(&super, bytes / IMAGE_BLOCK);
  // No copies of the superblock: an image does not outlive its container.
  super.s_feature_compat = EXT2_FEATURE_COMPAT_DIR_INDEX | EXT2_FEATURE_COMPAT_EXT_ATTR |
                           EXT4_FEATURE_COMPAT_SPARSE_SUPER2;
  super.s_feature_incompat = EXT2_FEATURE_INCOMPAT_FILETYPE | EXT3_FEATURE_INCOMPAT_EXTENTS |
                             EXT4_FEATURE_INCOMPAT_FLEX_BG;
  super.s_feature_ro_compat = EXT4_FEATURE_RO_COMPAT_GDT_CSUM | EXT2_FEATURE_RO_COMPAT_LARGE_FILE |
                              EXT4_FEATURE_RO_COMPAT_HUGE_FILE | EXT4_FEATURE_RO_COMPAT_DIR_NLINK |
                              EXT4_FEATURE_RO_COMPAT_EXTRA_ISIZE;
  return super;
}

void markEmpty(ext2_filsys fs, uint32_t inodes) {
  // Every group has as many inodes as any other, but the kernel takes them only where the group is
  // said to have free ones: the first groups. It finds them the sooner.
  // Tables of inodes are zero because the file is sparse; nobody needs to write them, neither here
  // nor the kernel after the mount.
  uint32_t total = 0;
  for (dgrp_t group = 0; group < fs->group_desc_count; ++group) {
    ext2fs_bg_flags_set(fs, group, EXT2_BG_INODE_ZEROED | EXT2_BG_INODE_UNINIT);
    ext2fs_bg_itable_unused_set(fs, group, fs->super->s_inodes_per_group);
    uint32_t free = group < inodes / INODES_OF_GROUP ? fs->super->s_inodes_per_group : 0;
    ext2fs_bg_free_inodes_count_set(fs, group, free);
    total += free;
    ext2fs_group_desc_csum_set(fs, group);
  }
  fs->super->s_free_inodes_count = total;
}

}  // namespace

DiskImage::DiskImage(uint64_t bytes, uint32_t inodes) : size(bytes / IMAGE_BLOCK * IMAGE_BLOCK) {
  Fd file(step("make image", [] { return memfd_create("image", MFD_CLOEXEC); }));
  step("make image", [&] { return ftruncate(file, size); });
  auto path = kj::str("/proc/self/fd/", file.get());
  ext2_super_block parameters = layout(size);
  ext2_filsys raw;
  check(ext2fs_initialize(path.cStr(), 0, &parameters, unix_io_manager, &raw));
  Image fs(raw);
  fs->super->s_def_hash_version = EXT2_HASH_HALF_MD4;
  fs->super->s_min_extra_isize = fs->super->s_want_extra_isize = EXTRA_INODE_BYTES;
  check(ext2fs_allocate_tables(raw));
  markEmpty(raw, inodes);
  check(ext2fs_mkdir(raw, EXT2_ROOT_INO, EXT2_ROOT_INO, nullptr));
  for (ext2_ino_t inode = EXT2_BAD_INO; inode < EXT2_FIRST_INODE(fs->super); ++inode) {
    if (inode != EXT2_ROOT_INO) ext2fs_inode_alloc_stats2(raw, inode, 1, 0);
  }
  ext2fs_mark_ib_dirty(raw);
  check(ext2fs_flush(raw));
  tables = (ext2fs_inode_table_loc(raw, 0) + fs->inode_blocks_per_group) * IMAGE_BLOCK;
  collect(file);
}

void DiskImage::collect(int file) {
  static constexpr kj::byte ZERO[IMAGE_BLOCK] = {};
  kj::byte block[IMAGE_BLOCK];
  kj::Vector<kj::byte> piece;
  auto finish = [&](uint64_t end) {
    if (piece.size() == 0) return;
    pieces.add(Piece{end - piece.size(), kj::heapArray(piece.asPtr())});
    piece.clear();
  };
  off_t offset = 0;
  off_t end = 0;  // of the piece
  while ((offset = lseek(file, offset, SEEK_DATA)) >= 0) {
    step("read image", [&] { return pread(file, block, sizeof(block), offset); });
    if (memcmp(block, ZERO, sizeof(block)) != 0) {
      if (offset != end) finish(end);
      piece.addAll(block, block + sizeof(block));
      end = offset + sizeof(block);
    }
    offset += sizeof(block);
  }
  finish(end);
}

void DiskImage::write(int file) const {
  step("write image", [&] { return ftruncate(file, size); });
  faultPoint("write image");
  // Bitmaps of 64 groups, 8 GiB, and the first group's table of inodes: 2 MiB at most. What a full
  // disk loses of these would take other files with it than those that were written last.
  if (fallocate(file, 0, 0, tables) < 0 && errno != EOPNOTSUPP) {
    throw StepError("write image", errno);
  }
  for (const Piece& piece : pieces) {
    auto& content = piece.content;
    ssize_t n = pwrite(file, content.begin(), content.size(), piece.offset);
    if (n < 0) throw StepError("write image", errno);
    if (static_cast<size_t>(n) != content.size()) throw StepError("write image", ENOSPC);
  }
}

}  // namespace warden::privhelper
