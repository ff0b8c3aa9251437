// The section `profiles` of the configuration, and who gets which.

#include <gtest/gtest.h>
#include <linux/capability.h>

#include "base/access.h"
#include "base/config.h"

namespace warden {
namespace {

const char* const MINIMAL =
    "server:\n"
    "  container_rootfs_path: /image\n"
    "  container_depot_path: /depot\n";

Config parse(const std::string& text) {
  return parseConfig(MINIMAL + text, "w.yml");
}

std::string refusal(const std::string& text) {
  try {
    parse(text);
    return "taken";
  } catch (const ConfigError& e) {
    return e.what();
  }
}

TEST(ConfigProfilesTest, thereIsADefaultOneOfTenCapabilities) {
  Config config = parse("");
  ASSERT_EQ(config.profiles.size(), 1u);
  EXPECT_EQ(config.profiles[0].name, "default");
  EXPECT_EQ(config.profiles[0].capabilities, 0x405fbu);
  EXPECT_TRUE(config.profiles[0].allowedCalls.empty());
  EXPECT_TRUE(config.profiles[0].deniedCalls.empty());
  EXPECT_FALSE(config.profiles[0].apparmor.has_value());
  EXPECT_EQ(config.privhelper.profile, "default");
}

TEST(ConfigProfilesTest, areReadInTheirOrderWithTheDefaultFirst) {
  Config config = parse(
      "profiles:\n"
      "  zoo:\n"
      "    capabilities: [chown, net_raw]\n"
      "    system_calls:\n"
      "      allow: [modify_ldt]\n"
      "      deny: [ptrace, io_setup]\n"
      "    apparmor: warden-container\n"
      "  default: {capabilities: []}\n"
      "  ant: {}\n");
  ASSERT_EQ(config.profiles.size(), 3u);
  EXPECT_EQ(config.profiles[0].name, "default");
  EXPECT_EQ(config.profiles[0].capabilities, 0u);
  EXPECT_EQ(config.profiles[1].name, "zoo");
  EXPECT_EQ(config.profiles[1].capabilities, 1u << CAP_CHOWN | 1u << CAP_NET_RAW);
  EXPECT_EQ(config.profiles[1].allowedCalls, std::vector<std::string>{"modify_ldt"});
  EXPECT_EQ(config.profiles[1].deniedCalls, (std::vector<std::string>{"ptrace", "io_setup"}));
  EXPECT_EQ(config.profiles[1].apparmor, "warden-container");
  EXPECT_EQ(config.profiles[2].name, "ant");
  EXPECT_EQ(config.profiles[2].capabilities, defaultCapabilities());
}

TEST(ConfigProfilesTest, areChosenByTheRuleAndElseByTheServersDefault) {
  Config config = parse(
      "profiles: {a: {}, b: {}}\n"
      "privhelper: {profile: b}\n"
      "access: {rules: [{user: 1, profile: a}, {user: 2}, {user: 3, profile: default}]}\n");
  AccessPolicy policy(config.access, "w.yml");
  auto profileOf = [&](uid_t user) { return policy.grantOf({1, user, user, nullptr}).profile; };
  EXPECT_EQ(profileOf(1), "a");
  EXPECT_EQ(profileOf(2), "b");
  EXPECT_EQ(profileOf(3), "default");
  EXPECT_EQ(profileOf(4), "b");
  EXPECT_EQ(profileOf(0), "b");
}

struct Mistake {
  const char* name;
  const char* text;      // its first line is the fourth
  const char* expected;  // how the message begins
};

class ProfileMistakeTest : public testing::TestWithParam<Mistake> {};

TEST_P(ProfileMistakeTest, isToldWithFileLineAndKey) {
  std::string message = refusal(GetParam().text);
  EXPECT_TRUE(message.starts_with(GetParam().expected)) << message;
  EXPECT_TRUE(message.find("accepted") != std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(
    , ProfileMistakeTest,
    testing::Values(
        Mistake{"unknownKey", "profiles:\n  a: {x: 1}\n", "w.yml:5: profiles.a.x: is not known"},
        Mistake{"noMapping", "profiles:\n  a: 1\n", "w.yml:5: profiles.a: has another type"},
        Mistake{"name", "profiles:\n  a b: {}\n", "w.yml:5: profiles.a b: is no plain name"},
        Mistake{"unknownCapability", "profiles:\n  a:\n    capabilities: [chown, root]\n",
                "w.yml:6: profiles.a.capabilities: 'root' can be granted to no container; of "
                "chown, "},
        Mistake{"capabilityOfTheHost",
                "profiles:\n  a:\n    capabilities:\n      - chown\n      - sys_admin\n",
                "w.yml:8: profiles.a.capabilities: 'sys_admin' can be granted to no"},
        Mistake{"capabilityWithItsPrefix", "profiles:\n  a: {capabilities: [CAP_CHOWN]}\n",
                "w.yml:5: profiles.a.capabilities: 'CAP_CHOWN' can be"},
        Mistake{"unknownCall", "profiles:\n  a: {system_calls: {deny: [opem]}}\n",
                "w.yml:5: profiles.a.system_calls.deny: 'opem' is no system call"},
        Mistake{"callOfAnotherArchitecture",
                "profiles:\n  a: {system_calls: {deny: [arm_fadvise64_64]}}\n",
                "w.yml:5: profiles.a.system_calls.deny: 'arm_fadvise64_64' is no system call"},
        Mistake{"neededCall",
                "profiles:\n  a: {system_calls: {deny:\n    - ptrace\n    - execve}}\n", "w.yml:"},
        Mistake{"neededCallInItsLine",
                "profiles:\n  a:\n    system_calls:\n      deny:\n      - ptrace\n      - execve\n",
                "w.yml:9: profiles.a.system_calls.deny: without 'execve' no job can be started"},
        Mistake{"allowedAndDenied",
                "profiles:\n  a: {system_calls: {allow: [kcmp], deny: [kcmp]}}\n",
                "w.yml:5: profiles.a.system_calls.deny: 'kcmp' is allowed, too"},
        Mistake{"apparmorName", "profiles:\n  a: {apparmor: 'x exec y'}\n",
                "w.yml:5: profiles.a.apparmor: is no plain name"},
        Mistake{"apparmorNamespace", "profiles:\n  a: {apparmor: ':other:x'}\n",
                "w.yml:5: profiles.a.apparmor: is no plain name"},
        Mistake{"unknownProfileOfARule",
                "access:\n  rules:\n    - user: 1\n      profile: none-such\n",
                "w.yml:7: access.rules[0].profile: there is no profile 'none-such'"},
        Mistake{"unknownProfileOfTheServer", "privhelper:\n  profile: none-such\n",
                "w.yml:5: privhelper.profile: there is no profile 'none-such' in the section "
                "profiles; one of default is accepted"}),
    [](const auto& info) { return info.param.name; });

// Each would undo what a container is confined by; base/profile.c++ lists what can be granted.
TEST(ConfigProfilesTest, noCallIsGrantedThatReachesBeyondTheCaller) {
  for (const char* call : {"mount",
                           "umount2",
                           "move_mount",
                           "open_tree",
                           "fsopen",
                           "fsmount",
                           "fsconfig",
                           "mount_setattr",
                           "pivot_root",
                           "bpf",
                           "keyctl",
                           "add_key",
                           "request_key",
                           "unshare",
                           "setns",
                           "clone3",
                           "clone",
                           "io_uring_setup",
                           "io_uring_enter",
                           "io_uring_register",
                           "userfaultfd",
                           "perf_event_open",
                           "open_by_handle_at",
                           "init_module",
                           "finit_module",
                           "kexec_load",
                           "reboot",
                           "swapon",
                           "acct",
                           "quotactl",
                           "syslog",
                           "ustat",
                           "iopl",
                           "ioperm",
                           "settimeofday",
                           "sethostname",
                           "personality",
                           "ptrace",
                           "seccomp",
                           "socket"}) {
    EXPECT_TRUE(refusal(std::string("profiles: {a: {system_calls: {allow: [") + call + "]}}}\n")
                    .starts_with(std::string("w.yml:4: profiles.a.system_calls.allow: '") + call +
                                 "' can be granted to no container"))
        << call;
  }
}

TEST(ConfigProfilesTest, noCapabilityIsGrantedThatUndoesConfinement) {
  for (const char* capability : {"sys_admin", "sys_ptrace", "sys_module", "net_admin", "mknod",
                                 "sys_rawio", "dac_read_search", "sys_boot", "bpf", "perfmon",
                                 "sys_resource", "mac_admin", "linux_immutable"}) {
    EXPECT_NE(refusal(std::string("profiles: {a: {capabilities: [") + capability + "]}}\n"),
              "taken")
        << capability;
  }
}

TEST(ConfigProfilesTest, thereIsABoundOnTheirNumber) {
  std::string many = "profiles:\n";
  for (int i = 0; i < 64; ++i)
    many += "  p" + std::to_string(i) + ": {}\n";
  EXPECT_TRUE(refusal(many).starts_with("w.yml:68: profiles.p63: is one too many"));
}

}  // namespace
}  // namespace warden
