#pragma once
// Who may do what: the section `access` of the configuration, with names turned into ids. The
// frontend holds requests against it to explain what is wrong; the helper again, because the
// frontend may be hostile.

#include <kj/array.h>
#include <stdint.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/config.h"

namespace warden {

struct PeerCredentials {
  // Who connected a unix socket, at that time (unix(7), SO_PEERCRED and SO_PEERGROUPS).
  pid_t pid;
  uid_t uid;
  gid_t gid;
  kj::Array<gid_t> groups;  // supplementary

  bool isMember(gid_t group) const;
};

PeerCredentials readPeerCredentials(int socket);
// Of a connected AF_UNIX socket. Throws where it is another.

struct GrantedPath {
  // A path of the host, as a client has written it, cut where the prefix ends that grants it.
  const HostPrefix& prefix;
  std::string rest;  // beneath it; relative, or empty; with a slash at the end where there was one
};

struct Grant {
  // What one rule, or the lack of one, allows.
  std::string source;  // "access.rules[2]" or "access.otherwise", for messages
  AccessRequests requests;
  bool privileged;                 // jobs
  std::vector<HostPrefix> images;  // only reads
  bool imagesAreVouchedFor;        // whoever wrote the configuration has named them
  std::vector<HostPrefix> bindMounts;
  std::vector<HostPrefix> copies;
  std::optional<uint32_t> containers;  // at once, of the user; none: as many as the server has
  std::optional<uint32_t> ports;       // mapped at once, likewise
  std::optional<uint64_t> memory;      // bytes; of each container, from its start on
  std::optional<uint64_t> disk;        // likewise
  std::string profile = {};            // of containers (base/profile.h)
};

enum class HostUse { READ, WRITE };

std::optional<GrantedPath> findPrefix(const std::vector<HostPrefix>& prefixes, HostUse use,
                                      const std::string& path);
// The longest prefix that `path` is or is beneath, by whole components as text, and that grants
// the use. None: there is none, or the path is not absolute. A ".." after the prefix stays in
// `rest`: whoever opens it must hold it to the prefix (RESOLVE_BENEATH).

bool isSystemTarget(const std::string& target);
// Of a bind mount, an absolute path in the container: it is "/", or is or lies in /proc, /sys or
// /dev, where the container's own system is; or it is not absolute.

class AccessPolicy {
 public:
  AccessPolicy() : AccessPolicy(Config::Access(), "") {}
  AccessPolicy(const Config::Access& access, const std::string& fileName);
  // Looks users and groups up by getpwnam(3) and getgrnam(3). Throws ConfigError for one that there
  // is not.

  const Grant& grantOf(const PeerCredentials& peer) const;
  // Of the first rule that names the user or one of its groups. Root's is everything.

  bool isAdministrator(const PeerCredentials& peer) const;
  // Root is one.

  bool mayTouch(const PeerCredentials& peer, uid_t owner) const;
  // Whether a container of this owner is the peer's business: its own, or root's and the
  // administrators'.

 private:
  struct Rule {
    std::optional<uid_t> user;
    std::optional<gid_t> group;
    Grant grant;
  };
  std::vector<Rule> rules;
  std::optional<gid_t> administrators;
  Grant everything;
  Grant otherwise;
};

}  // namespace warden
