#pragma once
// Root file systems for tests, made by rootfs-tools and kept below /var/cache/warden-test.

#include <string>

namespace warden::test {

std::string busyboxImage();
// An image with busybox and nothing else. Shared: it must not be changed.

std::string bashImage();
// The same with bash: what scripts of clients are written for. Shared.

std::string debianImage();
// A Debian 12 image; making it the first time downloads about 40 MB and takes a minute. Shared.

void copyTree(const std::string& from, const std::string& to);
// With owners, modes and links; `to` does not exist.

std::string describeTree(const std::string& root);
// One line for each file below `root`: path, type, mode, owner, size, times of change, link target,
// and a hash of the content. Equal before and after: nothing was changed.

}  // namespace warden::test
