#include "base/config-access.h"

#include <iterator>

#include "base/config-profiles.h"

namespace warden {

namespace {

constexpr const char* REQUEST_NAMES[] = {
    "create", "stop",   "destroy", "info",         "spawn",     "run",        "link",
    "stream", "net_in", "net_out", "limit_memory", "limit_cpu", "limit_disk", "limit_bandwidth"};
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
