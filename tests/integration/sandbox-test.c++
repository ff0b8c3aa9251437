// How the server's own processes are confined, as the kernel tells: the facts of docs/SECURITY.md.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/capability.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "base/fd.h"
#include "tests/support/server-test.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;

class SandboxTest : public ServerTest {
 protected:
  void SetUp() override { start(); }

  std::map<std::string, pid_t> roles() {
    std::map<std::string, pid_t> result{{"broker", server().brokerPid()},
                                        {"launcher", server().launcherPid()},
                                        {"sweeper", server().helperPid("sweeper")},
                                        {"porter", server().helperPid("porter")},
                                        {"observer", server().helperPid("observer")}};
    return result;
  }
};

std::set<std::string> capabilityNames(const std::string& hex) {
  std::set<std::string> names;
  uint64_t set = std::stoull(hex, nullptr, 16);
  for (int cap = 0; cap < 64; ++cap) {
    if ((set >> cap & 1) == 0) continue;
    char* name = cap_to_name(cap);
    names.insert(name);
    cap_free(name);
  }
  return names;
}

// docs/SECURITY.md has one table row for each: | broker | CAP_X | why |
std::map<std::string, std::set<std::string>> documentedCapabilities() {
  std::map<std::string, std::set<std::string>> result;
  std::regex row(
      R"(\|\s*(broker|launcher|porter|sweeper|observer)\s*\|\s*`?CAP_([A-Z_]+)`?\s*\|\s*\S+.*)");
  for (const auto& line : splitLines(readFile(WARDEN_SOURCE_DIR "/docs/SECURITY.md"))) {
    std::smatch match;
    if (!std::regex_match(line, match, row)) continue;
    std::string name = "cap_" + match[2].str();
    for (char& c : name)
      c = tolower(c);
    result[match[1]].insert(name);
  }
  return result;
}

TEST_F(SandboxTest, frontendHasNoPrivilege) {
  pid_t frontend = server().frontendPid();
  for (const char* set : {"CapEff", "CapPrm", "CapInh", "CapAmb"}) {
    EXPECT_EQ(statusField(frontend, set), "0000000000000000") << set;
  }
  EXPECT_EQ(statusField(frontend, "Seccomp"), "2");
  EXPECT_EQ(statusField(frontend, "NoNewPrivs"), "1");
  EXPECT_EQ(statusField(frontend, "Groups"), "");
  struct stat s;
  ASSERT_EQ(stat(("/proc/" + std::to_string(frontend)).c_str(), &s), 0);
  for (const char* ids : {"Uid", "Gid"}) {
    std::istringstream fields(statusField(frontend, ids));
    for (int id; fields >> id;)
      EXPECT_NE(id, 0) << ids;
  }
}

TEST_F(SandboxTest, frontendHoldsNoDescriptorOfTheHelpersFiles) {
  for (const auto& target : openDescriptors(server().frontendPid())) {
    EXPECT_EQ(target.find("/sys/fs/cgroup"), std::string::npos) << target;
    EXPECT_EQ(target.find("/dev/mem"), std::string::npos) << target;
    EXPECT_NE(target, server().depotPath());
  }
}

// --- descriptors: each process has those that it is meant to have, and no others

class DescriptorTest : public SandboxTest {
 protected:
  // Sockets, pipes and nameless files: what a stray copy of would keep open, or give away.
  std::set<std::string> privateOnesOf(pid_t pid) {
    std::set<std::string> result;
    for (const auto& [number, target] : descriptorTable(pid)) {
      if (target.compare(0, 8, "socket:[") == 0 || target.compare(0, 6, "pipe:[") == 0) {
        result.insert(target);
      }
    }
    return result;
  }

  std::set<std::string> privateOnesOfTheHelper() {
    std::set<std::string> all;
    for (const auto& [role, pid] : roles())
      all.merge(privateOnesOf(pid));
    return all;
  }

  // The same words for what has numbers of the day.
  static std::vector<std::string> kinds(pid_t pid) {
    std::vector<std::string> result;
    for (const auto& [number, target] : descriptorTable(pid))
      result.push_back(std::to_string(number) + " " + target.substr(0, target.find(":[")));
    return result;
  }
};

