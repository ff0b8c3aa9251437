#pragma once
// What the helper does while it still has all of root's rights: reading its configuration and
// opening everything that it, or the frontend, will ever need from the host's file system.

#include <string>

#include "base/config.h"
#include "base/fd.h"
#include "base/service-manager.h"
#include "privhelper/audit-log.h"
#include "privhelper/policy.h"

namespace warden::privhelper {

struct LoadedConfig {
  Config config;
  Fd text;  // sealed memfd, for the frontend
};
LoadedConfig loadConfig(const std::string& path);
// Throws ConfigError.

Fd openParent(const std::string& path, const char* key);
Fd openRootOwnedDirectory(const std::string& path, const char* key);
// O_PATH directories: of the file `path`; `path` itself, which must belong to root and be writable
// by nobody else. `key` is the configuration's. Throw ConfigError.

Fd openImage(const Config& config);
Fd openDepot(const Config& config);
// O_PATH directories, which must belong to root and be writable by nobody else; the depot is made
// where there is none. Throw ConfigError.

Fd openProgram(const std::optional<std::string>& configured, const char* name);
// The configured program, or the one called `name` in the directory of this program.

Fd sealWshd(int program);

Fd lockDepot(const Config& config);
// Held as long as the server runs: two servers on one depot would take each other's containers for
// stale. Throws ConfigError when another holds it.

Fd openLog(const Config& config);
// logging.file for appending, or stderr.

AuditOptions auditOptions(const Config& config);
// With the defaults that follow from other keys: <logging.file>.audit and <logging.file>.requests.

AuditJournal openJournal();
// Throws ConfigError.

AuditLog openAuditLog(const AuditOptions& options);
// Each file's directory is held as a mount of its own that leads nowhere else, and the journal's
// socket as a connection: nothing of it takes a path later. Throws ConfigError.

void raiseDescriptorLimit(const Policy& policy);
// To the hard limit. Throws ConfigError when that is too low for all containers of the pool.

bool hasSocket(int directory, const Config& config);
// Whether there is one at server.unix_domain_path, in this directory. Throws ConfigError where
// there can be none.

class ListeningSocket {
  // warden.sock: bound with its configured mode, and removed at the end.

 public:
  explicit ListeningSocket(const Config& config);
  ~ListeningSocket() noexcept(false);
  KJ_DISALLOW_COPY(ListeningSocket);

  Fd takeListener() { return kj::mv(listener); }

 private:
  Fd directory;
  std::string name;
  Fd listener;
};

struct ServiceSockets {
  Fd clients;   // warden.sock
  Fd frontend;  // where the frontend connects
};
ServiceSockets takeSockets(kj::Vector<PassedDescriptor>& passed, const Config& config);
// Those that the service manager holds, by their names. Throws ConfigError where one is missing, of
// another kind, or not bound to server.unix_domain_path.

class PidFile {
  // The number of this process, the one that was started; removed at the end.

 public:
  explicit PidFile(const Config& config);
  ~PidFile() noexcept(false);
  KJ_DISALLOW_COPY(PidFile);

 private:
  Fd directory;
  std::string name;
};

}  // namespace warden::privhelper
