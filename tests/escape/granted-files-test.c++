// Images of users that are not root, and what the configuration grants to them.

#include "tests/escape/host-files-test.h"

namespace warden::test {
namespace {

TEST_F(HostFilesTest, anImageThatIsRootsShowsWhatIsForEverybody) {
  copyTree(busyboxImage(), host + "/image");
  writeOwned(host + "/image/shadow", CANARY, 0, 0600);
  makeOwned(host + "/image/root", 0, 0700);
  writeOwned(host + "/image/root/shadow", CANARY, 0, 0644);
  std::string image = describeTree(host + "/image");
  start();
  auto alice = connectAs(ALICE);
  alice.call(rootfsRequest("a", host + "/image"));
  EXPECT_EQ(alice.output("a", "echo works"), "works\n");
  expectUnreadable(alice, "a", "/shadow");
  expectUnreadable(alice, "a", "/root/shadow");
  EXPECT_EQ(describeTree(host + "/image"), image);
}

TEST_F(HostFilesTest, anImageOfTheUsersOwnBelongsToRootOfTheContainer) {
  copyTree(busyboxImage(), host + "/image");
  giveTree(host + "/image", ALICE);
  writeOwned(host + "/image/hers", "hers\n", ALICE, 0600);
  writeOwned(host + "/image/shadow", CANARY, 0, 0600);
  std::string image = describeTree(host + "/image");
  start();
  auto alice = connectAs(ALICE);
  alice.call(rootfsRequest("a", host + "/image"));
  EXPECT_EQ(alice.output("a", "cat /hers; id -u; stat -c %u /bin; echo changed > /hers", true),
            "hers\n0\n0\n");
  EXPECT_EQ(alice.output("a", "id -un; pwd"), "vcap\n/home/vcap\n");
  expectUnreadable(alice, "a", "/shadow");
  EXPECT_EQ(describeTree(host + "/image"), image);
  // Of another user, it is what others may read.
  auto bob = connectAs(BOB);
  bob.call(rootfsRequest("b", host + "/image"));
  EXPECT_NE(bob.run("b", "cat /hers", true).exit_status(), 0u);
}

TEST_F(HostFilesTest, anImageBehindAClosedDirectoryFailsAsItWouldForTheUser) {
  makeOwned(host + "/closed/image", 0);
  before = describeTree(host + "/roots") + describeTree(host + "/closed");
  start();
  auto alice = connectAs(ALICE);
  EXPECT_TRUE(contains(alice.expectError(rootfsRequest("a", host + "/closed/image")),
                       "Permission denied; it is opened with the rights of your own user"));
  EXPECT_EQ(failuresOnRecord("open image: Permission denied"), 1u);
}

// -- what the configuration grants

class GrantedFilesTest : public HostFilesTest {
 protected:
  void startWithRules(const std::string& rule) {
    startWith({{"access.rules", "[{user: 60001, " + rule + "}]"}});
  }
};

TEST_F(GrantedFilesTest, onlyGrantedPrefixesCanBeBoundByWholeNames) {
  makeOwned(host + "/alice/a", ALICE);
  makeOwned(host + "/alice/ab", ALICE);
  startWithRules("bind_mounts: [{path: " + host + "/alice/a, mode: ro}]");
  auto alice = connectAs(ALICE);
  alice.call(bindRequest("a", host + "/alice/a", "/data"));
  alice.call(bindRequest("b", host + "/alice//./a/", "/data"));
  for (auto& source :
       {host + "/alice", host + "/alice/ab", host + "/alice/ab/../a", std::string("/")}) {
    auto error = alice.expectError(bindRequest("c", source, "/data"));
    EXPECT_TRUE(contains(error, "access.rules[0].bind_mounts")) << source << ": " << error;
  }
  EXPECT_TRUE(
      contains(alice.expectError(bindRequest("c", host + "/alice/a", "/data", BindMount::RW)),
               "a writable bind mount of"));
}

TEST_F(GrantedFilesTest, nothingLeadsOutOfAGrantedPrefix) {
  makeOwned(host + "/alice/granted", ALICE);
  makeOwned(host + "/alice/granted/in", ALICE);
  fs::create_symlink("../file", host + "/alice/granted/out");
  fs::create_symlink(host + "/alice", host + "/alice/granted/absolute");
  fs::create_symlink("in", host + "/alice/granted/beneath");
  fs::create_symlink("/proc/self/cwd", host + "/alice/granted/magic");
  startWithRules("bind_mounts: [{path: " + host + "/alice/granted, mode: rw}]");
  auto alice = connectAs(ALICE);
  for (auto name :
       {"/..", "/../file", "/in/../../file", "/out", "/absolute", "/absolute/file", "/magic"}) {
    auto error = alice.expectError(bindRequest("a", host + "/alice/granted" + name, "/data"));
    EXPECT_TRUE(contains(error, "open source of bind mount")) << name << ": " << error;
  }
  alice.call(bindRequest("a", host + "/alice/granted/beneath", "/data"));
  alice.call(bindRequest("b", host + "/alice/granted/in/../in", "/data"));
}

TEST_F(GrantedFilesTest, aPrefixThatIsALinkGrantsNothing) {
  // Whoever can write where the prefix is would lead it elsewhere.
  fs::create_directory_symlink(host + "/roots", host + "/alice/granted");
  startWithRules("bind_mounts: [{path: " + host + "/alice/granted, mode: rw}]");
  auto alice = connectAs(ALICE);
  EXPECT_TRUE(contains(alice.expectError(bindRequest("a", host + "/alice/granted", "/data")),
                       "open the prefix that the configuration grants"));
}

TEST_F(GrantedFilesTest, imagesThatAreNamedAreThoseOfTheConfiguration) {
  makeOwned(host + "/images", 0);
  copyTree(busyboxImage(), host + "/images/one");
  writeOwned(host + "/images/one/secret", "of the image\n", 0, 0600);
  copyTree(host + "/images/one", host + "/images/loose");
  KJ_SYSCALL(chmod((host + "/images/loose").c_str(), 0777));
  copyTree(host + "/images/one", host + "/images/hers");
  KJ_SYSCALL(chown((host + "/images/hers").c_str(), ALICE, ALICE));
  startWithRules("images: [" + host + "/images]");
  auto alice = connectAs(ALICE);
  alice.call(rootfsRequest("a", host + "/images/one"));
  EXPECT_EQ(alice.output("a", "cat /secret", true), "of the image\n");
  EXPECT_NE(alice.run("a", "cat /secret").exit_status(), 0u);
  // What others may change is no image that anybody vouches for.
  for (auto name : {"loose", "hers"}) {
    alice.call(rootfsRequest(name, host + "/images/" + name));
    EXPECT_NE(alice.run(name, "cat /secret", true).exit_status(), 0u) << name;
  }
  for (auto& rootfs : {host + "/roots", std::string("/"), host + "/images/../roots"}) {
    EXPECT_FALSE(alice.expectError(rootfsRequest("b", rootfs)).empty()) << rootfs;
  }
}

TEST_F(GrantedFilesTest, aPathThatIsSwappedForALinkOutOfThePrefixGainsNothing) {
  makeOwned(host + "/alice/granted", ALICE);
  makeOwned(host + "/alice/granted/a", ALICE);
  writeOwned(host + "/alice/granted/a/mark", "granted\n", ALICE);
  makeOwned(host + "/alice/other", ALICE);
  writeOwned(host + "/alice/other/mark", "not granted\n", ALICE);
  fs::create_directory_symlink("../other", host + "/alice/granted/b");
  startWithRules("bind_mounts: [{path: " + host + "/alice/granted, mode: rw}]");
  auto alice = connectAs(ALICE);
  SwappingThread swapping(host + "/alice/granted/a", host + "/alice/granted/b");
  int made = 0;
  for (int i = 0; i < 100; ++i) {
    alice.send(bindRequest("a", host + "/alice/granted/a", "/data", BindMount::RW));
    if (alice.receiveFrame().type == Message::Error) continue;
    EXPECT_EQ(alice.output("a", "cat /data/mark"), "granted\n");
    alice.destroy("a");
    ++made;
  }
  EXPECT_GT(made, 0);
}

}  // namespace
}  // namespace warden::test
