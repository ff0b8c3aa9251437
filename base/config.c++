#include "base/config.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml-cpp/eventhandler.h>

#include <algorithm>
#include <sstream>

#include "base/config-access.h"
#include "base/config-network.h"
#include "base/config-profiles.h"
#include "base/config-reader.h"
#include "base/unix-address.h"

namespace warden {

namespace {

constexpr size_t MAX_CONFIG_BYTES = 1 << 20;
constexpr uint64_t IDS_PER_SLOT = 65536;
constexpr uint64_t ID_LIMIT = uint64_t(1) << 31;

struct Rlimit {
  const char* name;
  int resource;
  uint64_t value;  // without configuration; units as in setrlimit(2)
};
constexpr Rlimit RLIMITS[] = {
    {"as", RLIMIT_AS, RLIM_INFINITY},
    {"core", RLIMIT_CORE, 0},
    {"cpu", RLIMIT_CPU, RLIM_INFINITY},
    {"data", RLIMIT_DATA, RLIM_INFINITY},
    {"fsize", RLIMIT_FSIZE, RLIM_INFINITY},
    {"locks", RLIMIT_LOCKS, RLIM_INFINITY},
    {"memlock", RLIMIT_MEMLOCK, 64 * 1024},
    {"msgqueue", RLIMIT_MSGQUEUE, 819200},
    {"nice", RLIMIT_NICE, 0},
    {"nofile", RLIMIT_NOFILE, 1024},
    {"nproc", RLIMIT_NPROC, 1024},
    {"rss", RLIMIT_RSS, RLIM_INFINITY},
    {"rtprio", RLIMIT_RTPRIO, 0},
    {"sigpending", RLIMIT_SIGPENDING, 1024},
    {"stack", RLIMIT_STACK, 8 * 1024 * 1024},
};

std::map<int, uint64_t> readRlimits(ConfigSection section) {
  std::map<int, uint64_t> result;
  for (const Rlimit& limit : RLIMITS) {
    result[limit.resource] = section.limit(limit.name).value_or(limit.value);
  }
  section.finish();
  return result;
}

std::string requirePath(ConfigSection& section, const std::string& key) {
  auto path = section.path(key);
  if (!path) section.fail(key, "is missing; an absolute path is required");
  return *path;
}

std::optional<std::string> readSocketPath(ConfigSection& section, const std::string& key) {
  auto path = section.path(key);
  if (path && path->size() > UnixAddress::MAX_PATH_BYTES) {
    section.fail(key, "is too long; at most 107 bytes are accepted");
  }
  return path;
}

Config::Server readServer(ConfigSection section) {
  Config::Server server;
  assign(server.unixDomainPath, readSocketPath(section, "unix_domain_path"));
  assign(server.unixDomainPermissions,
         section.number("unix_domain_permissions", 0, 0777, "an octal mode from 0000 to 0777"));
  assign(server.containerKlass, section.text("container_klass"));
  server.containerRootfsPath = requirePath(section, "container_rootfs_path");
  server.containerDepotPath = requirePath(section, "container_depot_path");
  assign(server.containerGraceTime, section.number("container_grace_time", 0, UINT32_MAX));
  server.containerRlimits = readRlimits(section.section("container_rlimits"));
  assign(server.jobOutputLimit, section.number("job_output_limit", 0, INT64_MAX));
  ConfigSection quota = section.section("quota");
  assign(server.diskQuotaEnabled, quota.flag("disk_quota_enabled"));
  quota.finish();
  assign(server.allowNestedWarden, section.flag("allow_nested_warden"));
  server.pidfile = section.path("pidfile");
  server.syslogSocket = readSocketPath(section, "syslog_socket");
  section.finish();
  return server;
}

Config::Logging readLogging(ConfigSection section) {
  Config::Logging logging;
  assign(logging.level, section.text("level"));
  if (logging.level == "debug1" || logging.level == "debug2") logging.level = "debug";
  constexpr const char* LEVELS[] = {"debug", "info", "warn", "error"};
  if (std::find(std::begin(LEVELS), std::end(LEVELS), logging.level) == std::end(LEVELS)) {
    section.fail("level",
                 "'" + logging.level + "' is no level; debug, info, warn or error is accepted");
  }
  logging.file = section.path("file");
  logging.syslog = section.text("syslog");
  section.finish();
  return logging;
}

// A name that is safe as one component of a path below a cgroup hierarchy.
bool isComponent(const std::string& name) {
  return name.size() <= 64 &&
         std::all_of(
             name.begin(), name.end(),
             [](unsigned char c) { return isalnum(c) || c == '-' || c == '_' || c == '.'; }) &&
         name[0] != '.';
}

Config::PrivHelper readPrivHelper(ConfigSection section, const Config::User& users,
                                  const std::vector<Profile>& profiles) {
  Config::PrivHelper helper;
  assign(helper.user, section.text("user"));
  if (helper.user == "root") {
    section.fail("user", "is root; the name of a user without privilege is accepted");
  }
  uint64_t highest = ID_LIMIT - users.poolSize * IDS_PER_SLOT;
  // Above 65535, so that no container's id is the uid of a user of the host or of the pool of
  // vcaps.
  assign(helper.idRangeStart,
         section.number("id_range_start", IDS_PER_SLOT, highest,
                        "a number from 65536 to " + std::to_string(highest) +
                            " (2^31 - user.pool_size * 65536), which leaves 65536 ids for each "
                            "container and does not overlap the pool of users,"));
  if (helper.idRangeStart > highest) {
    section.fail("id_range_start",
                 "its default leaves too few ids for user.pool_size containers; at most " +
                     std::to_string(highest) + " is accepted");
  }
  // PID_MAX_LIMIT of the kernel (proc(5), pid_max).
  assign(helper.pidsLimit, section.number("pids_limit", 0, 1 << 22));
  assign(helper.lowestHostPort, section.number("lowest_host_port", 1, 65535));
  assign(helper.cgroupParent, section.text("cgroup_parent"));
  if (!isComponent(helper.cgroupParent)) {
    section.fail("cgroup_parent",
                 "is no plain name; up to 64 letters, digits, '-', '_' and '.' are accepted, "
                 "not starting with '.'");
  }
  helper.wshdPath = section.path("wshd_path");
  helper.frontendPath = section.path("frontend_path");
  helper.profile = readProfileName(section, "profile", profiles);
  section.finish();
  return helper;
}

Config::Audit readAudit(ConfigSection section, const Config::Logging& logging) {
  Config::Audit audit;
  audit.helper = section.path("helper");
  audit.frontend = section.path("frontend");
  if (audit.frontend && audit.frontend == audit.helper) {
    section.fail("frontend", "is the file of audit.helper; a trail has a file of its own");
  }
  for (auto& [key, file] :
       {std::pair("helper", audit.helper), std::pair("frontend", audit.frontend)}) {
    if (file && file == logging.file) {
      section.fail(key, "is the file of logging.file; a trail has a file of its own");
    }
  }
  assign(audit.journald, section.flag("journald"));
  assign(audit.rotateBytes, section.number("rotate_bytes", 1 << 20, INT64_MAX));
  assign(audit.keep, section.number("keep", 1, 1000));
  if (auto text = section.text("when_unwritable")) {
    if (*text != "refuse" && *text != "continue") {
      section.fail("when_unwritable", "'" + *text + "' is neither; refuse or continue is accepted");
    }
    audit.refuseWhenUnwritable = *text == "refuse";
  }
  assign(audit.recordReads, section.flag("record_reads"));
  section.finish();
  return audit;
}

Config::Frontend readFrontend(ConfigSection section, const Config::User& users) {
  Config::Frontend frontend;
  frontend.maxContainers = users.poolSize;
  assign(frontend.maxConnections, section.number("max_connections", 1, 1 << 20));
  assign(frontend.maxRequestBytes, section.number("max_request_bytes", 1024, 64 << 20));
  assign(frontend.maxContainers,
         section.number("max_containers", 1, users.poolSize,
                        "a number from 1 to user.pool_size, " + std::to_string(users.poolSize) +
                            ", which is the default,"));
  // Each has one packet on its way to the helper, of which so many can wait (PacketLink).
  assign(frontend.maxRequests, section.number("max_requests", 1, 8192));
  assign(frontend.maxWaiting, section.number("max_waiting", 1, 65536));
  section.finish();
  return frontend;
}

// Notes where the last document began; the content is read by YAML::Load.
class DocumentStart final : public YAML::EventHandler {
 public:
  YAML::Mark mark;

