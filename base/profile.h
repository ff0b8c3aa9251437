#pragma once
// Profiles: what the processes of a container may do to the kernel, by a name that the access rules
// give to users. The section `profiles` of the configuration.

#include <stdint.h>

#include <optional>
#include <string>
#include <vector>

namespace warden {

constexpr char DEFAULT_PROFILE[] = "default";
// Is always there; a section of this name changes it.

uint64_t defaultCapabilities();
// Bit n is capability n (capabilities(7)), relative to the container's user namespace.

struct Profile {
  std::string name = DEFAULT_PROFILE;
  uint64_t capabilities = defaultCapabilities();  // of privileged jobs
  // Names as libseccomp knows them.
  std::vector<std::string> allowedCalls;  // besides those that every container has
  std::vector<std::string> deniedCalls;   // of those
  std::optional<std::string> apparmor;    // an AppArmor profile that the kernel has loaded
};

struct CapabilityName {
  const char* name;  // "chown", as in the configuration
  int number;
  bool byDefault;
};
const CapabilityName* findCapability(const std::string& name);
std::string grantableCapabilities();
// Null: none that a profile can grant, which are these, for messages.

bool isGrantableCall(const std::string& name);
std::string grantableCalls();
// Of the calls that containers do not have by default, those which reach nothing beyond the caller.

bool isNeededCall(const std::string& name);
// What the server itself needs to start a container and jobs in it: cannot be denied.

}  // namespace warden
