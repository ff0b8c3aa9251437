// Copies by users that are not root: nothing is read or written that the user itself could not.

#include "tests/escape/host-files-test.h"

namespace warden::test {
namespace {

constexpr char DENIED[] = "Permission denied";

CopyInRequest copyIn(const std::string& handle, const std::string& from,
                     const std::string& to = "/tmp/in") {
  CopyInRequest request;
  request.set_handle(handle);
  request.set_src_path(from);
  request.set_dst_path(to);
  return request;
}

CopyOutRequest copyOut(const std::string& handle, const std::string& from, const std::string& to,
                       const std::string& owner = "") {
  CopyOutRequest request;
  request.set_handle(handle);
  request.set_src_path(from);
  request.set_dst_path(to);
  if (!owner.empty()) request.set_owner(owner);
  return request;
}

class UserCopiesTest : public HostFilesTest {
 protected:
  void startWithContainer(std::map<std::string, std::string> config = {}) {
    startWith(std::move(config));
    connectAs(ALICE).create("a");
  }

  // Wherever in the container it may have come to.
  void expectNoCanary(TestClient& client) {
    auto found = client.run("a", "find /tmp /home -type f | xargs cat", true);
    EXPECT_FALSE(contains(found.stdout(), CANARY));
  }
};

TEST_F(UserCopiesTest, whatOnlyRootReadsIsNotCopiedIn) {
  startWithContainer();
  auto alice = connectAs(ALICE);
  for (auto name : {"/roots/shadow", "/closed/shadow", "/closed/", "/closed", "/roots/",
                    "/alice/../closed/shadow"}) {
    auto error = alice.expectError(copyIn("a", host + name));
    EXPECT_TRUE(contains(error, DENIED)) << name << ": " << error;
  }
  for (auto path : {"/proc/1/environ", "/proc/1/root/etc/shadow"})
    EXPECT_FALSE(alice.expectError(copyIn("a", path)).empty()) << path;
  expectNoCanary(alice);
  EXPECT_GE(failuresOnRecord(DENIED), 6u);
}

// Of the machine itself, as somebody would try first.
TEST_F(UserCopiesTest, theHostsSecretsAreNotReadAndItsTimetableNotWritten) {
  startWithContainer();
  auto alice = connectAs(ALICE);
  EXPECT_TRUE(contains(alice.expectError(copyIn("a", "/etc/shadow")), DENIED));
  EXPECT_NE(alice.run("a", "ls /tmp/in", true).exit_status(), 0u);
  std::string target = "/etc/cron.d/" + std::string(DIRECTORY_PREFIX) + std::to_string(getpid());
  if (!fs::is_directory("/etc/cron.d")) GTEST_SKIP() << "needs /etc/cron.d";
  KJ_DEFER(unlink(target.c_str()));
  alice.output("a", "echo '# hostile' > /tmp/file");
  EXPECT_TRUE(contains(alice.expectError(copyOut("a", "/tmp/file", target)), DENIED));
  EXPECT_FALSE(fs::exists(target));
}

TEST_F(UserCopiesTest, inTheContainerTheyAreVcapsAndGoNowhereElse) {
  startWithContainer();
  auto alice = connectAs(ALICE);
  alice.output("a",
               "echo secret > /root/secret; chmod 700 /root; mkdir /tmp/roots; cd /tmp;"
               "ln -s /root to-root; ln -s /proc/1/root to-init; ln -s /proc/1/cwd to-cwd",
               true);
  for (const char* target : {"/root/new", "/root/", "/etc/", "/etc/passwd", "/tmp/roots/new",
                             "/tmp/to-root/new", "/tmp/to-init/new", "/tmp/to-cwd/new",
                             "/proc/sys/kernel/hostname", "/sys/new", "/../root/new"}) {
    auto error = alice.expectError(copyIn("a", host + "/alice/file", target));
    EXPECT_TRUE(contains(error, "could not copy: in the container:")) << target << ": " << error;
  }
  for (const char* source : {"/root/secret", "/root/", "/root", "/tmp/to-root/secret",
                             "/tmp/to-init/etc/hosts", "/proc/1/environ", "/proc/1/root/"}) {
    auto error = alice.expectError(copyOut("a", source, host + "/alice/out"));
    EXPECT_TRUE(contains(error, "could not copy: in the container:")) << source << ": " << error;
    // Of a directory, the empty beginning may be there.
    EXPECT_FALSE(fs::is_regular_file(host + "/alice/out")) << source;
    EXPECT_FALSE(fs::exists(host + "/alice/out/secret")) << source;
    fs::remove_all(host + "/alice/out");
  }
  EXPECT_EQ(alice.output("a", "ls -A /root /tmp/roots", true), "/root:\nsecret\n\n/tmp/roots:\n");
}

TEST_F(UserCopiesTest, linksAreCopiedAsLinks) {
  startWithContainer();
  fs::create_symlink(host + "/closed/shadow", host + "/alice/link");
  fs::create_directory_symlink(host + "/closed", host + "/alice/dir");
  auto alice = connectAs(ALICE);
  alice.call(copyIn("a", host + "/alice/", "/tmp/tree"));
  EXPECT_EQ(alice.output("a", "readlink /tmp/tree/link"), host + "/closed/shadow\n");
  alice.call(copyIn("a", host + "/alice/link", "/tmp/one"));
  EXPECT_TRUE(contains(alice.expectError(copyIn("a", host + "/alice/dir/shadow")), DENIED));
  EXPECT_TRUE(contains(alice.expectError(copyIn("a", host + "/alice/dir/")), DENIED));
  expectNoCanary(alice);
}

TEST_F(UserCopiesTest, nothingIsCopiedOutToWhereTheUserMayNotWrite) {
  startWithContainer();
  auto alice = connectAs(ALICE);
  alice.output("a", "echo hostile > /tmp/file; mkdir /tmp/dir; echo hostile > /tmp/dir/open");
  for (auto name : {"/roots/new", "/roots/", "/roots/open", "/roots/shadow", "/closed/new",
                    "/closed/", "/roots/missing/new"}) {
    EXPECT_FALSE(alice.expectError(copyOut("a", "/tmp/file", host + name)).empty()) << name;
    EXPECT_FALSE(alice.expectError(copyOut("a", "/tmp/dir/", host + name)).empty()) << name;
  }
  // The fixture compares what is root's with what it was.
  EXPECT_GE(failuresOnRecord(DENIED), 4u);
}

TEST_F(UserCopiesTest, whatIsCopiedOutIsTheUsersAndNobodyElses) {
  startWithContainer();
  auto alice = connectAs(ALICE);
  alice.output("a", "mkdir /tmp/dir; cp /bin/busybox /tmp/dir/su; chmod 6755 /tmp/dir/su", true);
  alice.call(copyOut("a", "/tmp/dir", host + "/alice/"));
  EXPECT_EQ(ownerOf(host + "/alice/dir").substr(0, 12), "60001:60001 ");
  EXPECT_EQ(ownerOf(host + "/alice/dir/su").substr(0, 12), "60001:60001 ");
  for (const char* owner : {"root:root", "0:0", "60002:60002", "60001:0", "60002:60001"}) {
    auto error = alice.expectError(copyOut("a", "/tmp/dir", host + "/alice/", owner));
    EXPECT_TRUE(contains(error, "give the copy to")) << owner << error;
  }
  alice.call(copyOut("a", "/tmp/dir", host + "/alice/", "60001:60001"));
}

TEST_F(UserCopiesTest, linksOfTheContainerAreNotFollowedOnTheHost) {
  startWithContainer();
  auto alice = connectAs(ALICE);
  // A tree whose directory is, at the target, a link to what is not hers; and one that brings a
  // link and then writes behind it.
  fs::create_directory_symlink(host + "/roots/drop", host + "/alice/dir");
  alice.output("a", "mkdir -p /tmp/t/dir; echo hostile > /tmp/t/dir/new; ln -s " + host +
                        "/roots/drop /tmp/t/link");
  alice.send(copyOut("a", "/tmp/t/", host + "/alice/"));
  alice.receiveFrame();
  EXPECT_TRUE(fs::is_empty(host + "/roots/drop"));
  alice.output("a", "rm /tmp/t/link; mkdir /tmp/t/link; echo hostile > /tmp/t/link/new");
  alice.send(copyOut("a", "/tmp/t/", host + "/alice/"));
  alice.receiveFrame();
  EXPECT_TRUE(fs::is_empty(host + "/roots/drop"));
}

TEST_F(UserCopiesTest, aWorkerOfACopyIsTheUserAndSeesOneDirectoryOnly) {
  startWithContainer();
  writeOwned(host + "/alice/large", std::string(64 << 20, 'x'), ALICE);
  auto alice = connectAs(ALICE);
  // Nobody reads the stream while the container's first process stands still.
  pid_t wshd = server().wshdPid(idOf("a"));
  kill(wshd, SIGSTOP);
  KJ_DEFER(kill(wshd, SIGCONT));
  alice.send(copyIn("a", host + "/alice/large"));
  std::optional<pid_t> worker;
  ASSERT_TRUE(waitUntil([&]() {
    for (pid_t pid : server().helperPids()) {
      std::error_code error;
      auto root = fs::read_symlink("/proc/" + std::to_string(pid) + "/root", error);
      if (root != host + "/alice") continue;
      worker = pid;
      for (const char* set : {"CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"})
        EXPECT_EQ(statusField(pid, set), "0000000000000000") << set;
      EXPECT_EQ(statusField(pid, "Uid"), "60001\t60001\t60001\t60001");
      EXPECT_EQ(statusField(pid, "Gid"), "60001\t60001\t60001\t60001");
      EXPECT_EQ(statusField(pid, "Groups"), "");
      EXPECT_EQ(statusField(pid, "NoNewPrivs"), "1");
      EXPECT_EQ(statusField(pid, "Seccomp_filters"), "2");
      return true;
    }
    return false;
  }));
  kill(wshd, SIGCONT);
  alice.receiveFrame();
  EXPECT_TRUE(waitUntil([&]() { return countWorkers(server()) == 0; }));
}

TEST_F(UserCopiesTest, aClientThatLeavesEndsItsWorker) {
  startWithContainer();
  writeOwned(host + "/alice/large", "", ALICE);
  // Sparse, and so large that it does not end by itself in time.
  fs::resize_file(host + "/alice/large", uint64_t(1) << 34);
  {
    auto alice = connectAs(ALICE);
    alice.send(copyIn("a", host + "/alice/large"));
    waitUntil([&]() { return countWorkers(server()) == 1; }, std::chrono::seconds(2));
  }
  EXPECT_TRUE(waitUntil([&]() { return countWorkers(server()) == 0; }));
}

TEST_F(UserCopiesTest, onlyGrantedPrefixesAreCopiedAndEachInItsDirection) {
  for (auto name : {"/alice/in", "/alice/out", "/alice/inner"})
    makeOwned(host + name, ALICE);
  writeOwned(host + "/alice/in/file", "granted\n", ALICE);
  fs::create_symlink("../file", host + "/alice/in/link");
  fs::create_directory_symlink("..", host + "/alice/in/up");
  startWithContainer(
      {{"access.rules", "[{user: 60001, copies: [{path: " + host +
                            "/alice/in, mode: in}, {path: " + host + "/alice/out, mode: out}]}]"}});
  auto alice = connectAs(ALICE);
  alice.call(copyIn("a", host + "/alice/in/file"));
  alice.call(copyOut("a", "/tmp/in", host + "/alice/out/file"));
  EXPECT_EQ(readFile(host + "/alice/out/file"), "granted\n");
  auto expectNotGranted = [&](const auto& request) {
    auto error = alice.expectError(request);
    EXPECT_TRUE(contains(error, "access.rules[0].copies")) << error;
  };
  for (auto name : {"/alice/file", "/alice/inner/", "/alice/out/file", "/alice"})
    expectNotGranted(copyIn("a", host + name));
  for (auto name : {"/alice/in/new", "/alice/new", "/alice/outer"})
    expectNotGranted(copyOut("a", "/tmp/in", host + name));
  for (auto name : {"/alice/in/../file", "/alice/in/up/file", "/alice/in/up/"})
    EXPECT_FALSE(alice.expectError(copyIn("a", host + name)).empty()) << name;
  EXPECT_FALSE(alice.expectError(copyOut("a", "/tmp/in", host + "/alice/out/../new")).empty());
  EXPECT_FALSE(fs::exists(host + "/alice/new"));
}

TEST_F(UserCopiesTest, aSourceThatIsSwappedForALinkDuringTheCopyGainsNothing) {
  startWithContainer();
  makeOwned(host + "/alice/a", ALICE);
  writeOwned(host + "/alice/a/shadow", "hers\n", ALICE);
  fs::create_directory_symlink(host + "/closed", host + "/alice/b");
  auto alice = connectAs(ALICE);
  SwappingThread swapping(host + "/alice/a", host + "/alice/b");
  for (int i = 0; i < 60; ++i) {
    alice.send(copyIn("a", host + "/alice/a/", "/tmp/copy" + std::to_string(i)));
    alice.receiveFrame();
    alice.send(copyIn("a", host + "/alice/", "/tmp/all"));
    alice.receiveFrame();
  }
  expectNoCanary(alice);
}

TEST_F(UserCopiesTest, rootsCopyFollowsNoLinkThatAUserSwapsInDuringIt) {
  // Root copies out to where Alice can write: she swaps its directory for a link to root's.
  startWithContainer();
  makeOwned(host + "/alice/a", ALICE);
  fs::create_directory_symlink(host + "/roots", host + "/alice/b");
  makeOwned(host + "/alice/a/sub", ALICE);
  connectAs(ALICE).output("a",
                          "mkdir -p /tmp/t/a/drop; echo hostile > /tmp/t/a/new; "
                          "echo hostile > /tmp/t/a/drop/new");
  auto root = connect();
  SwappingThread swapping(host + "/alice/a", host + "/alice/b");
  for (int i = 0; i < 60; ++i) {
    // The directory that is named is not Alice's to swap; what is in it is.
    root.send(copyOut("a", "/tmp/t/", host + "/alice/"));
    root.receiveFrame();
  }
  EXPECT_FALSE(fs::exists(host + "/roots/new"));
  EXPECT_TRUE(fs::is_empty(host + "/roots/drop"));
}

}  // namespace
}  // namespace warden::test