TEST_F(DescriptorTest, wshdHasItsOwnAndNoneOfTheHelpers) {
  TestClient client = connect();
  client.create();  // an earlier container's are not in a later one
  std::string id = client.create();
  client.run(id, "true");
  // The duplicates of a job's pipes go when the frontend says that it is done with the job. Of
  // those wshd has one end; the three pipes that wait for the next job, it has both ends of.
  std::map<int, std::string> table;
  std::map<std::string, int> pipes;
  EXPECT_TRUE(waitUntil([&]() {
    table = descriptorTable(server().wshdPid(id));
    pipes.clear();
    for (const auto& [number, target] : table)
      if (target.compare(0, 6, "pipe:[") == 0) ++pipes[target];
    return std::all_of(pipes.begin(), pipes.end(), [](auto& pipe) { return pipe.second == 2; });
  }));
  EXPECT_LE(pipes.size(), 3u);
  for (int fd : {0, 1, 2})
    EXPECT_EQ(table[fd], "/dev/null") << fd;
  for (int fd : {3, 4})
    EXPECT_EQ(table[fd].find("socket:["), 0u) << table[fd];
  auto helper = privateOnesOfTheHelper();
  for (const auto& [number, target] : table) {
    if (number <= 4) {
      EXPECT_EQ(helper.count(target), 0u) << number << " " << target;
    } else {
      // What wshd makes for itself.
      if (pipes.count(target) > 0) {
        EXPECT_EQ(helper.count(target), 0u) << number << " " << target;
        continue;
      }
      EXPECT_EQ(target.find("anon_inode:["), 0u) << number << " " << target;
      EXPECT_EQ(target.find("anon_inode:[pidfd]"), std::string::npos) << number;
    }
  }
}

TEST_F(DescriptorTest, aJobHasItsThreeStreamsAndNoOthers) {
  TestClient client = connect();
  std::string id = client.create();
  client.spawn(id, "sleep 1000; true", true);  // an earlier job's are not in a later one
  // All of it, before what starts later is told from it: wshd's child, and the shell's.
  ASSERT_TRUE(waitUntil([&]() {
    auto all = descendants(server().wshdPid(id));
    return all.size() == 2 && std::all_of(all.begin(), all.end(), [](pid_t pid) {
             return statusField(pid, "Name") != "wshd";
           });
  })) << descendants(server().wshdPid(id)).size();
  for (bool privileged : {false, true}) {
    std::set<pid_t> before;
    for (pid_t pid : descendants(server().wshdPid(id)))
      before.insert(pid);
    client.spawn(id, "sleep 1000; true", privileged);
    std::set<pid_t> started;
    ASSERT_TRUE(waitUntil([&]() {
      started.clear();
      for (pid_t pid : descendants(server().wshdPid(id))) {
        if (before.count(pid) == 0 && statusField(pid, "Name") != "wshd") started.insert(pid);
      }
      return started.size() == 2;  // the shell and its sleep
    }));
    auto helper = privateOnesOfTheHelper();
    auto wshd = privateOnesOf(server().wshdPid(id));
    for (pid_t pid : started) {
      auto table = descriptorTable(pid);
      std::set<int> numbers;
      for (const auto& [number, target] : table) {
        // A shell that reads its script moves it out of the way of what it starts.
        if (target.find("/memfd:") != 0) numbers.insert(number);
        EXPECT_EQ(helper.count(target), 0u) << number << " " << target;
        if (target.find("socket:[") == 0) ADD_FAILURE() << number << " " << target;
        if (number > 2) {
          EXPECT_EQ(target.find("/memfd:"), 0u) << number << " " << target;
        }
      }
      EXPECT_LE(numbers.size(), 3u);
      for (int fd : {1, 2})
        EXPECT_EQ(table[fd].find("pipe:["), 0u) << table[fd];
    }
  }
}

