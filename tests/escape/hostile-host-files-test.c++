// Bind mounts by users that are not root.

#include "tests/escape/fuse.h"

namespace warden::test {
namespace {

// -- bind mounts

TEST_F(HostFilesTest, aBindOfWhatIsRootsShowsWhatIsForEverybodyAndTakesNoWrite) {
  start();
  auto alice = connectAs(ALICE);
  for (auto mode : {BindMount::RO, BindMount::RW}) {
    std::string handle = mode == BindMount::RO ? "ro" : "rw";
    alice.call(bindRequest(handle, host + "/roots", "/data", mode));
    EXPECT_EQ(alice.output(handle, "cat /data/open"), "for everybody\n");
    expectUnreadable(alice, handle, "/data/shadow");
    expectUnwritable(alice, handle, "/data");
    EXPECT_TRUE(fs::is_empty(host + "/roots/drop"));
  }
}

TEST_F(HostFilesTest, aBindOfAFileThatOnlyRootReadsShowsNothing) {
  start();
  auto alice = connectAs(ALICE);
  alice.call(bindRequest("a", host + "/roots/shadow", "/data", BindMount::RW));
  expectUnreadable(alice, "a", "/data");
  EXPECT_NE(alice.run("a", "echo x > /data", true).exit_status(), 0u);
}

TEST_F(HostFilesTest, aBindBehindAClosedDirectoryFailsAsItWouldForTheUser) {
  start();
  auto alice = connectAs(ALICE);
  for (auto& source : {host + "/closed/shadow", host + "/closed/../closed/shadow"}) {
    EXPECT_TRUE(contains(alice.expectError(bindRequest("a", source, "/data")),
                         "Permission denied; it is opened with the rights of your own user"));
  }
  EXPECT_EQ(failuresOnRecord("open source of bind mount: Permission denied"), 2u);
  // The directory itself can be named, but not entered.
  alice.call(bindRequest("a", host + "/closed", "/data", BindMount::RW));
  for (bool privileged : {false, true})
    EXPECT_NE(alice.run("a", "ls /data", privileged).exit_status(), 0u);
  expectUnreadable(alice, "a", "/data/shadow");
}

TEST_F(HostFilesTest, aBindOfTheUsersOwnFilesIsVcapsAndGivesTheHostNothingOfRoots) {
  start();
  auto alice = connectAs(ALICE);
  alice.call(bindRequest("a", host + "/alice", "/data", BindMount::RW));
  EXPECT_EQ(alice.output("a", "cat /data/file; echo new > /data/new; mkdir /data/dir"), "hers\n");
  EXPECT_EQ(ownerOf(host + "/alice/new"), "60001:60001 644");
  EXPECT_EQ(ownerOf(host + "/alice/dir"), "60001:60001 755");
  // Root of the container has no id there: it makes no file, and gives none away.
  alice.run("a",
            "cd /data; cp /bin/busybox mine; chmod 4755 mine; touch x; mkdir y; chown 0:0 new; "
            "chown 0:0 .; chown 12345 new; cp /bin/busybox dir/z; chmod 6755 dir/z new",
            true);
  for (auto& entry : fs::recursive_directory_iterator(host + "/alice"))
    EXPECT_EQ(ownerOf(entry.path()).substr(0, 12), "60001:60001 ") << entry.path();
}

TEST_F(HostFilesTest, anotherUsersFilesAreNobodysInTheContainer) {
  start();
  auto bob = connectAs(BOB);
  EXPECT_TRUE(contains(bob.expectError(bindRequest("b", host + "/alice/file", "/data")),
                       "Permission denied"));
  bob.call(bindRequest("b", host + "/alice", "/data", BindMount::RW));
  for (bool privileged : {false, true}) {
    EXPECT_NE(bob.run("b", "cat /data/file", privileged).exit_status(), 0u);
    EXPECT_NE(bob.run("b", "touch /data/x", privileged).exit_status(), 0u);
  }
  // Nor those of a user whose number is that of an id in the container.
  makeOwned(host + "/low", 1000, 0700);
  bob.call(bindRequest("c", host + "/low", "/data", BindMount::RW));
  EXPECT_NE(
      bob.run("c", "touch /data/x || su -s /bin/sh nobody -c 'touch /data/x'", true).exit_status(),
      0u);
}

TEST_F(HostFilesTest, sourcesAreOpenedWithTheGroupsOfTheUserAndNoOthers) {
  constexpr gid_t STAFF = 60009;
  makeOwned(host + "/staff", 0, 0750);
  KJ_SYSCALL(chown((host + "/staff").c_str(), 0, STAFF));
  makeOwned(host + "/staff/in", 0);
  makeOwned(host + "/wheel", 0, 0750);
  makeOwned(host + "/wheel/in", 0);
  start();
  auto alice = connectAs(ALICE, {STAFF}), bob = connectAs(BOB);
  alice.call(bindRequest("a", host + "/staff/in", "/data"));
  EXPECT_TRUE(contains(bob.expectError(bindRequest("b", host + "/staff/in", "/data")),
                       "Permission denied"));
  EXPECT_TRUE(contains(alice.expectError(bindRequest("c", host + "/wheel/in", "/data")),
                       "Permission denied"));
}

TEST_F(HostFilesTest, membershipInAGroupGivesTheContainerNothingMore) {
  constexpr gid_t STAFF = 60009;
  start();
  writeOwned(host + "/alice/of-staff", CANARY, 0, 0640);
  KJ_SYSCALL(chown((host + "/alice/of-staff").c_str(), 0, STAFF));
  auto alice = connectAs(ALICE, {STAFF});
  alice.call(bindRequest("a", host + "/alice", "/data", BindMount::RW));
  expectUnreadable(alice, "a", "/data/of-staff");
}

TEST_F(HostFilesTest, theRootDirectoryCannotBeBoundAndAsAnImageShowsNothing) {
  start();
  auto alice = connectAs(ALICE);
  for (auto mode : {BindMount::RO, BindMount::RW}) {
    EXPECT_TRUE(
        contains(alice.expectError(bindRequest("a", "/", "/data", mode)), "cannot be id-mapped"));
  }
  for (auto& rootfs : {"/", "/../", "/proc/../"}) {
    auto error = alice.expectError(rootfsRequest("a", rootfs));
    EXPECT_TRUE(contains(error, "has others mounted in it")) << error;
  }
  EXPECT_TRUE(alice.list().empty());
}

TEST_F(HostFilesTest, linksLeadNowhereThatTheUserCouldNotGo) {
  start();
  fs::create_symlink(host + "/closed/shadow", host + "/alice/link");
  fs::create_symlink("/proc/self/root" + host + "/closed/shadow", host + "/alice/magic");
  fs::create_symlink("/proc/1/root", host + "/alice/init");
  auto alice = connectAs(ALICE);
  for (auto name : {"/alice/link", "/alice/magic", "/alice/init"}) {
    EXPECT_FALSE(alice.expectError(bindRequest("a", host + name, "/data")).empty()) << name;
    EXPECT_FALSE(alice.expectError(rootfsRequest("a", host + name)).empty()) << name;
  }
  // In the container, a link of the source leads into the container.
  alice.call(bindRequest("a", host + "/alice", "/data"));
  expectUnreadable(alice, "a", "/data/link");
  expectUnreadable(alice, "a", "/data/magic");
}

// -- file systems that do not answer

TEST_F(HostFilesTest, aFileSystemThatHangsDelaysItsUserOnlyAndNotForEver) {
  if (!hasFuse()) GTEST_SKIP() << "needs /dev/fuse";
  makeOwned(host + "/hanging", 0);
  HangingFileSystem hanging(host + "/hanging");
  start();
  std::vector<TestClient> waiting;
  for (int i = 0; i < 4; ++i) {
    waiting.push_back(connectAs(ALICE));
    auto handle = std::to_string(i);
    if (i % 2 == 0) {
      waiting.back().send(bindRequest(handle, host + "/hanging/x", "/data"));
    } else {
      waiting.back().send(rootfsRequest(handle, host + "/hanging/x"));
    }
  }
  auto bob = connectAs(BOB);
  auto begin = std::chrono::steady_clock::now();
  bob.call(bindRequest("b", host + "/roots", "/data"));
  EXPECT_EQ(bob.output("b", "cat /data/open"), "for everybody\n");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, patient(std::chrono::seconds(2)));
  // Also Alice, for what takes no file of the host.
  connectAs(ALICE).create("a");

