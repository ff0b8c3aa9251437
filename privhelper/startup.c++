#include "privhelper/startup.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/unix-address.h"

namespace warden::privhelper {

namespace {

constexpr int BACKLOG = 1024;
constexpr size_t LARGEST_PROGRAM = 64 << 20;
constexpr int LINGER_MS = 3000;
constexpr int PAUSE_MS = 10;

std::string describe(int error) {
  return std::string(strerrordesc_np(error));
}

std::string parentOf(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string baseOf(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

Fd openDirectory(const std::string& path, const char* key, const char* advice = "") {
  int fd = open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    throw ConfigError(std::string(key) + ": cannot open directory " + path + ": " +
                      describe(errno) + advice);
  }
  return Fd(fd);
}

// "warden-wshd" has the key privhelper.wshd_path.
std::string keyOfProgram(const std::string& name) {
  return "privhelper." + name.substr(name.find('-') + 1) + "_path";
}

Fd openForAppending(const std::string& path, mode_t mode) {
  int raw = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode);
  if (raw < 0) throw ConfigError("logging.file: cannot open " + path + ": " + describe(errno));
  return Fd(raw);
}

Fd openAlone(const std::string& path, const char* key) {
  // The broker keeps this. A descriptor of the directory itself would lead it by ".." to all files
  // of the host.
  Fd directory = openDirectory(path, key, "; make it first");
  int raw = open_tree(directory, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
  if (raw < 0)
    throw ConfigError(std::string(key) + ": " + path + ": open_tree: " + describe(errno));
  return Fd(raw);
}

AuditTrail openTrail(const std::optional<std::string>& path, const char* key,
                     const AuditOptions& options) {
  if (!path.has_value()) return AuditTrail(duplicate(STDERR_FILENO));
  try {
    return AuditTrail(openAlone(parentOf(*path), key), baseOf(*path), options.rotateBytes,
                      options.keep);
  } catch (const kj::Exception& e) {
    throw ConfigError(std::string(key) + ": " + *path + ": " + e.getDescription().cStr());
  }
}

// Of a file in a directory that is open, however long the directory's own name is.
std::string shortPath(int directory, const std::string& name) {
  return "/proc/self/fd/" + std::to_string(directory) + "/" + name;
}

bool isServed(int directory, const std::string& name) {
  // True when a server accepts connections there.
  int raw;
  KJ_SYSCALL(raw = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Fd probe(raw);
  UnixAddress address(shortPath(directory, name));
  return connect(probe, address.get(), address.size()) == 0;
}

bool awaitEndOfService(int directory, const std::string& name) {
  // The frontend of a server that was killed takes a moment to see it, and holds the socket until
  // then.
  for (int waited = 0; isServed(directory, name); waited += PAUSE_MS) {
    if (waited >= LINGER_MS) return false;
    poll(nullptr, 0, PAUSE_MS);
  }
  return true;
}

Fd takeListener(kj::Vector<PassedDescriptor>& passed, const char* name, int type) {
  KJ_IF_MAYBE (socket, takeNamed(passed, name)) {
    auto option = [&](int which) {
      int value = -1;
      socklen_t size = sizeof(value);
      return getsockopt(*socket, SOL_SOCKET, which, &value, &size) < 0 ? -1 : value;
    };
    if (option(SO_DOMAIN) == AF_UNIX && option(SO_TYPE) == type && option(SO_ACCEPTCONN) == 1) {
      setNonblocking(*socket);
      return kj::mv(*socket);
    }
  }
  throw ConfigError(std::string("--systemd: systemd passes no listening unix socket \"") + name +
                    "\" (FileDescriptorName=) of the right type: start the service by its unit");
}

}  // namespace

Fd openParent(const std::string& path, const char* key) {
  return openDirectory(parentOf(path), key, "; make it first");
}

Fd openRootOwnedDirectory(const std::string& path, const char* key) {
  Fd fd = openDirectory(path, key);
  struct stat status;
  KJ_SYSCALL(fstat(fd, &status));
  if (status.st_uid != 0 || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    throw ConfigError(std::string(key) + ": " + path +
                      " must belong to root and be writable by nobody else: chown root and chmod "
                      "go-w it");
  }
  return fd;
}

ServiceSockets takeSockets(kj::Vector<PassedDescriptor>& passed, const Config& config) {
  ServiceSockets sockets{takeListener(passed, "clients", SOCK_STREAM),
                         takeListener(passed, "frontend", SOCK_SEQPACKET)};
  sockaddr_un address{};
  socklen_t size = sizeof(address) - 1;
  KJ_SYSCALL(getsockname(sockets.clients, reinterpret_cast<sockaddr*>(&address), &size));
  if (config.server.unixDomainPath != address.sun_path) {
    throw ConfigError("server.unix_domain_path: it is " + config.server.unixDomainPath +
                      ", but warden.socket listens on " + address.sun_path +
                      ": make the two the same");
  }
  return sockets;
}

LoadedConfig loadConfig(const std::string& path) {
  int raw = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (raw < 0) throw ConfigError(path + ": cannot open: " + describe(errno));
  Fd file(raw);
  std::string text = readConfigFile(file, path);
  Config config = parseConfig(text, path);
  Fd sealed = makeSealedMemfd(
      "warden-config", kj::arrayPtr(reinterpret_cast<const kj::byte*>(text.data()), text.size()));
  // As the file: readConfigFile() of the frontend looks at owner and mode again.
  KJ_SYSCALL(fchmod(sealed, 0400));
  return {std::move(config), kj::mv(sealed)};
}

Fd openImage(const Config& config) {
  return openRootOwnedDirectory(config.server.containerRootfsPath, "server.container_rootfs_path");
}

Fd openDepot(const Config& config) {
  const std::string& path = config.server.containerDepotPath;
  if (mkdir(path.c_str(), 0755) < 0 && errno != EEXIST) {
    throw ConfigError("server.container_depot_path: cannot make " + path + ": " + describe(errno));
  }
  return openRootOwnedDirectory(path, "server.container_depot_path");
}

Fd openProgram(const std::optional<std::string>& configured, const char* name) {
  std::string path;
  if (configured.has_value()) {
    path = *configured;
  } else {
    char self[4096];
    ssize_t n;
    KJ_SYSCALL(n = readlink("/proc/self/exe", self, sizeof(self) - 1));
    path = parentOf(std::string(self, n)) + "/" + name;
  }
  int raw = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  std::string key = keyOfProgram(name);
  if (raw < 0)
    throw ConfigError(key + ": cannot open the program " + path + ": " + describe(errno));
  Fd fd(raw);
  struct stat status;
  KJ_SYSCALL(fstat(fd, &status));
  if (!S_ISREG(status.st_mode) || status.st_uid != 0 ||
      (status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    throw ConfigError(key + ": " + path +
                      ": a program that runs with privilege must be a file that belongs to "
                      "root and is writable by nobody else");
  }
  return fd;
}

Fd sealWshd(int program) {
  Fd sealed = makeSealedMemfd("wshd", readAll(program, LARGEST_PROGRAM), MemfdUse::EXECUTABLE);
  // Executable, but not readable for a container's root: then the kernel gives wshd's memory to the
  // host's user namespace (execve(2), ptrace(2) on unreadable programs), and nothing in the
  // container can trace it or look into its /proc/1, whatever capabilities it has there.
  KJ_SYSCALL(fchmod(sealed, 0111));
  return sealed;
}

Fd lockDepot(const Config& config) {
  const std::string& path = config.server.containerDepotPath;
  int raw;
  KJ_SYSCALL(raw = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), path.c_str());
  Fd fd(raw);
  if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
    throw ConfigError("server.container_depot_path: another server uses " + path +
                      ": stop it first, or give this one a depot of its own");
  }
  return fd;
}

Fd openLog(const Config& config) {
  if (!config.logging.file.has_value()) return duplicate(STDERR_FILENO);
  return openForAppending(*config.logging.file, 0640);
}

AuditOptions auditOptions(const Config& config) {
  AuditOptions options;
  options.helper = config.audit.helper;
  options.frontend = config.audit.frontend;
  if (config.logging.file.has_value()) {
    if (!options.helper) options.helper = *config.logging.file + ".audit";
    if (!options.frontend) options.frontend = *config.logging.file + ".requests";
  }
  options.journald = config.audit.journald;
  options.rotateBytes = config.audit.rotateBytes;
  options.keep = config.audit.keep;
  using WhenUnwritable = AuditOptions::WhenUnwritable;
  options.whenUnwritable =
      config.audit.refuseWhenUnwritable ? WhenUnwritable::REFUSE : WhenUnwritable::CONTINUE;
  return options;
}

AuditJournal openJournal() {
  try {
    return AuditJournal();
  } catch (const kj::Exception& e) {
    throw ConfigError(std::string("audit.journald: the journal cannot be reached: ") +
                      e.getDescription().cStr());
  }
}

AuditLog openAuditLog(const AuditOptions& options) {
  AuditTrail operations = openTrail(options.helper, "audit.helper", options);
  AuditTrail requests = openTrail(options.frontend, "audit.frontend", options);
  if (options.journald) {
    operations.copyTo(openJournal());
    requests.copyTo(openJournal());
  }
  return AuditLog(kj::mv(operations), kj::mv(requests), options.whenUnwritable);
}

void raiseDescriptorLimit(const Policy& policy) {
  // Of each container: wshd's pidfd, its directory and its disk; of its cgroups none is kept open.
  // And some while one is made: of each hierarchy, and of its statistics.
  const rlim_t needed = 4 * rlim_t(policy.slotCount) + 128;
  rlimit limit;
  KJ_SYSCALL(getrlimit(RLIMIT_NOFILE, &limit));
  if (limit.rlim_max < needed) {
    throw ConfigError("user.pool_size: " + std::to_string(policy.slotCount) + " containers need " +
                      std::to_string(needed) + " open files, but the hard limit is " +
                      std::to_string(limit.rlim_max) +
                      ": raise it (LimitNOFILE), or lower the pool");
  }
  limit.rlim_cur = limit.rlim_max;
  KJ_SYSCALL(setrlimit(RLIMIT_NOFILE, &limit));
}

bool hasSocket(int directory, const Config& config) {
  const std::string& path = config.server.unixDomainPath;
  if (!UnixAddress::isPath(shortPath(directory, baseOf(path)))) {
    throw ConfigError("server.unix_domain_path: the file name of " + path + " is too long");
  }
  struct stat status;
  if (fstatat(directory, baseOf(path).c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) return false;
  if (!S_ISSOCK(status.st_mode)) {
    throw ConfigError("server.unix_domain_path: " + path + " exists and is not a socket");
  }
  return true;
}

ListeningSocket::ListeningSocket(const Config& config)
    : directory(openParent(config.server.unixDomainPath, "server.unix_domain_path")),
      name(baseOf(config.server.unixDomainPath)) {
  const std::string& path = config.server.unixDomainPath;
  if (hasSocket(directory, config)) {
    if (!awaitEndOfService(directory, name)) {
      throw ConfigError("server.unix_domain_path: a server is already running on " + path);
    }
    KJ_SYSCALL(unlinkat(directory, name.c_str(), 0));
  }
  int raw;
  KJ_SYSCALL(raw = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  listener = Fd(raw);
  UnixAddress address(shortPath(directory, name));
  // The file gets the mode of the socket (unix(7)): there is no moment of wider access.
  mode_t mask = umask(0);
  KJ_SYSCALL(fchmod(listener, config.server.unixDomainPermissions));
  int result = bind(listener, address.get(), address.size());
  int error = errno;
  umask(mask);
  if (result < 0) {
    throw ConfigError("server.unix_domain_path: cannot bind " + path + ": " + describe(error));
  }
  KJ_SYSCALL(listen(listener, BACKLOG));
}

ListeningSocket::~ListeningSocket() noexcept(false) {
  unlinkat(directory, name.c_str(), 0);
}

PidFile::PidFile(const Config& config) {
  if (!config.server.pidfile.has_value()) return;
  directory = openParent(*config.server.pidfile, "server.pidfile");
  name = baseOf(*config.server.pidfile);
  int raw =
      openat(directory, name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (raw < 0) {
    throw ConfigError("server.pidfile: cannot write " + *config.server.pidfile + ": " +
                      describe(errno));
  }
  Fd file(raw);
  writeAll(file, kj::str(getpid(), '\n').asBytes());
}

PidFile::~PidFile() noexcept(false) {
  if (directory != nullptr) unlinkat(directory, name.c_str(), 0);
}

}  // namespace warden::privhelper