TEST_F(DescriptorTest, frontendSharesTheListenerWithTheBrokerAndNothingElse) {
  TestClient client = connect();
  std::string id = client.create();
  client.spawn(id, "sleep 1000");
  std::map<std::string, std::set<std::string>> shared;
  auto frontend = privateOnesOf(server().frontendPid());
  for (const auto& [role, pid] : roles()) {
    for (const auto& target : privateOnesOf(pid)) {
      if (frontend.count(target) > 0) shared[role].insert(target);
    }
  }
  EXPECT_EQ(shared["broker"].size(), 1u);
  EXPECT_EQ(shared["launcher"].size(), 0u);
  EXPECT_EQ(shared["sweeper"].size(), 0u);
  EXPECT_EQ(shared["porter"].size(), 0u);
  EXPECT_EQ(shared["observer"].size(), 0u);
  // The files that it has: those that it was started with, spools of jobs, and the container's
  // statistics.
  std::string group = "/" + server().cgroupParent() + "/instance-" + id + "/";
  std::set<std::string> files;
  for (const auto& [number, target] : descriptorTable(server().frontendPid())) {
    if (target[0] == '/') files.insert(target);
  }
  for (const auto& file : files) {
    bool expected = file == "/dev/null" || file == server().directory() + "/stderr" ||
                    file == server().logPath() || file == server().imagePath() ||
                    file == server().depotPath() ||
                    file.find(server().depotPath() + "/" + id + "/state") == 0 ||
                    file.find("/state") != std::string::npos || file.find("/memfd:") == 0 ||
                    (file.find("/sys/fs/cgroup/") == 0 && file.find(group) != std::string::npos);
    EXPECT_TRUE(expected) << file;
  }
}

TEST_F(DescriptorTest, launcherHasItsResourcesAndNothingOfContainers) {
  auto before = kinds(server().launcherPid());
  // Standard streams, the broker, wshd's program, the frontend's, the host's root, its signals.
  EXPECT_EQ(before.size(), 8u) << ::testing::PrintToString(before);
  TestClient client = connect();
  for (int i = 0; i < 3; ++i)
    client.spawn(client.create(), "sleep 1000");
  EXPECT_EQ(kinds(server().launcherPid()), before);
}

TEST_F(SandboxTest, helperIsFiveProcessesOfOneProgram) {
  EXPECT_EQ(server().helperPids().size(), 5u);
  EXPECT_EQ(roles().size(), server().helperPids().size());
}

TEST_F(SandboxTest, helperIsFilteredAndCannotGainPrivileges) {
  for (const auto& [role, pid] : roles()) {
    EXPECT_EQ(statusField(pid, "Seccomp"), "2") << role;
    EXPECT_EQ(statusField(pid, "NoNewPrivs"), "1") << role;
    EXPECT_EQ(statusField(pid, "CapInh"), "0000000000000000") << role;
    EXPECT_EQ(statusField(pid, "CapAmb"), "0000000000000000") << role;
  }
}

TEST_F(SandboxTest, helperHasTheDocumentedCapabilitiesAndNoOthers) {
  auto documented = documentedCapabilities();
  for (const auto& [role, pid] : roles()) {
    EXPECT_EQ(capabilityNames(statusField(pid, "CapEff")), documented[role]) << role;
    EXPECT_EQ(capabilityNames(statusField(pid, "CapPrm")), documented[role]) << role;
  }
}

TEST_F(SandboxTest, helperHasAMountNamespaceOfItsOwn) {
  auto host = fs::read_symlink("/proc/self/ns/mnt");
  for (const auto& [role, pid] : roles()) {
    EXPECT_NE(fs::read_symlink("/proc/" + std::to_string(pid) + "/ns/mnt"), host) << role;
  }
}

TEST_F(SandboxTest, wshdIsFilteredAndUnprivilegedOnTheHost) {
  TestClient client = connect();
  pid_t wshd = server().wshdPid(client.create());
  EXPECT_EQ(statusField(wshd, "Seccomp"), "2");
  std::istringstream uids(statusField(wshd, "Uid"));
  for (uint64_t uid; uids >> uid;)
    EXPECT_GE(uid, server().idRangeStart());
  for (const char* kind : {"mnt", "pid", "net", "ipc", "uts", "user", "cgroup"}) {
    EXPECT_NE(fs::read_symlink("/proc/" + std::to_string(wshd) + "/ns/" + kind),
              fs::read_symlink(std::string("/proc/self/ns/") + kind))
        << kind;
  }
}

TEST_F(SandboxTest, wshdIsNotDumpable) {
  TestClient client = connect();
  std::string id = client.create();
  pid_t wshd = server().wshdPid(id);
  // The kernel gives /proc/PID of what is not dumpable to root (proc(5)).
  struct stat s;
  ASSERT_EQ(stat(("/proc/" + std::to_string(wshd) + "/environ").c_str(), &s), 0);
  EXPECT_EQ(s.st_uid, 0u);
  EXPECT_EQ(s.st_gid, 0u);
  // What a dumpable process would let another one of the same ids read.
  for (const char* file : {"environ", "maps", "mem", "auxv"}) {
    EXPECT_NE(client.run(id, std::string("cat < /proc/1/") + file, true).exit_status(), 0u) << file;
  }
  EXPECT_NE(client.run(id, "readlink /proc/1/exe", true).exit_status(), 0u);
}