  for (auto& client : waiting) {
    auto error = client.receiveError();
    EXPECT_TRUE(contains(error, "its file system does not answer")) << error;
  }
  EXPECT_TRUE(waitUntil([&]() { return countWorkers(server()) == 0; }));
}

TEST_F(HostFilesTest, aFileSystemBeneathAnImageWhoseFilesCannotBeClosedHangsNobodyElse) {
  if (!hasFuse()) GTEST_SKIP() << "needs /dev/fuse";
  copyTree(busyboxImage(), host + "/image");
  giveTree(host + "/image", ALICE);
  UnclosableFileSystem unclosable(host + "/image/etc", "root:x:0:0::/root:/bin/sh\n");
  start();
  auto alice = connectAs(ALICE), bob = connectAs(BOB);
  auto begin = std::chrono::steady_clock::now();
  auto expectSoon = [&](const char* what) {
    EXPECT_LT(std::chrono::steady_clock::now() - begin, patient(std::chrono::seconds(5))) << what;
  };
  alice.send(rootfsRequest("a", host + "/image"));
  // Whoever is not to be hung by closing a file has it behind, or is.
  EXPECT_TRUE(waitUntil([&]() { return unclosable.closings() > 0; }));
  bob.create("b");
  expectSoon("another user's create");
  auto error = alice.receiveError();
  EXPECT_TRUE(contains(error, "has others mounted in it")) << error;
  expectSoon("the answer");
  alice.create("a");
  expectSoon("her next create");
}

TEST_F(HostFilesTest, anImageWhoseAccountsAreTooManyIsRefusedWithWhatToDo) {
  copyTree(busyboxImage(), host + "/image");
  KJ_SYSCALL(truncate((host + "/image/etc/passwd").c_str(), (1 << 20) + 1));
  start();
  auto error = connectAs(ALICE).expectError(rootfsRequest("a", host + "/image"));
  EXPECT_TRUE(contains(error,
                       "read the image's etc/passwd: File too large; make it a file of at "
                       "most 1 MiB"))
      << error;
}

// -- races

TEST_F(HostFilesTest, aSourceThatIsSwappedForALinkDuringCreateGainsNothing) {
  start();
  makeOwned(host + "/alice/a", ALICE);
  writeOwned(host + "/alice/a/shadow", "hers\n", ALICE);
  fs::create_directory_symlink(host + "/closed", host + "/alice/b");
  auto alice = connectAs(ALICE);
  SwappingThread swapping(host + "/alice/a", host + "/alice/b");
  for (int i = 0; i < 100; ++i) {
    alice.send(bindRequest("a", host + "/alice/a", "/data", BindMount::RW));
    if (alice.receiveFrame().type == Message::Error) continue;
    expectUnreadable(alice, "a", "/data/shadow");
    alice.destroy("a");
  }
}

TEST_F(HostFilesTest, aTargetThatIsSwappedForALinkDuringCreateGainsNothing) {
  // The image is Alice's, and so is what changes in it while the container's first process looks.
  copyTree(busyboxImage(), host + "/image");
  giveTree(host + "/image", ALICE);
  makeOwned(host + "/image/target", ALICE);
  fs::create_directory_symlink("/proc", host + "/image/link");
  start();
  auto alice = connectAs(ALICE);
  SwappingThread swapping(host + "/image/target", host + "/image/link");
  for (int i = 0; i < 50; ++i) {
    auto request = bindRequest("a", host + "/alice", "/target/tty");
    request.set_rootfs(host + "/image");
    alice.send(request);
    if (alice.receiveFrame().type == Message::Error) continue;
    EXPECT_FALSE(contains(alice.output("a", "cat /proc/self/mounts"), " /proc/tty "));
    EXPECT_EQ(alice.output("a", "ls /proc/self/fd > /dev/null; echo sane"), "sane\n");
    alice.destroy("a");
  }
}

}  // namespace
}  // namespace warden::test
