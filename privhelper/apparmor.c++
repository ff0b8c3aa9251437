#include "privhelper/apparmor.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <optional>

#include "base/config.h"
#include "base/fd.h"

namespace warden::privhelper {

namespace {

constexpr char ENABLED[] = "/sys/module/apparmor/parameters/enabled";
constexpr char LOADED[] = "/sys/kernel/security/apparmor/profiles";
constexpr size_t LONGEST_LIST = 16 << 20;

std::optional<std::string> readText(const char* path) {
  int raw = open(path, O_RDONLY | O_CLOEXEC);
  if (raw < 0) return std::nullopt;
  Fd file(raw);
  auto bytes = readAll(file, LONGEST_LIST);
  return std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
}

// Lines are "NAME (MODE)".
std::optional<std::string> modeOf(const std::string& list, const std::string& name) {
  std::string start = name + " (";
  for (size_t line = 0; line < list.size();) {
    size_t end = std::min(list.find('\n', line), list.size());
    if (list.compare(line, start.size(), start) == 0) {
      size_t mode = line + start.size();
      return list.substr(mode, list.find(')', mode) - mode);
    }
    line = end + 1;
  }
  return std::nullopt;
}

// With no_new_privs, which the launcher has, the kernel confines an exec only where nothing
// confines the caller (apparmor_bprm_creds_for_exec; stacking does not find the path of wshd, which
// has none).
bool isUnconfined() {
  auto label = readText("/proc/thread-self/attr/apparmor/current");
  return label && label->starts_with("unconfined");
}

void requireLoaded(const Profile& profile) {
  std::string key = "profiles." + profile.name + ".apparmor: ";
  auto enabled = readText(ENABLED);
  if (!enabled || !enabled->starts_with("Y")) {
    throw ConfigError(key + "this kernel has no AppArmor (" + ENABLED +
                      " is not Y): boot with it, or take the key out");
  }
  auto list = readText(LOADED);
  if (!list) {
    throw ConfigError(key + "cannot read " + LOADED + ": " + strerrordesc_np(errno) +
                      "; mount securityfs there");
  }
  auto mode = modeOf(*list, *profile.apparmor);
  if (!mode) {
    throw ConfigError(key + "the kernel has no profile '" + *profile.apparmor +
                      "': load it by apparmor_parser(8)");
  }
  if (*mode != "enforce" && *mode != "kill") {
    throw ConfigError(key + "'" + *profile.apparmor + "' is loaded in mode " + *mode +
                      ", which denies nothing: load it to enforce (aa-enforce(8))");
  }
  if (!isUnconfined()) {
    throw ConfigError(key +
                      "the helper is confined by a profile of AppArmor itself, so that it cannot "
                      "confine containers by another: start it unconfined");
  }
}

}  // namespace

void requireAppArmor(const std::vector<Profile>& profiles) {
  for (auto& profile : profiles) {
    if (profile.apparmor) requireLoaded(profile);
  }
}

int confineNextExec(kj::StringPtr profile) {
  int raw = open("/proc/thread-self/attr/apparmor/exec", O_WRONLY | O_CLOEXEC);
  if (raw < 0) return errno;
  Fd file(raw);
  auto order = kj::str("exec ", profile);
  ssize_t n = write(file, order.begin(), order.size());
  return n == static_cast<ssize_t>(order.size()) ? 0 : n < 0 ? errno : EIO;
}

}  // namespace warden::privhelper
