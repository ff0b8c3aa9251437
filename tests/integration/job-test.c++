// Jobs: how they start, in what surroundings, and how their end is told.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <sstream>
#include <thread>

#include "tests/support/server-test.h"
#include "tests/support/test-image.h"

namespace warden::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class JobTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerOptions options;
    options.image = bashImage();
    start(options);
    client.emplace(connect());
    client->create("c");
  }
  void TearDown() override {
    client.reset();
    ServerTest::TearDown();
  }
  std::string output(const std::string& script, bool privileged = false) {
    return client->output("c", script, privileged);
  }
  uint32_t statusOf(const std::string& script) { return client->run("c", script).exit_status(); }

  std::optional<TestClient> client;
};

// --- the end of a job

TEST_F(JobTest, tellsItsExitStatus) {
  for (uint32_t status : {0u, 1u, 42u, 254u, 255u}) {
    EXPECT_EQ(statusOf("exit " + std::to_string(status)), status);
  }
}

TEST_F(JobTest, readsAs255WhenEndedByASignal) {
  for (const char* signal : {"KILL", "TERM", "SEGV", "HUP"}) {
    EXPECT_EQ(statusOf("kill -" + std::string(signal) + " $$"), 255u) << signal;
  }
}

TEST_F(JobTest, tellsBothOutputs) {
  auto response = client->run("c", "echo to-out; echo to-err >&2; exit 5");
  EXPECT_EQ(response.exit_status(), 5u);
  EXPECT_EQ(response.stdout(), "to-out\n");
  EXPECT_EQ(response.stderr(), "to-err\n");
  EXPECT_EQ(response.info().state(), "active");
}

TEST_F(JobTest, opensItsOutputsByName) {
  for (bool privileged : {false, true}) {
    auto response = client->run("c", "echo out >/dev/stdout; echo err >/dev/stderr", privileged);
    EXPECT_EQ(response.stdout(), "out\n");
    EXPECT_EQ(response.stderr(), "err\n");
  }
}

TEST_F(JobTest, hasAnIdThatIncreasesOverAllContainers) {
  client->create("d");
  uint32_t last = 0;
  for (int i = 0; i < 6; ++i) {
    const char* handle = i % 2 == 0 ? "c" : "d";
    uint32_t job = client->spawn(handle, "true");
    EXPECT_GT(job, last);
    last = job;
    client->link(handle, job);
  }
}

TEST_F(JobTest, isGoneWhenLinked) {
  uint32_t job = client->spawn("c", "exit 4");
  EXPECT_EQ(client->link("c", job).exit_status(), 4u);
  EXPECT_EQ(client->expectError(linkRequest("c", job)), "no such job");
}

TEST_F(JobTest, isUnknownInAnotherContainer) {
  client->create("d");
  uint32_t job = client->spawn("c", "sleep 1000");
  EXPECT_EQ(client->expectError(linkRequest("d", job)), "no such job");
  EXPECT_EQ(client->expectError(linkRequest("c", 4000000000u)), "no such job");
  EXPECT_EQ(client->expectError(linkRequest("c", 0)), "no such job");
}

TEST_F(JobTest, answersEachOfItsLinkers) {
  uint32_t job = client->spawn("c", "sleep 0.5; echo out; echo err >&2; exit 9");
  std::vector<TestClient> linkers;
  for (int i = 0; i < 8; ++i) {
    linkers.push_back(connect());
    linkers.back().send(linkRequest("c", job));
  }
  for (auto& linker : linkers) {
    auto response = linker.receive<LinkResponse>();
    EXPECT_EQ(response.exit_status(), 9u);
    EXPECT_EQ(response.stdout(), "out\n");
    EXPECT_EQ(response.stderr(), "err\n");
    EXPECT_TRUE(response.has_info());
  }
  EXPECT_EQ(client->expectError(linkRequest("c", job)), "no such job");
}

TEST_F(JobTest, keepsStatusAndOutputUntilLinkedHoweverLate) {
  uint32_t job = client->spawn("c", "echo kept; exit 6");
  ASSERT_TRUE(waitUntil([&]() { return client->info("c").job_ids_size() == 0; }));
  auto response = client->link("c", job);
  EXPECT_EQ(response.exit_status(), 6u);
  EXPECT_EQ(response.stdout(), "kept\n");
}

TEST_F(JobTest, staysWhenItsLinkerLeaves) {
  uint32_t job = client->spawn("c", "sleep 0.5; echo kept; exit 6");
  {
    TestClient leaving = connect();
    leaving.send(linkRequest("c", job));
    std::this_thread::sleep_for(milliseconds(100));
  }
  auto response = client->link("c", job);
  EXPECT_EQ(response.exit_status(), 6u);
  EXPECT_EQ(response.stdout(), "kept\n");
}