TEST_F(SandboxTest, wshdsProgramCannotBeWrittenFromInsideNorFromOutside) {
  TestClient client = connect();
  std::string id = client.create();
  for (bool privileged : {false, true}) {
    EXPECT_NE(client.run(id, "echo x >> /proc/1/exe", privileged).exit_status(), 0u);
  }
  // By the host's root, who gets past permissions: sealed, or on a mount that is read-only.
  std::string exe = "/proc/" + std::to_string(server().wshdPid(id)) + "/exe";
  int raw = open(exe.c_str(), O_WRONLY | O_CLOEXEC);
  if (raw >= 0) {
    Fd fd(raw);
    EXPECT_LT(write(fd, "x", 1), 0);
  }
}

TEST_F(SandboxTest, jobsAreFilteredAndHaveNoCapabilityUnlessPrivileged) {
  TestClient client = connect();
  std::string id = client.create();
  std::string vcap = client.output(id, "cat /proc/self/status");
  auto field = [](const std::string& status, const std::string& name) {
    for (const auto& line : splitLines(status)) {
      if (line.compare(0, name.size() + 2, name + ":\t") == 0) return line.substr(name.size() + 2);
    }
    return std::string();
  };
  for (const char* set : {"CapEff", "CapPrm", "CapInh", "CapAmb"}) {
    EXPECT_EQ(field(vcap, set), "0000000000000000") << set;
  }
  EXPECT_EQ(field(vcap, "Seccomp"), "2");
  EXPECT_EQ(field(vcap, "NoNewPrivs"), "1");

  std::string root = client.output(id, "cat /proc/self/status", true);
  EXPECT_EQ(field(root, "Seccomp"), "2");
  auto names = capabilityNames(field(root, "CapBnd"));
  for (const char* dangerous :
       {"cap_sys_admin",      "cap_sys_module", "cap_sys_rawio",       "cap_sys_ptrace",
        "cap_sys_boot",       "cap_sys_time",   "cap_mknod",           "cap_net_admin",
        "cap_sys_resource",   "cap_mac_admin",  "cap_mac_override",    "cap_dac_read_search",
        "cap_syslog",         "cap_bpf",        "cap_perfmon",         "cap_checkpoint_restore",
        "cap_audit_control",  "cap_audit_read", "cap_linux_immutable", "cap_sys_pacct",
        "cap_sys_tty_config", "cap_wake_alarm", "cap_block_suspend"}) {
    EXPECT_EQ(names.count(dangerous), 0u) << dangerous;
  }
}

TEST_F(SandboxTest, serverRunsNoOtherPrograms) {
  TestClient client = connect();
  std::string id = client.create();
  std::set<std::string> programs;
  pid_t wshd = server().wshdPid(id);
  for (pid_t pid : server().ourProcesses()) {
    if (pid != wshd) programs.insert(fs::path(executableOf(pid)).filename());
  }
  EXPECT_EQ(programs, (std::set<std::string>{"warden-privhelper", "warden-frontend"}));
}

// --- starting

TEST(StartTest, refusesABadConfigurationWithFileAndKeyAndLeavesNothing) {
  for (const auto& [key, value] :
       std::map<std::string, std::string>{{"server.no_such_key", "1"},
                                          {"server.container_rootfs_path", "/nonexistent/image"},
                                          {"server.job_output_limit", "many"},
                                          {"user.pool_start_uid", "0"},
                                          {"privhelper.cgroup_parent", "../escape"},
                                          {"privhelper.user", "root"},
                                          {"privhelper.user", "no-such-user"}}) {
    SCOPED_TRACE(key + ": " + value);
    ServerOptions options;
    options.config[key] = value;
    TestServer server(options);
    server.launch();
    EXPECT_NE(server.waitForExit(std::chrono::seconds(10)), 0);
    EXPECT_FALSE(server.logs().empty());
    expectNothingRemains(server);
  }
}

TEST(StartTest, refusesAConfigurationFileThatOthersMayWrite) {
  TestServer server;
  fs::permissions(server.configPath(), fs::perms(0666));
  server.launch();
  EXPECT_NE(server.waitForExit(std::chrono::seconds(10)), 0);
  expectNothingRemains(server);
}

}  // namespace
}  // namespace warden::test
