#include "base/config-profiles.h"

#include <seccomp.h>
#include <string.h>

#include <algorithm>

namespace warden {

namespace {

constexpr size_t MAX_PROFILES = 64;  // each is a compiled filter
constexpr size_t MAX_NAME = 64;
constexpr size_t MAX_APPARMOR_NAME = 256;

bool isPlainName(const std::string& name, const char* others, size_t longest) {
  return !name.empty() && name.size() <= longest &&
         std::all_of(name.begin(), name.end(), [&](unsigned char c) {
           return isalnum(c) || (c != 0 && strchr(others, c) != nullptr);
         });
}

uint64_t readCapabilities(ConfigSection& section) {
  uint64_t set = 0;
  for (auto& [name, line] : section.textsAt("capabilities")) {
    const CapabilityName* capability = findCapability(name);
    if (capability == nullptr) {
      section.failAt(line, "capabilities",
                     "'" + name + "' can be granted to no container; of " +
                         grantableCapabilities() + " a list is accepted");
    }
    set |= uint64_t(1) << capability->number;
  }
  return set;
}

std::vector<std::string> readCalls(ConfigSection& section, const std::string& key) {
  std::vector<std::string> names;
  for (auto& [name, line] : section.textsAt(key)) {
    if (key == "allow" && !isGrantableCall(name)) {
      section.failAt(line, key,
                     "'" + name + "' can be granted to no container; of " + grantableCalls() +
                         " a list is accepted");
    }
    if (key == "deny" && isNeededCall(name)) {
      section.failAt(
          line, key,
          "without '" + name + "' no job can be started; names of other system calls are accepted");
    }
    // Negative: of another architecture, or of none.
    if (seccomp_syscall_resolve_name(name.c_str()) < 0) {
      section.failAt(line, key,
                     "'" + name +
                         "' is no system call that libseccomp knows on this machine; names as in "
                         "syscalls(2) are accepted");
    }
    names.push_back(name);
  }
  return names;
}

void readSystemCalls(ConfigSection section, Profile& profile) {
  profile.allowedCalls = readCalls(section, "allow");
  profile.deniedCalls = readCalls(section, "deny");
  for (auto& name : profile.deniedCalls) {
    if (std::count(profile.allowedCalls.begin(), profile.allowedCalls.end(), name) > 0) {
      section.fail("deny", "'" + name + "' is allowed, too; one of the two is accepted");
    }
  }
  section.finish();
}

Profile readProfile(const std::string& name, ConfigSection section) {
  Profile profile;
  profile.name = name;
  if (section.has("capabilities")) profile.capabilities = readCapabilities(section);
  readSystemCalls(section.section("system_calls"), profile);
  profile.apparmor = section.text("apparmor");
  if (profile.apparmor && !isPlainName(*profile.apparmor, "-_./", MAX_APPARMOR_NAME)) {
    section.fail("apparmor",
                 "is no plain name of a profile; letters, digits, '-', '_', '.' and '/' are "
                 "accepted");
  }
  section.finish();
  return profile;
}

}  // namespace

std::vector<Profile> readProfiles(ConfigSection section) {
  std::vector<Profile> profiles(1);
  for (auto& name : section.keys()) {
    if (!isPlainName(name, "-_.", MAX_NAME)) {
      section.fail(name,
                   "is no plain name; up to 64 letters, digits, '-', '_' and '.' are accepted");
    }
    if (profiles.size() == MAX_PROFILES) {
      section.fail(name, "is one too many; up to 63 profiles are accepted");
    }
    Profile profile = readProfile(name, section.section(name));
    if (name == DEFAULT_PROFILE) {
      profiles[0] = std::move(profile);
    } else {
      profiles.push_back(std::move(profile));
    }
  }
  section.finish();
  return profiles;
}

std::string readProfileName(ConfigSection& section, const std::string& key,
                            const std::vector<Profile>& profiles) {
  std::string name = section.text(key).value_or(DEFAULT_PROFILE);
  std::string known;
  for (auto& profile : profiles) {
    if (profile.name == name) return name;
    known += (known.empty() ? "" : ", ") + profile.name;
  }
  section.fail(key, "there is no profile '" + name + "' in the section profiles; one of " + known +
                        " is accepted");
}

}  // namespace warden
