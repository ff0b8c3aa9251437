// What a job is to the shell that runs in it.

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "tests/unit/wshd-harness.h"

namespace warden::test {
namespace {

class WshdJobTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!canRunWshd()) GTEST_SKIP() << "needs root";
    wshd = std::make_unique<Wshd>();
  }
  void TearDown() override {
    if (wshd != nullptr) {
      EXPECT_TRUE(wshd->isAlive());
    }
  }
  std::string output(JobSpec spec) {
    Ended ended = wshd->run(spec);
    EXPECT_EQ(ended.errors, "");
    EXPECT_EQ(ended.exitCode, 0);
    return ended.output;
  }
  std::unique_ptr<Wshd> wshd;
};

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    EXPECT_NE(mkdtemp(path), nullptr);
    chmod(path, 0755);
  }
  ~TemporaryDirectory() { rmdir(path); }
  char path[32] = "/tmp/warden-home-XXXXXX";
};

TEST_F(WshdJobTest, separatesStdoutFromStderr) {
  Ended ended = wshd->run({.script = "echo out; echo err >&2; exit 7"});
  EXPECT_EQ(ended.output, "out\n");
  EXPECT_EQ(ended.errors, "err\n");
  EXPECT_EQ(ended.exitCode, 7);
}

TEST_F(WshdJobTest, reportsTheSignalThatEndedTheShell) {
  EXPECT_EQ(wshd->run({.script = "kill -SEGV $$"}).signal, SIGSEGV);
  EXPECT_EQ(wshd->run({.script = "kill -KILL $$"}).signal, SIGKILL);
}

TEST_F(WshdJobTest, isKilledBeforeWshdWhenMemoryRunsOut) {
  for (bool privileged : {false, true}) {
    JobSpec job{.script = "sleep 0.05; cat /proc/self/oom_score_adj"};
    job.privileged = privileged;
    EXPECT_EQ(output(job), "500\n") << privileged;
  }
  EXPECT_EQ(output({.script = "cat /proc/1/oom_score_adj"}), "0\n");
}

TEST_F(WshdJobTest, letsCatReadTheRestOfTheScript) {
  EXPECT_EQ(output({.script = "cat\nthe rest\nof it\n"}), "the rest\nof it\n");
}

TEST_F(WshdJobTest, runsBashByItsName) {
  EXPECT_EQ(output({.script = "echo $0 $BASH"}), "bash /bin/bash\n");
}

TEST_F(WshdJobTest, passesTheEnvironmentExactly) {
  std::string text = output({.script = "tr '\\0' '\\n' < /proc/$$/environ",
                             .environment = {"PATH=/bin:/usr/bin", "X=a b=c", "Y="}});
  EXPECT_EQ(text, "PATH=/bin:/usr/bin\nX=a b=c\nY=\n");
}

TEST_F(WshdJobTest, startsInTheHomeDirectoryWithUmask022) {
  TemporaryDirectory home;
  EXPECT_EQ(output({.script = "pwd; umask", .home = home.path}),
            std::string(home.path) + "\n0022\n");
}

TEST_F(WshdJobTest, entersTheHomeDirectoryAsTheUser) {
  TemporaryDirectory home;
  ASSERT_EQ(chmod(home.path, 0700), 0);
  Message refused = wshd->frontend.spawn({.script = "true", .home = home.path});
  EXPECT_EQ(refused.step, "chdir to the home directory");
  EXPECT_EQ(refused.error, EACCES);
  EXPECT_EQ(output(asRoot({.script = "pwd", .home = home.path})), std::string(home.path) + "\n");
}

TEST_F(WshdJobTest, findsNoDescriptorBehindAHomeOfMagicLinks) {
  for (int fd = 0; fd < 20; ++fd) {
    JobSpec spec = asRoot({.script = "true"});
    spec.home = "/proc/self/fd/" + std::to_string(fd);
    Message refused = wshd->frontend.spawn(spec);
    EXPECT_EQ(refused.step, "chdir to the home directory");
    EXPECT_TRUE(refused.error == ENOENT || refused.error == ENOTDIR) << refused.error;
  }
}

TEST_F(WshdJobTest, hasNoDescriptorBesideStandardOnes) {
  // ls itself opens 3.
  EXPECT_EQ(output({.script = "exec ls /proc/self/fd"}), "0\n1\n2\n3\n");
  EXPECT_EQ(output(asRoot({.script = "exec ls /proc/self/fd"})), "0\n1\n2\n3\n");
}

TEST_F(WshdJobTest, hasTheIdsAndGroupsAskedFor) {
  std::string text = output({.script = "cat /proc/self/status", .groups = {20, 30000}});
  EXPECT_EQ(line(text, "Uid:"), "12345\t12345\t12345\t12345");
  EXPECT_EQ(line(text, "Gid:"), "12345\t12345\t12345\t12345");
  EXPECT_EQ(line(text, "Groups:"), "20 30000 ");
}

TEST_F(WshdJobTest, hasNoCapabilityWhenUnprivileged) {
  for (uint32_t uid : {0u, TEST_USER}) {
    std::string text = output({.script = "cat /proc/self/status", .uid = uid});
    for (auto set : {"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"}) {
      EXPECT_EQ(line(text, set), "0000000000000000") << set;
    }
    EXPECT_EQ(line(text, "NoNewPrivs:"), "1");
  }
}

