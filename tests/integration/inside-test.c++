// What a container looks like from inside, and what of it the host sees: names, users, files.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <sstream>
#include <thread>

#include "tests/support/limits.h"
#include "tests/support/server-test.h"

namespace warden::test {
namespace {

class InsideTest : public ServerTest {
 protected:
  void SetUp() override {
    start();
    client.emplace(connect());
    id = client->create();
  }
  void TearDown() override {
    client.reset();
    ServerTest::TearDown();
  }
  std::string output(const std::string& script, bool privileged = false) {
    return client->output(id, script, privileged);
  }

  // The host's pid of a job's shell: the process whose pid in the container the job prints.
  pid_t hostPidOfShell(const std::string& insidePid) {
    for (pid_t pid : server().ourProcesses()) {
      std::istringstream numbers(statusField(pid, "NSpid"));
      std::string last, number;
      while (numbers >> number)
        last = number;
      if (last == insidePid && statusField(pid, "NSpid") != insidePid) return pid;
    }
    return -1;
  }

  struct Shell {
    uint32_t job;
    pid_t hostPid;
  };
  Shell startShell(bool privileged) {
    uint32_t job = client->spawn(id, "echo $$; exec sleep 1000", privileged);
    TestClient streamer = connect();
    streamer.startStream(id, job);
    std::string line = streamer.receive<StreamResponse>().data();
    line.pop_back();
    return {job, hostPidOfShell(line)};
  }

