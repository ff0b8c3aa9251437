// Attacks from inside of a container, one test each, as vcap and as root of the container.

#include <ctype.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "tests/escape/escape-environment.h"

namespace warden::test {
namespace {

using Attack = std::tuple<const char*, bool>;  // name, privileged

class EscapeTest : public ::testing::TestWithParam<Attack> {};

std::string argumentOf(const std::string& attack) {
  if (attack == "abstract-socket") return environment().targets->socketName;
  if (attack == "host-shm") return std::to_string(SHM_KEY);
  if (attack == "kill-host-pid") return std::to_string(getpid());
  if (attack == "host-files" || attack == "chroot") return environment().targets->secretFile;
  if (attack == "image-devices") return IMAGE_DEVICES;
  if (attack == "suid") return SUID_PROBE;
  return "";
}

std::string testName(const ::testing::TestParamInfo<Attack>& info) {
  std::string name;
  bool upper = false;
  for (const char* c = std::get<0>(info.param); *c != 0; ++c) {
    if (*c != '-') name += upper ? toupper(*c) : *c;
    upper = *c == '-';
  }
  return name + (std::get<1>(info.param) ? "AsRoot" : "AsVcap");
}

constexpr const char* ATTACKS[] = {
    // probe-kernel.c
    "init-module", "finit-module", "delete-module", "keyctl", "add-key", "request-key", "bpf-map",
    "bpf-program", "perf-event-open", "tiocsti", "tiocsti-high-bits", "tioclinux", "x32", "i386",
    "io-uring", "userfaultfd", "swapon", "reboot", "kexec-load", "kexec-file-load", "settimeofday",
    "clock-settime", "adjtimex", "syslog", "iopl", "ioperm", "acct", "quotactl", "fanotify",
    "nice-below-zero", "raise-limit",
    // probe-namespace.c
    "mount", "bind-mount", "remount", "umount", "new-mount-api", "pivot-root", "unshare-user",
    "unshare-others", "clone-user", "clone3-user", "setns", "ptrace-pid1", "mem-pid1",
    "pidfd-getfd-pid1", "fds-pid1", "write-pid1-exe", "kill-pid1", "abstract-socket", "host-shm",
    "kill-host-pid", "host-pids", "raw-socket", "packet-socket", "odd-sockets", "sethostname",
    // probe-files.c
    "write-proc-sys", "sysrq-trigger", "write-proc", "masked-files", "kcore", "write-sys",
    "cgroup-mounts", "host-files", "chroot", "open-by-handle", "mknod", "dev-entries",
    "image-devices", "dangling-fds", "suid", "leave-project", "immutable", "setgroups",
    "inheritable",
    // probe-host.c
    "release-agent", "core-pattern",
    // probe-network.c
    "set-address", "set-interface-down", "rename-interface", "set-hardware-address", "add-route",
    "netlink-address", "netlink-route", "netlink-nftables", "netlink-conntrack", "netlink-new-link",
    "promiscuous", "transparent-source", "free-bound-source", "source-by-pktinfo", "source-route",
    "raw-header", "bind-to-device", "tun", "network-mark", "vsock"};

INSTANTIATE_TEST_SUITE_P(, EscapeTest,
                         ::testing::Combine(::testing::ValuesIn(ATTACKS), ::testing::Bool()),
                         testName);

TEST_P(EscapeTest, isRefused) {
  auto [name, privileged] = GetParam();
  auto& client = *environment().client;
  std::string script = std::string("/probe ") + name + " " + argumentOf(name);
  auto response = client.run(environment().handle, script, privileged);
  EXPECT_EQ(response.exit_status(), 0u)
      << (response.exit_status() == 1 ? "the attack WORKED\n" : "it could not be attempted\n")
      << response.stdout() << response.stderr();
  // The container, and its host, are as before.
  environment().expectCanariesUntouched();
  EXPECT_EQ(client.output(environment().handle, "hostname"), environment().handle + "\n");
}

TEST(EscapeListTest, namesEveryAttackOfTheProbe) {
  auto result = runProgram({PROBE});
  std::set<std::string> listed(std::begin(ATTACKS), std::end(ATTACKS));
  for (const auto& name : splitLines(result.out)) {
    // Executed by "suid" and by tests of their own.
    static const std::set<std::string> OTHERS = {"am-i-root", "print-status", "siege", "dig",
                                                 "ptys",      "inodes",       "ends",  "refill"};
    EXPECT_TRUE(OTHERS.count(name) == 1 || listed.count(name) == 1) << name;
  }
}

TEST(EscapeHostTest, seesNothingOfTheContainersMounts) {
  for (const auto& line : splitLines(readFile("/proc/self/mountinfo"))) {
    EXPECT_EQ(line.find(environment().server->directory()), std::string::npos) << line;
  }
}

TEST(EscapeHostTest, keepsTheContainersFilesFromOtherUsers) {
  // The depot's containers are root's: a user of the host cannot reach a set-user-id file in them.
  struct stat s;
  std::string path = environment().server->depotPath() + "/" + environment().handle;
  ASSERT_EQ(stat(path.c_str(), &s), 0);
  EXPECT_EQ(s.st_uid, 0u);
  EXPECT_EQ(s.st_mode & 022, 0u);
}

}  // namespace
}  // namespace warden::test
