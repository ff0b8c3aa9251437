#pragma once
// Copies of trees by a stream, as the helper and wshd make them with each other.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <thread>

#include "base/tree-archive.h"

namespace warden {

namespace fs = std::filesystem;

struct CopyResult {
  std::string packing;  // "" or "EINVAL: refuse special file a"
  std::string unpacking;
  bool operator==(const CopyResult&) const = default;
};
inline std::ostream& operator<<(std::ostream& out, const CopyResult& result) {
  return out << result.packing << " | " << result.unpacking;
}

inline std::string wordsOf(const kj::Maybe<TreeFailure>& failure) {
  KJ_IF_MAYBE (why, failure) {
    return std::string(strerrorname_np(why->error)) + ": " + why->step.cStr();
  }
  return "";
}

struct StreamPair {
  Fd left, right;
  StreamPair() {
    int fds[2];
    KJ_SYSCALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    left = Fd(fds[0]);
    right = Fd(fds[1]);
  }
};

class TreeTest : public testing::Test {
  // An empty directory `base`, with all that is in it removed at the end.

 protected:
  void SetUp() override {
    base = within() + "/warden-tree-XXXXXX";
    ASSERT_NE(mkdtemp(base.data()), nullptr);
    KJ_SYSCALL(chmod(base.c_str(), 0755));
    root = Fd(open(base.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  void TearDown() override { removeAll(base); }
  ~TreeTest() noexcept override = default;

  virtual std::string within() const { return "/tmp"; }

  static void removeAll(const std::string& path) {
    // Deeper than what std::filesystem can.
    const char* const arguments[] = {"rm", "-rf", path.c_str(), nullptr};
    pid_t child = fork();
    if (child == 0) {
      execv("/bin/rm", const_cast<char* const*>(arguments));
      _exit(127);
    }
    int status;
    waitpid(child, &status, 0);
  }

  template <typename Found>
  static CopyPlace placeOf(Found&& found) {
    KJ_REQUIRE(found.template is<CopyPlace>(), "no such place");
    return kj::mv(found.template get<CopyPlace>());
  }
  CopyPlace source(const std::string& path) {
    return placeOf(findCopySource({root, "base", Resolve::BENEATH}, path));
  }
  CopyPlace target(const std::string& path) {
    return placeOf(findCopyTarget({root, "base", Resolve::BENEATH}, path));
  }

  CopyResult copy(const std::string& from, const std::string& to,
                  kj::Maybe<TreeOwner> owner = nullptr) {
    CopyPlace fromPlace = source(from), toPlace = target(to);
    StreamPair stream;
    CopyResult result;
    std::thread packer([&] {
      result.packing = wordsOf(packTree(fromPlace, stream.left));
      stream.left = nullptr;
    });
    result.unpacking = wordsOf(unpackTree(toPlace, stream.right, owner));
    stream.right = nullptr;
    packer.join();
    return result;
  }

  void write(const std::string& path, const std::string& content, mode_t mode = 0644) {
    Fd fd(open((base + "/" + path).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    KJ_REQUIRE(fd != nullptr, path.c_str());
    writeAll(fd, kj::arrayPtr(reinterpret_cast<const kj::byte*>(content.data()), content.size()));
    KJ_SYSCALL(fchmod(fd, mode));
  }
  std::string read(const std::string& path) {
    Fd fd(open((base + "/" + path).c_str(), O_RDONLY | O_CLOEXEC));
    if (fd == nullptr) return strerrorname_np(errno);
    auto bytes = readAll(fd, 1 << 26);
    return std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
  }
  void makeDirectory(const std::string& path, mode_t mode = 0755) {
    KJ_SYSCALL(mkdir((base + "/" + path).c_str(), 0700));
    KJ_SYSCALL(chmod((base + "/" + path).c_str(), mode));
  }
  mode_t modeOf(const std::string& path) {
    struct stat status;
    KJ_SYSCALL(lstat((base + "/" + path).c_str(), &status));
    return status.st_mode;
  }

  std::string base;
  Fd root;
};

}  // namespace warden