TEST_F(JobTest, runsOnWhenTheClientThatRanItLeaves) {
  {
    TestClient leaving = connect();
    leaving.send(runRequest("c", "sleep 0.5; echo done > /tmp/done"));
    std::this_thread::sleep_for(milliseconds(200));
  }
  EXPECT_TRUE(waitUntil([&]() { return statusOf("test -e /tmp/done") == 0; }));
}

TEST_F(JobTest, endsWhenItsShellEndsThoughChildrenHoldItsPipes) {
  auto since = std::chrono::steady_clock::now();
  auto response = client->run("c", "sleep 1000 & echo ended");
  EXPECT_EQ(response.exit_status(), 0u);
  EXPECT_EQ(response.stdout(), "ended\n");
  EXPECT_LT(std::chrono::steady_clock::now() - since, patient(seconds(5)));
}

TEST_F(JobTest, leavesItsChildrenRunningWhenItEnds) {
  output("(sleep 0.5; echo late > /tmp/late) > /dev/null 2>&1 &");
  EXPECT_TRUE(waitUntil([&]() { return statusOf("test -e /tmp/late") == 0; }));
}

TEST_F(JobTest, leavesNoZombiesBehind) {
  for (int i = 0; i < 20; ++i)
    output("(true &) ; (exit 3 &) ; true");
  EXPECT_TRUE(waitUntil([&]() {
    return output("cat /proc/[0-9]*/stat 2>/dev/null | grep -c ' Z ' || true") == "0\n";
  }));
}

TEST_F(JobTest, runsBesideManyOthers) {
  std::vector<uint32_t> jobs;
  for (int i = 0; i < 60; ++i) {
    jobs.push_back(
        client->spawn("c", "sleep 0.3; echo " + std::to_string(i) + "; exit " + std::to_string(i)));
  }
  for (int i = 0; i < 60; ++i) {
    auto response = client->link("c", jobs[i]);
    EXPECT_EQ(response.exit_status(), static_cast<uint32_t>(i));
    EXPECT_EQ(response.stdout(), std::to_string(i) + "\n");
  }
}

// --- surroundings

TEST_F(JobTest, hasExactlyTheDocumentedEnvironment) {
  const char* lang = getenv("LANG");
  std::string expected = std::string("HOME=/home/vcap\nLANG=") +
                         (lang == nullptr ? "en_US.UTF-8" : lang) +
                         "\nPATH=/bin:/usr/bin\nUSER=vcap\n";
  // As handed over at exec; a shell adds its own to `env`.
  EXPECT_EQ(output("tr '\\0' '\\n' < /proc/$$/environ | sort"), expected);
}

TEST_F(JobTest, hasTheDocumentedEnvironmentOfRootWhenPrivileged) {
  const char* lang = getenv("LANG");
  std::string expected = std::string("HOME=/root\nLANG=") +
                         (lang == nullptr ? "en_US.UTF-8" : lang) +
                         "\nPATH=/sbin:/bin:/usr/sbin:/usr/bin\nUSER=root\n";
  EXPECT_EQ(output("tr '\\0' '\\n' < /proc/$$/environ | sort", true), expected);
}

TEST_F(JobTest, startsInTheHomeOfItsUser) {
  EXPECT_EQ(output("pwd; cd; pwd; touch mine"), "/home/vcap\n/home/vcap\n");
  EXPECT_EQ(output("pwd; touch mine", true), "/root\n");
}

TEST_F(JobTest, runsAsVcapOrRoot) {
  EXPECT_EQ(output("id -un; id -gn; whoami"), "vcap\nvcap\nvcap\n");
  EXPECT_EQ(output("id -u; id -g; id -un", true), "0\n0\nroot\n");
}

TEST_F(JobTest, hasAUmaskOf022) {
  EXPECT_EQ(output("umask"), "0022\n");
  EXPECT_EQ(output("umask", true), "0022\n");
}

TEST_F(JobTest, leadsASessionOfItsOwnWithoutATerminal) {
  // proc(5), stat: pid, comm, state, ppid, pgrp, session, tty_nr.
  EXPECT_EQ(output("read a b c d e f g h < /proc/$$/stat; test $a = $e && test $a = $f && echo $g"),
            "0\n");
  EXPECT_NE(statusOf("exec 3< /dev/tty"), 0u);
}

TEST_F(JobTest, readsTheRestOfTheScriptFromItsStdin) {
  EXPECT_EQ(output("cat\nfirst\nsecond\n"), "first\nsecond\n");
  EXPECT_EQ(output("read line\nthe line\necho got $line"), "got the line\n");
}

