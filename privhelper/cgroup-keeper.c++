#include "privhelper/cgroup-keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "base/fd.h"
#include "base/privilege.h"
#include "base/service-manager.h"

namespace warden::privhelper {

namespace {

constexpr size_t MOST_BYTES = 65536;

std::string ownCgroup() {
  // Of version 2 (cgroups(7), /proc/pid/cgroup), as a path.
  int raw;
  KJ_SYSCALL(raw = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC));
  Fd file(raw);
  auto bytes = readAll(file, MOST_BYTES);
  std::string text = "\n" + std::string(bytes.asChars().begin(), bytes.size());
  size_t start = text.find("\n0::/");
  KJ_REQUIRE(start != std::string::npos, "there is no cgroup hierarchy of version 2");
  start += 4;
  std::string path = text.substr(start, text.find('\n', start) - start);
  KJ_REQUIRE(path != "/", "this process is in no unit: it is started by warden-containers.service");
  bool hybrid = access("/sys/fs/cgroup/unified", F_OK) == 0;
  return (hybrid ? "/sys/fs/cgroup/unified" : "/sys/fs/cgroup") + path;
}

}  // namespace

void keepCgroup() {
  ServiceManager manager = ServiceManager::fromEnvironment();
  std::string path = ownCgroup() + "/keeper";
  if (mkdir(path.c_str(), 0755) < 0 && errno != EEXIST) {
    KJ_FAIL_SYSCALL("mkdir", errno, path.c_str());
  }
  path += "/cgroup.procs";
  int raw;
  KJ_SYSCALL(raw = open(path.c_str(), O_WRONLY | O_CLOEXEC), path.c_str());
  writeAll(Fd(raw), kj::StringPtr("0").asBytes());
  manager.ready();
  setNoNewPrivileges();
  dropAllCapabilities();
  for (;;)
    pause();
}

}  // namespace warden::privhelper
