#pragma once
// The configuration file: the old server's YAML, and two sections of this one's. Both the frontend
// and the helper read it with this code; docs/OPERATING.md describes every key.

#include <kj/common.h>
#include <stdint.h>
#include <sys/types.h>

#include <bitset>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/ipv4.h"
#include "base/profile.h"

namespace warden {

class ConfigError : public std::runtime_error {
  // what(): "FILE:LINE: KEY: what is wrong, and what is accepted".
 public:
  using std::runtime_error::runtime_error;
};

enum class AccessRequest {
  // What the rules of access can grant; ping, echo, list and whoami are everybody's.
  CREATE,
  STOP,
  DESTROY,
  INFO,
  SPAWN,
  RUN,
  LINK,
  STREAM,
  NET_IN,
  NET_OUT,
  COPY_IN,
  COPY_OUT,
  LIMIT_MEMORY,
  LIMIT_CPU,
  LIMIT_DISK,
  LIMIT_BANDWIDTH,
  COUNT
};
using AccessRequests = std::bitset<static_cast<size_t>(AccessRequest::COUNT)>;
inline const AccessRequests ALL_ACCESS_REQUESTS = AccessRequests().set();

const char* nameOf(AccessRequest request);
// "net_in", as in the configuration.

struct NamedAt {
  // A name of a user or group, and where it stands.
  std::string text;
  int line;
};

struct HostPrefix {
  // A directory of the host, and what of it a client may ask for.
  std::string path;  // absolute and plain: no "." or "..", no double slash, none at the end
  bool reads = true;
  bool writes = true;
};

struct Config {
  static constexpr uint32_t MAX_CONTAINERS = 10'000;

  struct Server {
    std::string unixDomainPath = "/tmp/warden.sock";
    mode_t unixDomainPermissions = 0755;
    std::string containerKlass;                  // read and ignored
    std::string containerRootfsPath;             // required, absolute
    std::string containerDepotPath;              // required, absolute
    std::optional<uint32_t> containerGraceTime;  // seconds; none: never
    std::map<int, uint64_t>
        containerRlimits;  // RLIMIT_* -> value; the documented defaults merged in
    uint64_t jobOutputLimit = 10 * 1024 * 1024;  // bytes, stdout and stderr together
    bool diskQuotaEnabled = true;                // quota.disk_quota_enabled
    bool allowNestedWarden = false;
    std::optional<std::string> pidfile;
    std::optional<std::string> syslogSocket;
  } server;

  std::optional<uint16_t> healthCheckPort;  // health_check_server.port

  struct Logging {
    std::string level =
        "info";  // debug, info, warn, error (the old server's debug2 reads as debug)
    std::optional<std::string> file;    // absent: stderr
    std::optional<std::string> syslog;  // ident
  } logging;

  struct Network {
    uint32_t poolStart = 0x0afe0000;  // 10.254.0.0, host byte order
    uint32_t poolSize = 256;          // /30 networks
    uint32_t releaseDelay = 30;       // seconds
    uint32_t mtu = 1500;
    std::vector<Ipv4Range> allowNetworks;
    bool allowHostAccess = false;
    bool allowIpv6 = false;
    std::vector<std::string> dnsServers;
  } network;

  struct Port {
    std::optional<uint32_t> poolStart;  // absent: above the ephemeral range
    std::optional<uint32_t> poolSize;   // absent: up to 65000
  } port;

  struct User {
    uint32_t poolStartUid = 10000;
    uint32_t poolSize = 256;
  } user;

  struct PrivHelper {                         // section `privhelper`
    std::string user = "warden";              // whom the frontend runs as
    uint32_t idRangeStart = 0x70000000;       // host id of root in the container of slot 0
    uint32_t pidsLimit = 4096;                // processes and threads in a container; 0: no limit
    uint16_t lowestHostPort = 1024;           // that net_in may map: those below are the host's own
    std::string cgroupParent = "warden";      // one path component below each hierarchy's root
    std::optional<std::string> wshdPath;      // absent: warden-wshd beside the helper
    std::optional<std::string> frontendPath;  // absent: warden-frontend beside the helper
    std::string profile = DEFAULT_PROFILE;    // of users to whom no rule gives another
  } privhelper;

  struct AccessRule {
    std::optional<NamedAt> user;  // one of the two
    std::optional<NamedAt> group;
    AccessRequests requests = ALL_ACCESS_REQUESTS;
    bool privileged = true;
    std::optional<std::vector<std::string>> images;  // prefixes; none: whatever the user may open
    std::vector<HostPrefix> bindMounts = {{"/"}};
    std::vector<HostPrefix> copies = {{"/"}};
    std::optional<std::string> profile;  // none: access.profile
    std::optional<uint32_t> containers;  // quotas; none: no quota
    std::optional<uint32_t> ports;
    std::optional<uint64_t> memory;  // bytes, of each container
    std::optional<uint64_t> disk;    // bytes, of each container
  };

  struct Access {                           // section `access`
    std::optional<NamedAt> administrators;  // a group
    bool otherwiseAllowed = true;           // to users that no rule names
    std::vector<AccessRule> rules;          // the first that matches holds
    std::string profile = DEFAULT_PROFILE;  // privhelper.profile
  } access;

  std::vector<Profile> profiles = std::vector<Profile>(1);  // the first is DEFAULT_PROFILE

  struct Audit {                          // section `audit`
    std::optional<std::string> helper;    // absent: <logging.file>.audit, else stderr
    std::optional<std::string> frontend;  // absent: <logging.file>.requests, else stderr
    bool journald = false;
    uint64_t rotateBytes = 100 << 20;
    uint32_t keep = 10;  // files, besides the current one
    bool refuseWhenUnwritable = true;
    bool recordReads = false;
  } audit;

  struct Frontend {  // section `frontend`
    uint32_t maxConnections = 16384;
    uint32_t maxRequestBytes = 1024 * 1024;  // payload of one frame
    uint32_t maxContainers = 256;            // default: user.pool_size
    uint32_t maxRequests = 4096;             // under way, without those that wait for a job
    uint32_t maxWaiting = 1024;              // creates and destroys that wait for their turn
  } frontend;
};

Config parseConfig(const std::string& text, const std::string& fileName);
// Throws ConfigError for what is not YAML, an unknown or repeated key, a wrong type, a value out of
// range, pools that overlap or do not fit. `fileName` is for messages only.

std::vector<std::string> findConfigMistakes(const std::string& text, const std::string& fileName);
// What is wrong with a file, as ConfigError says it: the first mistake of each section. Empty:
// nothing, and parseConfig accepts it.

std::string placeMistake(const std::string& mistake, const std::string& text,
                         const std::string& fileName);
// A mistake that begins with a key ("server.pidfile: ..."), with the file in front, and the line
// where the key is in `text`. One that begins with the file stays as it is.

std::string readConfigFile(int fd, const std::string& fileName);
// The text of an open configuration file, from its start. Throws ConfigError unless it is a regular
// file that belongs to root, that nobody else may write, of at most 1 MiB.

}  // namespace warden
