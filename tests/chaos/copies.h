#pragma once
// Small trees of files that are copied into containers, and out again.

#include <atomic>
#include <map>
#include <string>

#include "tests/chaos/connection.h"

namespace warden::chaos {

class Trees {
  // Made before anything else, as the disk may be full later; the destructor removes all.

 public:
  explicit Trees(const std::string& directory);
  ~Trees();
  Trees(const Trees&) = delete;

  static constexpr uint32_t COUNT = 6;

  std::string source(uint32_t tree) const;
  Fate copyOut(Connection& connection, const std::string& handle, const std::string& place,
               uint32_t tree, bool walksAway, std::string& wrong);
  // What lies at `place` in the container has to be this tree; `wrong`: how it is not.

 private:
  std::string directory;
  std::atomic<uint32_t> copies = 0;
};

}  // namespace warden::chaos