TEST_F(WshdJobTest, hasTheBoundingSetWhenPrivileged) {
  std::string text = output(asRoot({.script = "cat /proc/self/status"}));
  EXPECT_NE(line(text, "CapBnd:"), "0000000000000000");
  EXPECT_EQ(line(text, "CapPrm:"), line(text, "CapBnd:"));
  EXPECT_EQ(line(text, "CapEff:"), line(text, "CapBnd:"));
  EXPECT_EQ(line(text, "CapInh:"), "0000000000000000");
  EXPECT_EQ(line(text, "NoNewPrivs:"), "1");
}

TEST_F(WshdJobTest, leadsItsOwnSessionWithoutBlockedOrIgnoredSignals) {
  std::string text = output({.script = "cut -d' ' -f1,5,6,7 /proc/$$/stat"});
  int pid, group, session, terminal;
  ASSERT_EQ(sscanf(text.c_str(), "%d %d %d %d", &pid, &group, &session, &terminal), 4);
  EXPECT_EQ(group, pid);
  EXPECT_EQ(session, pid);
  EXPECT_EQ(terminal, 0);
  std::string status = output({.script = "exec cat /proc/self/status"});
  EXPECT_EQ(line(status, "SigBlk:"), "0000000000000000");
  EXPECT_EQ(line(status, "SigIgn:"), "0000000000000000");
}

TEST_F(WshdJobTest, setsSoftAndHardLimits) {
  EXPECT_EQ(output({.script = "ulimit -Sn; ulimit -Hn; ulimit -Hc",
                    .limits = {{RLIMIT_NOFILE, 100, false}, {RLIMIT_CORE, 0, true}}}),
            "100\n100\n0\n");
}

TEST_F(WshdJobTest, clampsADefaultButNotAWishToTheHardLimit) {
  rlimit own;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &own), 0);
  EXPECT_EQ(output({.script = "ulimit -Hn", .limits = {{RLIMIT_NOFILE, RLIM_INFINITY, true}}}),
            std::to_string(own.rlim_max) + "\n");
  Message refused = wshd->frontend.spawn(
      {.script = "true", .limits = {{RLIMIT_NOFILE, own.rlim_max + 1, false}}});
  EXPECT_EQ(refused.step, "setrlimit nofile");
  EXPECT_EQ(refused.error, EPERM);
}

TEST_F(WshdJobTest, keepsTheLimitOfOpenFilesThatWshdRaisedForItself) {
  rlimit own;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &own), 0);
  EXPECT_EQ(output({.script = "ulimit -Sn"}), std::to_string(own.rlim_cur) + "\n");
}

TEST_F(WshdJobTest, endsWithItsShellThoughAChildHoldsThePipe) {
  Message started = wshd->frontend.spawn({.script = "sleep 1000 & echo started"});
  ASSERT_EQ(started.which, schema::WshdMessage::SPAWNED);
  JobEnd end = wshd->frontend.awaitEnd(1);
  EXPECT_EQ(end.which, schema::Job::EXIT_CODE);
  EXPECT_EQ(end.value, 0);
}

TEST_F(WshdJobTest, answersBeforeTheEndThoughTheReplyMayWait) {
  uint32_t jobId = 0;
  for (const char* script : {"true", "sleep 1000"}) {
    ++jobId;
    JobSpec spec{.script = script, .jobId = jobId, .replyMayWait = true};
    Message started = wshd->frontend.spawn(spec);
    ASSERT_EQ(started.which, schema::WshdMessage::SPAWNED) << script;
    wshd->frontend.signalJob(jobId, SIGKILL);
    wshd->frontend.awaitEnd(jobId);
  }
}

TEST_F(WshdJobTest, leavesNoZombieOfOrphans) {
  output({.script = "for i in 1 2 3 4 5 6 7 8; do (setsid sh -c 'exit 3' &); done; sleep 0.2"});
  EXPECT_EQ(output({.script = "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null; exit 0"}), "");
}

TEST_F(WshdJobTest, cannotLookIntoWshd) {
  // Ids, capabilities and the user namespace would all permit it: what forbids it is that wshd is
  // not dumpable (ptrace(2), access mode checking).
  for (JobSpec spec : {JobSpec{}, asRoot({})}) {
    for (auto file : {"environ", "fd/3", "exe", "cwd", "maps"}) {
      spec.script = std::string("{ readlink /proc/1/FILE || cat /proc/1/FILE; } 2>/dev/null");
      for (size_t at; (at = spec.script.find("FILE")) != std::string::npos;) {
        spec.script.replace(at, 4, file);
      }
      Ended ended = wshd->run(spec);
      EXPECT_NE(ended.exitCode, 0) << file;
      EXPECT_EQ(ended.output, "") << file;
    }
  }
}

TEST_F(WshdJobTest, fallsBackToShWhereThereIsNoBash) {
  if (!canChangeRoot()) GTEST_SKIP() << "needs a static wshd and /bin/busybox";
  Wshd bare(Root::BUSYBOX);
  Ended ended = bare.run({.script = "echo $0; test -e /bin/bash || echo no bash"});
  EXPECT_EQ(ended.output, "sh\nno bash\n");
  EXPECT_EQ(ended.exitCode, 0);
}

TEST_F(WshdJobTest, saysThatThereIsNoShell) {
  if (!canChangeRoot()) GTEST_SKIP() << "needs a static wshd";
  Wshd bare(Root::EMPTY);
  Message refused = bare.frontend.spawn({.script = "true"});
  EXPECT_EQ(refused.step, "execve /bin/bash and /bin/sh");
  EXPECT_EQ(refused.error, ENOENT);
  EXPECT_EQ(bare.frontend.list().jobs.size(), 0u);
}

}  // namespace
}  // namespace warden::test