  std::optional<TestClient> client;
  std::string id;
};

TEST_F(InsideTest, hasItsIdAsHostName) {
  EXPECT_EQ(output("hostname"), id + "\n");
  EXPECT_EQ(output("cat /etc/hostname"), id + "\n");
  EXPECT_EQ(output("cat /proc/sys/kernel/hostname"), id + "\n");
}

TEST_F(InsideTest, hasHostsWithLocalhostAndItself) {
  std::string hosts = output("cat /etc/hosts");
  EXPECT_NE(hosts.find("127.0.0.1 localhost\n"), std::string::npos) << hosts;
  EXPECT_NE(hosts.find(id), std::string::npos) << hosts;
}

TEST_F(InsideTest, hasAResolvConf) {
  output("test -r /etc/resolv.conf");
}

TEST_F(InsideTest, hasAResolvConfOfTheConfiguredServers) {
  client.reset();
  ServerTest::TearDown();
  startWith({{"network.dns_servers", "[192.0.2.1, 192.0.2.2]"}});
  client.emplace(connect());
  id = client->create();
  EXPECT_EQ(output("cat /etc/resolv.conf"), "nameserver 192.0.2.1\nnameserver 192.0.2.2\n");
}

TEST_F(InsideTest, hasEtcFilesThatBelongToRootAndOnlyRootMayWrite) {
  for (const char* name : {"passwd", "group", "hosts", "resolv.conf", "hostname"}) {
    EXPECT_EQ(output(std::string("stat -c '%u %g %a' /etc/") + name), "0 0 644\n") << name;
  }
  EXPECT_NE(client->run(id, "echo x >> /etc/hosts").exit_status(), 0u);
  output("echo x >> /etc/hosts", true);
}

TEST_F(InsideTest, hasVcapWithAUidOfThePoolInsideAndOnTheHost) {
  uint32_t uid = std::stoul(output("id -u"));
  uint32_t gid = std::stoul(output("id -g"));
  EXPECT_GE(uid, server().poolStartUid());
  EXPECT_LT(uid, server().poolStartUid() + server().slots());
  EXPECT_EQ(gid, uid);
  Shell shell = startShell(false);
  ASSERT_GT(shell.hostPid, 0);
  std::string number = std::to_string(uid);
  std::string expected = number + "\t" + number + "\t" + number + "\t" + number;
  EXPECT_EQ(statusField(shell.hostPid, "Uid"), expected);
  EXPECT_EQ(statusField(shell.hostPid, "Gid"), expected);
}

TEST_F(InsideTest, hasVcapInItsPasswdAndGroup) {
  std::string passwd = output("grep ^vcap: /etc/passwd");
  std::string uid = output("id -u");
  uid.pop_back();
  EXPECT_EQ(passwd.find("vcap:x:" + uid + ":" + uid + ":"), 0u) << passwd;
  EXPECT_NE(passwd.find(":/home/vcap:"), std::string::npos) << passwd;
  EXPECT_EQ(output("grep ^vcap: /etc/group").find("vcap:x:" + uid + ":"), 0u);
  EXPECT_EQ(output("stat -c '%U %G' /home/vcap"), "vcap vcap\n");
}

TEST_F(InsideTest, hasDifferentVcapsInDifferentContainers) {
  std::string other = client->create();
  EXPECT_NE(output("id -u"), client->output(other, "id -u"));
}

TEST_F(InsideTest, hasARootThatIsNotRootOnTheHost) {
  EXPECT_EQ(output("id -u", true), "0\n");
  Shell shell = startShell(true);
  ASSERT_GT(shell.hostPid, 0);
  for (const char* field : {"Uid", "Gid"}) {
    std::istringstream ids(statusField(shell.hostPid, field));
    uint64_t value;
    int count = 0;
    while (ids >> value) {
      ++count;
      EXPECT_GE(value, server().idRangeStart()) << field;
      EXPECT_LT(value, server().idRangeStart() + uint64_t(server().slots()) * 65536) << field;
    }
    EXPECT_EQ(count, 4);
  }
}

TEST_F(InsideTest, hasFilesOfItsRootThatDoNotBelongToRootOnTheHost) {
  output("echo x > /tmp/by-root; chown 1000:1000 /tmp/by-root; echo y > /tmp/mine", true);
  output("echo z > /tmp/by-vcap");
  std::string tmp = server().depotPath() + "/" + id + "/tmp/rootfs/tmp";
  struct stat s;
  ASSERT_EQ(stat((tmp + "/mine").c_str(), &s), 0);
  EXPECT_GE(s.st_uid, server().idRangeStart());
  uint32_t rootUid = s.st_uid;
  ASSERT_EQ(stat((tmp + "/by-root").c_str(), &s), 0);
  EXPECT_EQ(s.st_uid, rootUid + 1000);
  ASSERT_EQ(stat((tmp + "/by-vcap").c_str(), &s), 0);
  EXPECT_EQ(std::to_string(s.st_uid) + "\n", output("id -u"));
}

TEST_F(InsideTest, seesTheImagesFilesAsRoots) {
  EXPECT_EQ(output("stat -c '%u:%g' /bin/busybox"), "0:0\n");
  EXPECT_EQ(output("stat -c '%u:%g' /"), "0:0\n");
}

TEST_F(InsideTest, hasAShellThatCanUseThePlainFileTools) {
  EXPECT_EQ(output("mkdir /tmp/d && echo x > /tmp/d/f && ln -s f /tmp/d/l && cat /tmp/d/l"), "x\n");
  EXPECT_EQ(output("mkdir -p /opt/a && chown vcap /opt/a && chmod 700 /opt/a &&"
                   "stat -c '%U %a' /opt/a",
                   true),
            "vcap 700\n");
}

TEST_F(InsideTest, hasWorkingDevices) {
  output("echo x > /dev/null; head -c 10 /dev/zero > /tmp/z; test $(wc -c < /tmp/z) = 10");
  output("head -c 10 /dev/urandom > /tmp/u; test $(wc -c < /tmp/u) = 10");
  output("head -c 10 /dev/random > /tmp/r; test $(wc -c < /tmp/r) = 10");
  EXPECT_EQ(output("readlink /dev/fd; readlink /dev/stdin; readlink /dev/stdout"),
            "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n");
  output("echo shared > /dev/shm/x && grep -q shared /dev/shm/x");
  EXPECT_EQ(output("stat -f -c %T /dev/shm"), "tmpfs\n");
  output("exec 3<> /dev/ptmx");
}

TEST_F(InsideTest, hasLoopbackAndOneInterfaceMore) {
  EXPECT_EQ(output("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort"),
            "lo\nw-" + id + "-1\n");
}

TEST_F(InsideTest, seesOwnProcessesOnly) {
  std::string pids = output("for p in /proc/[0-9]*; do echo ${p#/proc/}; done");
  size_t inside = splitLines(pids).size();
  EXPECT_GE(inside, 2u);
  EXPECT_LE(inside, 4u) << pids;
  EXPECT_EQ(pids.find("1\n"), 0u);
}

TEST_F(InsideTest, isInTheConfiguredCgroupsAndSeesThemAsItsRoot) {
  Shell shell = startShell(false);
  ASSERT_GT(shell.hostPid, 0);
  std::string cgroups = readFile("/proc/" + std::to_string(shell.hostPid) + "/cgroup");
  std::string expected = "/" + server().cgroupParent() + "/instance-" + id;
  // cgroups(7): version 2 is hierarchy 0, without names of controllers.
  for (const char* controller : {"pids", "memory"}) {
    std::string line = (hasVersion2(controller) ? "0::" : ":" + std::string(controller) + ":");
    EXPECT_NE(cgroups.find(line + expected), std::string::npos) << cgroups;
  }
  for (const auto& line : splitLines(output("cat /proc/self/cgroup"))) {
    std::string path = line.substr(line.find(':', line.find(':') + 1) + 1);
    // Hierarchies that the server does not use show from the host's root.
    EXPECT_EQ(path, "/") << line;
  }
}

TEST_F(InsideTest, isHeldToTheConfiguredNumberOfProcesses) {
  client.reset();
  ServerTest::TearDown();
  startWith({{"privhelper.pids_limit", "30"}, {"server.container_rlimits", "{nproc: 10000}"}});
  client.emplace(connect());
  id = client->create();
  client->run(id,
              "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27"
              " 28 29 30 31 32 33 34 35 36 37 38 39 40; do sleep 1000 & done; true");
  size_t processes = server().ourProcesses().size();
  EXPECT_LE(processes, 30u + 6) << "the container's and the server's own";
  client->stop(id, false, true);
}

}  // namespace
}  // namespace warden::test