TEST_F(JobTest, takesAScriptOfAnyBytes) {
  std::string bytes = "\xff\xfe\x01\x80 caf\xc3\xa9";
  EXPECT_EQ(output("cat\n" + bytes), bytes);
  EXPECT_EQ(output(std::string("cat\na\0b\0", 8)), std::string("a\0b\0", 4));
}

TEST_F(JobTest, takesAnEmptyScript) {
  auto response = client->run("c", "");
  EXPECT_EQ(response.exit_status(), 0u);
  EXPECT_EQ(response.stdout(), "");
}

TEST_F(JobTest, takesAScriptOfHalfAMebibyte) {
  std::string script = "cat\n" + std::string(512 * 1024, 'y');
  EXPECT_EQ(output(script).size(), 512u * 1024);
}

TEST_F(JobTest, cannotChangeTheScriptOfAnother) {
  EXPECT_NE(statusOf("echo x > /proc/$$/fd/0"), 0u);
  EXPECT_NE(statusOf("echo x >> /proc/self/fd/0"), 0u);
}

TEST_F(JobTest, holdsNoDescriptorsButItsThree) {
  for (bool privileged : {false, true}) {
    // A child, since the shell itself keeps copies while it redirects.
    EXPECT_EQ(
        output("exec 3>&- ; ls /proc/self/fd > /tmp/fds; cat /tmp/fds; rm /tmp/fds", privileged),
        "0\n1\n2\n3\n")
        << "3 is the directory that ls reads";
  }
}

// --- limits

TEST_F(JobTest, hasTheDocumentedLimits) {
  auto limits = output("cat /proc/self/limits");
  auto expect = [&](const std::string& name, const std::string& value) {
    for (const auto& line : splitLines(limits)) {
      if (line.compare(0, name.size(), name) != 0) continue;
      std::istringstream fields(line.substr(name.size()));
      std::string soft, hard;
      fields >> soft >> hard;
      EXPECT_EQ(soft, value) << name;
      EXPECT_EQ(hard, value) << name;
      return;
    }
    ADD_FAILURE() << "no " << name << " in " << limits;
  };
  expect("Max core file size", "0");
  expect("Max locked memory", "65536");
  expect("Max msgqueue size", "819200");
  expect("Max open files", "1024");
  expect("Max processes", "1024");
  expect("Max pending signals", "1024");
  expect("Max stack size", "8388608");
  expect("Max nice priority", "0");
  expect("Max realtime priority", "0");
  expect("Max cpu time", "unlimited");
  expect("Max file size", "unlimited");
  expect("Max data size", "unlimited");
  expect("Max address space", "unlimited");
  expect("Max file locks", "unlimited");
}

TEST_F(JobTest, takesLimitsOfItsRequestAndDoesNotPassThemOn) {
  auto request = runRequest("c", "ulimit -n; ulimit -Hn; ulimit -f");
  request.mutable_rlimits()->set_nofile(100);
  request.mutable_rlimits()->set_fsize(512 * 1024);
  // The shell's unit for -f is 512 bytes (sh) or 1024 (bash).
  auto lines = splitLines(client->call(request).stdout());
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0], "100");
  EXPECT_EQ(lines[1], "100");
  EXPECT_TRUE(lines[2] == "1024" || lines[2] == "512") << lines[2];
  EXPECT_EQ(output("ulimit -n"), "1024\n");
}

TEST_F(JobTest, isHeldToItsLimits) {
  auto request = runRequest("c", "head -c 200000 /dev/zero > /tmp/big; echo $?; wc -c < /tmp/big");
  request.mutable_rlimits()->set_fsize(100000);
  auto response = client->call(request);
  EXPECT_NE(response.stdout().find("100000\n"), std::string::npos) << response.stdout();
}

TEST_F(JobTest, failsClearlyWhenALimitCannotBeSet) {
  // The hard limit of the machine is below this, and root has no CAP_SYS_RESOURCE in containers.
  auto request = runRequest("c", "true");
  request.mutable_rlimits()->set_nofile(1ull << 40);
  EXPECT_NE(client->expectError(request).find("nofile"), std::string::npos);
  EXPECT_EQ(statusOf("true"), 0u);
}

TEST_F(JobTest, takesTheConfiguredLimits) {
  destroyAll(server());
  client.reset();
  ServerTest::TearDown();
  startWith({{"server.container_rlimits", "{nofile: 77, nproc: 55}"}});
  client.emplace(connect());
  client->create("c");
  EXPECT_EQ(output("ulimit -n"), "77\n");
  EXPECT_EQ(output("grep 'Max processes' /proc/self/limits | tr -s ' ' | cut -d' ' -f3"), "55\n");
}

}  // namespace
}  // namespace warden::test
