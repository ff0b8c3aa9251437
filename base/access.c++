#include "base/access.h"

#include <grp.h>
#include <kj/debug.h>
#include <pwd.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>

#include "base/socket-peer.h"

namespace warden {

namespace {

// More than a process can be in by setgroups(2): NGROUPS_MAX.
constexpr size_t MAX_GROUPS = 65536;

std::optional<uint32_t> parseId(const std::string& text) {
  uint32_t id;
  auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return id;
}

[[noreturn]] void fail(const std::string& file, const NamedAt& name, const std::string& key,
                       const char* what) {
  throw ConfigError(file + ":" + std::to_string(name.line) + ": " + key + ": there is no " + what +
                    " '" + name.text + "' on this host; a name or a number is accepted");
}

uid_t findUser(const std::string& file, const NamedAt& name, const std::string& key) {
  if (auto id = parseId(name.text)) return *id;
  const passwd* entry = getpwnam(name.text.c_str());
  if (entry == nullptr) fail(file, name, key, "user");
  return entry->pw_uid;
}

gid_t findGroup(const std::string& file, const NamedAt& name, const std::string& key) {
  if (auto id = parseId(name.text)) return *id;
  const group* entry = getgrnam(name.text.c_str());
  if (entry == nullptr) fail(file, name, key, "group");
  return entry->gr_gid;
}

Grant grantEverything(std::string source) {
  return {.source = std::move(source),
          .requests = ALL_ACCESS_REQUESTS,
          .privileged = true,
          .images = {{"/", true, false}},
          .imagesAreVouchedFor = false,
          .bindMounts = {{"/"}},
          .copies = {{"/"}},
          .containers = {},
          .ports = {},
          .memory = {},
          .disk = {}};
}

Grant grantNothing(std::string source) {
  return {std::move(source), AccessRequests(), false, {}, false, {}, {}, 0, 0, 0, 0};
}

std::vector<HostPrefix> imagePrefixes(const Config::AccessRule& rule) {
  if (!rule.images) return {{"/", true, false}};
  std::vector<HostPrefix> prefixes;
  for (auto& path : *rule.images)
    prefixes.push_back({path, true, false});
  return prefixes;
}

// Where the path goes on after the prefix; npos: it is not beneath it. Both are absolute.
size_t endOfPrefix(const std::string& prefix, const std::string& path) {
  size_t at = 0, wanted = 0;
  for (;;) {
    // Slashes count once, and "." is nothing; in the prefix there are none.
    while (at < path.size() &&
           (path[at] == '/' || (path[at] == '.' && path[at - 1] == '/' &&
                                (at + 1 == path.size() || path[at + 1] == '/'))))
      ++at;
    while (wanted < prefix.size() && prefix[wanted] == '/')
      ++wanted;
    if (wanted == prefix.size()) return at;
    size_t end = std::min(prefix.find('/', wanted), prefix.size());
    size_t length = end - wanted;
    if (path.compare(at, length, prefix, wanted, length) != 0) return std::string::npos;
    at += length;
    wanted = end;
    if (at < path.size() && path[at] != '/') return std::string::npos;
  }
}

}  // namespace

std::optional<GrantedPath> findPrefix(const std::vector<HostPrefix>& prefixes, HostUse use,
                                      const std::string& path) {
  if (path.empty() || path[0] != '/') return std::nullopt;
  const HostPrefix* longest = nullptr;
  size_t rest = 0;
  for (auto& prefix : prefixes) {
    if (!(use == HostUse::READ ? prefix.reads : prefix.writes)) continue;
    size_t end = endOfPrefix(prefix.path, path);
    if (end == std::string::npos) continue;
    if (longest != nullptr && prefix.path.size() <= longest->path.size()) continue;
    longest = &prefix;
    rest = end;
  }
  if (longest == nullptr) return std::nullopt;
  std::string beneath = path.substr(rest);
  if (beneath.empty() && (path.back() == '/' || path.ends_with("/."))) beneath = "./";
  return GrantedPath{*longest, std::move(beneath)};
}

bool isSystemTarget(const std::string& target) {
  static const std::vector<HostPrefix> SYSTEM{{"/proc"}, {"/sys"}, {"/dev"}};
  if (target.empty() || target[0] != '/') return true;
  bool isRoot = endOfPrefix("/", target) == target.size();
  return isRoot || findPrefix(SYSTEM, HostUse::READ, target).has_value();
}

bool PeerCredentials::isMember(gid_t group) const {
  return gid == group || std::find(groups.begin(), groups.end(), group) != groups.end();
}

PeerCredentials readPeerCredentials(int socket) {
  ucred peer = peerOf(socket);
  KJ_REQUIRE(peer.uid != uid_t(-1) && peer.gid != gid_t(-1),
             "the socket has no peer with an identity");
  // The kernel says how much room it takes (ERANGE) when there is too little.
  auto groups = kj::heapArray<gid_t>(64);
  socklen_t size;
  for (;;) {
    size = groups.size() * sizeof(gid_t);
    if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.begin(), &size) == 0) break;
    if (errno != ERANGE) KJ_FAIL_SYSCALL("getsockopt(SO_PEERGROUPS)", errno);
    KJ_REQUIRE(groups.size() < MAX_GROUPS, "the socket's peer is in too many groups");
    groups = kj::heapArray<gid_t>(size / sizeof(gid_t));
  }
  auto actual = kj::heapArray<gid_t>(groups.slice(0, size / sizeof(gid_t)));
  return {peer.pid, peer.uid, peer.gid, kj::mv(actual)};
}

AccessPolicy::AccessPolicy(const Config::Access& access, const std::string& fileName)
    : everything(grantEverything("root")),
      otherwise(access.otherwiseAllowed ? grantEverything("access.otherwise")
                                        : grantNothing("access.otherwise")) {
  everything.profile = otherwise.profile = access.profile;
  if (access.administrators) {
    administrators = findGroup(fileName, *access.administrators, "access.administrators");
  }
  for (size_t i = 0; i < access.rules.size(); ++i) {
    auto& rule = access.rules[i];
    std::string name = "access.rules[" + std::to_string(i) + "]";
    Rule resolved;
    if (rule.user) resolved.user = findUser(fileName, *rule.user, name + ".user");
    if (rule.group) resolved.group = findGroup(fileName, *rule.group, name + ".group");
    resolved.grant = {name,
                      rule.requests,
                      rule.privileged,
                      imagePrefixes(rule),
                      rule.images.has_value(),
                      rule.bindMounts,
                      rule.copies,
                      rule.containers,
                      rule.ports,
                      rule.memory,
                      rule.disk};
    resolved.grant.profile = rule.profile.value_or(access.profile);
    rules.push_back(std::move(resolved));
  }
}

const Grant& AccessPolicy::grantOf(const PeerCredentials& peer) const {
  if (peer.uid == 0) return everything;
  for (auto& rule : rules) {
    if (rule.user && *rule.user == peer.uid) return rule.grant;
    if (rule.group && peer.isMember(*rule.group)) return rule.grant;
  }
  return otherwise;
}

bool AccessPolicy::isAdministrator(const PeerCredentials& peer) const {
  return peer.uid == 0 || (administrators && peer.isMember(*administrators));
}

bool AccessPolicy::mayTouch(const PeerCredentials& peer, uid_t owner) const {
  return peer.uid == owner || isAdministrator(peer);
}

}  // namespace warden
