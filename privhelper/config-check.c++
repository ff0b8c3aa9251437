#include "privhelper/config-check.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/fd.h"
#include "privhelper/apparmor.h"
#include "privhelper/health-listener.h"
#include "privhelper/startup.h"

namespace warden::privhelper {

namespace {

// What a start opens for writing, or makes.
void checkFile(const std::string& path, const char* key) {
  Fd directory = openParent(path, key);
  std::string name = std::filesystem::path(path).filename();
  // O_NONBLOCK: a FIFO that nobody reads.
  constexpr int FLAGS = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK;
  Fd file(openat(directory, name.c_str(), FLAGS));
  if (file != nullptr) return;
  if (errno == ENOENT && !name.empty() && faccessat(directory, ".", W_OK, AT_EACCESS) == 0) return;
  throw ConfigError(std::string(key) + ": cannot write " + path + ": " + strerrordesc_np(errno));
}

void checkTrail(const std::optional<std::string>& path, const char* key) {
  if (!path.has_value()) return;
  for (auto& file : {*path, *path + ".head"}) {
    checkFile(file, key);
    struct stat status;
    if (lstat(file.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
      throw ConfigError(std::string(key) + ": " + file +
                        " is no regular file: remove it, or name another");
    }
  }
}

void checkDepot(const Config& config) {
  constexpr char KEY[] = "server.container_depot_path";
  const std::string& path = config.server.containerDepotPath;
  struct stat status;
  if (stat(path.c_str(), &status) == 0 || errno != ENOENT) {
    openRootOwnedDirectory(path, KEY);
    return;
  }
  Fd parent = openParent(path, KEY);
  if (faccessat(parent, ".", W_OK, AT_EACCESS) == 0) return;
  throw ConfigError(std::string(KEY) + ": cannot make " + path + ": " + strerrordesc_np(errno));
}

// Whether a server with this depot runs.
bool isServed(const Config& config) {
  Fd depot(open(config.server.containerDepotPath.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return depot != nullptr && flock(depot, LOCK_SH | LOCK_NB) < 0;
}

void checkHealthPort(const Config& config) {
  if (!config.healthCheckPort.has_value()) return;
  int error = tryHealthPort(*config.healthCheckPort);
  if (error == 0) return;
  // The server that runs has the port itself, and gives it to the next. Asked after the port, so
  // that the lock of isServed() is in no server's way: with a port in use none can start.
  if (error == EADDRINUSE && isServed(config)) return;
  throw healthPortError(*config.healthCheckPort, error);
}

void checkFiles(const Config& config, auto&& note) {
  AuditOptions audit = auditOptions(config);
  note([&] {
    if (config.logging.file.has_value()) checkFile(*config.logging.file, "logging.file");
  });
  note([&] { checkTrail(audit.helper, config.audit.helper ? "audit.helper" : "logging.file"); });
  note([&] {
    checkTrail(audit.frontend, config.audit.frontend ? "audit.frontend" : "logging.file");
  });
  note([&] {
    if (audit.journald) openJournal();
  });
  note([&] {
    if (config.server.pidfile.has_value()) checkFile(*config.server.pidfile, "server.pidfile");
  });
  note([&] { openImage(config); });
  note([&] { checkDepot(config); });
  note([&] { openProgram(config.privhelper.wshdPath, "warden-wshd"); });
  note([&] { openProgram(config.privhelper.frontendPath, "warden-frontend"); });
}

}  // namespace

std::vector<std::string> findMistakes(const std::string& path, bool passedSockets) {
  std::vector<std::string> mistakes;
  std::string text;
  auto note = [&](auto&& check) {
    try {
      check();
    } catch (const ConfigError& e) {
      mistakes.push_back(placeMistake(e.what(), text, path));
    }
  };
  note([&] {
    Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (file == nullptr) throw ConfigError(path + ": cannot open: " + strerrordesc_np(errno));
    text = readConfigFile(file, path);
  });
  if (!mistakes.empty()) return mistakes;
  mistakes = findConfigMistakes(text, path);
  if (!mistakes.empty()) return mistakes;
  Config config = parseConfig(text, path);
  note([&] { policyFrom(config, path); });
  note([&] { requireAppArmor(config.profiles); });
  checkFiles(config, note);
  note([&] {
    if (passedSockets) return;
    hasSocket(openParent(config.server.unixDomainPath, "server.unix_domain_path"), config);
  });
  note([&] { checkHealthPort(config); });
  return mistakes;
}

}  // namespace warden::privhelper
