#pragma once
// File systems for depots: what limits the disk use of containers depends on what holds them.

#include <stdint.h>

#include <optional>
#include <string>

namespace warden::test {

class Filler {
  // A file that takes all that is free where `directory` is, reserves for root included; the
  // destructor removes it.

 public:
  explicit Filler(const std::string& directory);
  ~Filler() noexcept(false);
  Filler(const Filler&) = delete;

 private:
  std::string path;
};

class DepotFileSystem {
  // Mounted from an image file, in a mount namespace that the test's process enters for the rest of
  // its life; as long as this lives, test servers have their directories, and so their depots, on
  // it. The destructor unmounts and removes it.

 public:
  static constexpr uint64_t ROOMY = 2ull << 30;

  explicit DepotFileSystem(const std::string& type, uint64_t bytes = ROOMY);
  // "btrfs", "ext4" or "xfs", made by mkfs.TYPE; xfs with project quotas where the kernel has them.
  ~DepotFileSystem() noexcept(false);
  DepotFileSystem(const DepotFileSystem&) = delete;

 private:
  std::string directory;
};

class SmallDepot {
  // A file system in memory that is soon full, mounted on `directory`, in a mount namespace that
  // the test's process enters for the rest of its life. The destructor unmounts it.

 public:
  SmallDepot(const std::string& directory, uint64_t bytes);
  ~SmallDepot() noexcept(false);
  SmallDepot(const SmallDepot&) = delete;

  void fill() { filler.emplace(directory); }
  void empty() { filler.reset(); }

  bool setReadOnly(bool readOnly);
  // False: the kernel does not, as a file is open for writing (EBUSY).

 private:
  std::string directory;
  std::optional<Filler> filler;
};

struct DepotFacts {
  // What may be expected of limits, by docs/OPERATING.md, on the file system that holds
  // testDirectory().

  std::string backend;  // project, btrfs, loop
  bool limitsInodes;
  bool hasSoftLimits;
  uint64_t unit;        // of what limits of blocks are rounded up to, in blocks
  std::string refusal;  // what a program says that writes past the limit
};

DepotFacts depotFacts();

}  // namespace warden::test