  void OnDocumentStart(const YAML::Mark& start) override { mark = start; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

// YAML::LoadAll would tell too, but never ends on a text such as ",": the parser takes it for an
// empty document and does not move on.
void refuseFurtherDocuments(const std::string& text, const std::string& fileName) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  DocumentStart document;
  if (parser.HandleNextDocument(document) && parser.HandleNextDocument(document)) {
    failConfig(fileName, document.mark,
               "the file: goes on after its document; one YAML document is accepted");
  }
}

YAML::Node loadDocument(const std::string& text, const std::string& fileName) {
  try {
    refuseFurtherDocuments(text, fileName);
    return YAML::Load(text);
  } catch (const YAML::Exception& e) {
    failConfig(fileName, e.mark,
               "the file: is not YAML (" + e.msg + "); one YAML document is accepted");
  }
}

std::optional<uint16_t> readHealthCheckPort(ConfigSection section) {
  std::optional<uint16_t> port;
  assign(port, section.number("port", 1, 65535));
  section.finish();
  return port;
}

// Hands each part to `attempt`, which calls it.
template <typename Attempt>
Config readParts(const std::string& text, const std::string& fileName, Attempt&& attempt) {
  ConfigSection root(fileName, "", loadDocument(text, fileName));
  try {
    Config config;
    attempt([&]() { config.server = readServer(root.section("server")); });
    attempt([&]() {
      config.healthCheckPort = readHealthCheckPort(root.section("health_check_server"));
    });
    attempt([&]() { config.logging = readLogging(root.section("logging")); });
    attempt([&]() { config.network = readNetwork(root.section("network")); });
    attempt([&]() { config.port = readPort(root.section("port")); });
    attempt([&]() { config.user = readUser(root.section("user")); });
    attempt([&]() { config.profiles = readProfiles(root.section("profiles")); });
    attempt([&]() {
      config.privhelper = readPrivHelper(root.section("privhelper"), config.user, config.profiles);
    });
    attempt([&]() {
      config.access =
          readAccess(root.section("access"), config.server.diskQuotaEnabled, config.profiles);
      config.access.profile = config.privhelper.profile;
    });
    attempt([&]() { config.audit = readAudit(root.section("audit"), config.logging); });
    attempt([&]() { config.frontend = readFrontend(root.section("frontend"), config.user); });
    attempt([&]() { root.finish(); });
    return config;
  } catch (const YAML::Exception& e) {
    failConfig(fileName, e.mark, "the file: cannot be read as YAML (" + e.msg + ")");
  }
}

// Where the value of "a.b" stands, from 1; 0: it is not there.
int lineOf(const YAML::Node& node, std::string_view key) {
  if (!node.IsMap()) return 0;
  for (const auto& entry : node) {
    const std::string& name = entry.first.Scalar();
    if (key == name) return entry.second.Mark().line + 1;
    // A key may have dots of its own.
    if (!key.starts_with(name + ".")) continue;
    if (int line = lineOf(entry.second, key.substr(name.size() + 1))) return line;
  }
  return 0;
}

}  // namespace

Config parseConfig(const std::string& text, const std::string& fileName) {
  return readParts(text, fileName, [](auto&& read) { read(); });
}

std::vector<std::string> findConfigMistakes(const std::string& text, const std::string& fileName) {
  std::vector<std::string> mistakes;
  auto note = [&](auto&& read) {
    try {
      read();
    } catch (const ConfigError& e) {
      mistakes.push_back(e.what());
    }
  };
  note([&]() { readParts(text, fileName, note); });
  return mistakes;
}

std::string placeMistake(const std::string& mistake, const std::string& text,
                         const std::string& fileName) {
  if (mistake.starts_with(fileName + ":")) return mistake;
  int line = lineOf(loadDocument(text, fileName), mistake.substr(0, mistake.find(": ")));
  return fileName + ":" + (line == 0 ? "" : std::to_string(line) + ":") + " " + mistake;
}

std::string readConfigFile(int fd, const std::string& fileName) {
  struct stat info;
  if (fstat(fd, &info) < 0) throw ConfigError(fileName + ":1: fstat: " + strerror(errno));
  if (!S_ISREG(info.st_mode)) {
    throw ConfigError(fileName + ":1: the file: is no regular file; a regular file is accepted");
  }
  if (info.st_uid != 0 || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    throw ConfigError(fileName +
                      ":1: the file: may be changed by others than root; a file that belongs to "
                      "root and that only root may write is accepted");
  }
  std::string text(MAX_CONFIG_BYTES + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    ssize_t n = pread(fd, text.data() + size, text.size() - size, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw ConfigError(fileName + ":1: read: " + strerror(errno));
    if (n == 0) break;
    size += n;
  }
  if (size > MAX_CONFIG_BYTES) {
    throw ConfigError(fileName + ":1: the file: is too large; at most 1 MiB is accepted");
  }
  text.resize(size);
  return text;
}

}  // namespace warden
