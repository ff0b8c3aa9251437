#include "tests/support/host-files.h"

#include <kj/debug.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <thread>

#include "tests/support/process.h"

namespace warden::test {

namespace fs = std::filesystem;

void addBind(CreateRequest& request, const std::string& source, const std::string& target,
             CreateRequest::BindMount::Mode mode) {
  auto& bind = *request.add_bind_mounts();
  bind.set_src_path(source);
  bind.set_dst_path(target);
  bind.set_mode(mode);
}

CreateRequest bindRequest(const std::string& handle, const std::string& source,
                          const std::string& target, CreateRequest::BindMount::Mode mode) {
  auto request = createRequest(handle);
  addBind(request, source, target, mode);
  return request;
}

CreateRequest rootfsRequest(const std::string& handle, const std::string& rootfs) {
  auto request = createRequest(handle);
  request.set_rootfs(rootfs);
  return request;
}

void makeOwned(const std::string& directory, uid_t owner, mode_t mode) {
  fs::create_directories(directory);
  KJ_SYSCALL(chown(directory.c_str(), owner, owner));
  KJ_SYSCALL(chmod(directory.c_str(), mode));
}

void writeOwned(const std::string& path, const std::string& content, uid_t owner, mode_t mode) {
  writeFile(path, content);
  KJ_SYSCALL(chown(path.c_str(), owner, owner));
  KJ_SYSCALL(chmod(path.c_str(), mode));
}

void giveTree(const std::string& root, uid_t owner) {
  KJ_SYSCALL(lchown(root.c_str(), owner, owner));
  for (auto& entry : fs::recursive_directory_iterator(root))
    KJ_SYSCALL(lchown(entry.path().c_str(), owner, owner));
}

size_t countWorkers(const TestServer& server) {
  size_t count = 0;
  for (pid_t pid : server.helperPids()) {
    if (statusField(pid, "Name") == "warden-worker") ++count;
  }
  return count;
}

std::string ownerOf(const std::string& path) {
  struct stat status;
  KJ_SYSCALL(lstat(path.c_str(), &status), path.c_str());
  return kj::str(status.st_uid, ':', status.st_gid, ' ').cStr() + [&] {
    char mode[8];
    snprintf(mode, sizeof(mode), "%o", status.st_mode & 07777);
    return std::string(mode);
  }();
}

}  // namespace warden::test
