// Any bytes as the stream of a tree: unpacking fails, or makes files in the target and nowhere
// else.

#include <fcntl.h>
#include <kj/debug.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>

#include "base/tree-archive.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace fs = std::filesystem;
  static const std::string base = [] {
    char name[] = "/tmp/warden-fuzz-tree-XXXXXX";
    KJ_REQUIRE(mkdtemp(name) != nullptr);
    return std::string(name);
  }();
  fs::create_directories(base + "/target");
  warden::CopyPlace target{
      warden::Fd(open((base + "/target").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)), "", ""};
  auto stream = warden::makeSealedMemfd("tree", kj::arrayPtr(data, size));
  (void)warden::unpackTree(target, stream);
  size_t entries = std::distance(fs::directory_iterator(base), {});
  if (entries != 1 || !fs::is_directory(fs::symlink_status(base + "/target"))) abort();
  fs::permissions(base + "/target", fs::perms::owner_all);
  fs::remove_all(base);
  return 0;
}
