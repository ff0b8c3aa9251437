#include "base/config-access.h"

#include <algorithm>
#include <initializer_list>
#include <iterator>

#include "base/config-profiles.h"

namespace warden {

namespace {

constexpr const char* REQUEST_NAMES[] = {
    "create",       "stop",      "destroy",    "info",           "spawn",   "run",
    "link",         "stream",    "net_in",     "net_out",        "copy_in", "copy_out",
    "limit_memory", "limit_cpu", "limit_disk", "limit_bandwidth"};
static_assert(std::size(REQUEST_NAMES) == static_cast<size_t>(AccessRequest::COUNT));

AccessRequests readRequests(ConfigSection& section) {
  AccessRequests requests;
  for (auto& name : section.texts("requests")) {
    size_t i = 0;
    while (i < std::size(REQUEST_NAMES) && name != REQUEST_NAMES[i])
      ++i;
    if (i == std::size(REQUEST_NAMES)) {
      std::string known;
      for (const char* accepted : REQUEST_NAMES)
        known += std::string(known.empty() ? "" : ", ") + accepted;
      section.fail("requests", "'" + name + "' is no request; of " + known + " a list is accepted");
    }
    requests.set(i);
  }
  return requests;
}

std::optional<NamedAt> readName(ConfigSection& section, const std::string& key) {
  if (!section.has(key)) return std::nullopt;
  // Numbers stand for themselves.
  std::string name;
  try {
    name = *section.text(key);
  } catch (const ConfigError&) {
    name = std::to_string(*section.number(key, 0, UINT32_MAX - 1, "a name, or a number of an id,"));
  }
  return NamedAt{name, section.line(key)};
}

// A path that says the same as text as it does to the kernel, so that it can be compared.
bool isPlainPath(const std::string& path) {
  if (path == "/") return true;
  if (path.empty() || path[0] != '/' || path.back() == '/') return false;
  for (size_t start = 1; start <= path.size();) {
    size_t end = std::min(path.find('/', start), path.size());
    std::string component = path.substr(start, end - start);
    if (component.empty() || component == "." || component == "..") return false;
    start = end + 1;
  }
  return true;
}

void requirePlainPath(const ConfigSection& section, const std::string& key,
                      const std::string& path) {
  if (isPlainPath(path)) return;
  section.fail(key, "'" + path +
                        "' is no plain path; absolute paths without '.', '..' and a slash at the "
                        "end are accepted");
}

std::vector<std::string> readImages(ConfigSection& section) {
  auto prefixes = section.texts("images");
  for (auto& prefix : prefixes) {
    requirePlainPath(section, "images", prefix);
    if (prefix == "/") {
      section.fail("images",
                   "'/' would give every file of the host to whoever names it as an image; "
                   "directories that hold nothing but images are accepted, and without the key "
                   "everybody has what they may open themselves");
    }
  }
  return prefixes;
}

struct Mode {
  const char* name;
  bool reads;
  bool writes;
};

// A list of {path, mode}.
std::vector<HostPrefix> readPrefixes(ConfigSection& section, const std::string& key,
                                     std::initializer_list<Mode> modes) {
  std::vector<HostPrefix> prefixes;
  for (auto& entry : section.sections(key)) {
    HostPrefix prefix;
    if (!entry.has("path")) entry.fail("path", "is missing; an absolute path is accepted");
    prefix.path = *entry.path("path");
    requirePlainPath(entry, "path", prefix.path);
    std::string accepted;
    const Mode* found = nullptr;
    auto name = entry.text("mode");
    for (auto& mode : modes) {
      accepted += std::string(accepted.empty() ? "" : " or ") + mode.name;
      if (name && *name == mode.name) found = &mode;
    }
    if (found == nullptr) {
      entry.fail("mode", (name ? "'" + *name + "' is no mode; " : "is missing; ") + accepted +
                             " is accepted");
    }
    prefix.reads = found->reads;
    prefix.writes = found->writes;
    entry.finish();
    prefixes.push_back(std::move(prefix));
  }
  return prefixes;
}

// Less leaves no room for what a container starts with.
constexpr uint64_t LEAST_MEMORY = 4 << 20;
constexpr uint64_t LEAST_DISK = 1 << 20;

Config::AccessRule readRule(ConfigSection section, bool diskQuotaEnabled,
                            const std::vector<Profile>& profiles) {
  Config::AccessRule rule;
  rule.user = readName(section, "user");
  rule.group = readName(section, "group");
  if (rule.user.has_value() == rule.group.has_value()) {
    section.fail(rule.user ? "group" : "user",
                 "a rule is for one user or one group; one of the keys user and group is accepted");
  }
  if (section.has("requests")) rule.requests = readRequests(section);
  if (auto privileged = section.flag("privileged")) rule.privileged = *privileged;
  if (section.has("images")) rule.images = readImages(section);
  if (section.has("bind_mounts")) {
    rule.bindMounts =
        readPrefixes(section, "bind_mounts", {{"ro", true, false}, {"rw", true, true}});
  }
  if (section.has("copies")) {
    rule.copies = readPrefixes(section, "copies",
                               {{"in", true, false}, {"out", false, true}, {"both", true, true}});
  }
  if (section.has("profile")) rule.profile = readProfileName(section, "profile", profiles);
  ConfigSection quotas = section.section("quotas");
  if (auto value = quotas.number("containers", 0, UINT32_MAX)) rule.containers = *value;
  if (auto value = quotas.number("ports", 0, UINT32_MAX)) rule.ports = *value;
  if (auto value = quotas.number("memory", LEAST_MEMORY, INT64_MAX)) rule.memory = *value;
  if (auto value = quotas.number("disk", LEAST_DISK, INT64_MAX)) rule.disk = *value;
  if (rule.disk && !diskQuotaEnabled) {
    quotas.fail(
        "disk",
        "cannot be kept while server.quota.disk_quota_enabled is false; one of the two has to go");
  }
  quotas.finish();
  section.finish();
  return rule;
}

}  // namespace

const char* nameOf(AccessRequest request) {
  return REQUEST_NAMES[static_cast<size_t>(request)];
}

Config::Access readAccess(ConfigSection section, bool diskQuotaEnabled,
                          const std::vector<Profile>& profiles) {
  Config::Access access;
  access.administrators = readName(section, "administrators");
  if (auto otherwise = section.text("otherwise")) {
    if (*otherwise != "allow" && *otherwise != "deny") {
      section.fail("otherwise", "'" + *otherwise + "' is neither; allow or deny is accepted");
    }
    access.otherwiseAllowed = *otherwise == "allow";
  }
  for (auto& rule : section.sections("rules"))
    access.rules.push_back(readRule(std::move(rule), diskQuotaEnabled, profiles));
  section.finish();
  return access;
}

}  // namespace warden
