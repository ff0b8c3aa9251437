// What an unprivileged user of warden.sock gets of the host's files by containers: nothing that it
// has not got anyhow. Everything here belongs to the test; a canary stands for what only root
// reads.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "tests/support/host-files.h"
#include "tests/support/server-test.h"
#include "tests/support/test-image.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;
using BindMount = CreateRequest::BindMount;

constexpr uid_t ALICE = 60001;
constexpr uid_t BOB = 60002;
constexpr char CANARY[] = "what only root may read\n";

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class HostFilesTest : public ServerTest {
 protected:
  void SetUp() override {
    host = testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-files";
    makeOwned(host, 0);
    // What is root's; what is root's and nobody may enter; what is Alice's.
    makeOwned(host + "/roots", 0);
    writeOwned(host + "/roots/shadow", CANARY, 0, 0600);
    writeOwned(host + "/roots/open", "for everybody\n", 0, 0644);
    makeOwned(host + "/roots/drop", 0, 01777);
    makeOwned(host + "/closed", 0, 0700);
    writeOwned(host + "/closed/shadow", CANARY, 0, 0644);
    makeOwned(host + "/alice", ALICE, 0700);
    writeOwned(host + "/alice/file", "hers\n", ALICE, 0600);
    before = describeTree(host + "/roots") + describeTree(host + "/closed");
  }

  void TearDown() override {
    ServerTest::TearDown();
    EXPECT_EQ(describeTree(host + "/roots") + describeTree(host + "/closed"), before);
    fs::remove_all(host);
  }

  TestClient connectAs(uid_t user, std::vector<gid_t> groups = {}) {
    return test::connectAs(server(), user, groups);
  }

  // By no user of the container, and by no means that a shell has.
  void expectUnreadable(TestClient& client, const std::string& handle, const std::string& path) {
    for (bool privileged : {false, true}) {
      auto read = client.run(handle,
                             "cat " + path + "; chmod 666 " + path + "; chown 0:0 " + path +
                                 "; cat " + path + "; cp " + path + " /tmp/x; cat /tmp/x",
                             privileged);
      EXPECT_FALSE(contains(read.stdout(), CANARY)) << path << " as root: " << privileged;
    }
  }

  // Nothing appears there, and nothing changes.
  void expectUnwritable(TestClient& client, const std::string& handle,
                        const std::string& directory) {
    for (bool privileged : {false, true}) {
      for (const char* attempt :
           {"touch new", "mkdir new", "ln -s /etc/passwd new", "echo x >> open", "rm -f open",
            "mv open other", "chmod 777 .", "chown 0 .", "echo x > drop/new", "chmod 4777 open"}) {
        auto result = client.run(handle, "cd " + directory + " && " + attempt, privileged);
        EXPECT_NE(result.exit_status(), 0u) << attempt << " as root: " << privileged;
      }
    }
  }

  size_t failuresOnRecord(const std::string& cause) {
    size_t count = 0;
    for (const auto& line : splitLines(server().logs())) {
      if (contains(line, "\"privhelper\"") && contains(line, cause)) ++count;
    }
    return count;
  }

  std::string host;
  std::string before;
};

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

// -- images

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

// -- file systems that do not answer

class HangingFileSystem {
  // FUSE, and nobody serves it: whoever looks for a name in it waits.
 public:
  explicit HangingFileSystem(std::string directory) : directory(std::move(directory)) {
    int raw;
    KJ_SYSCALL(raw = open("/dev/fuse", O_RDWR | O_CLOEXEC));
    device = Fd(raw);
    auto options = kj::str("fd=", raw, ",rootmode=40000,user_id=0,group_id=0,allow_other");
    KJ_SYSCALL(mount("test", this->directory.c_str(), "fuse", 0, options.cStr()));
  }
  ~HangingFileSystem() {
    device = nullptr;  // whoever waits gets an error
    umount2(directory.c_str(), MNT_DETACH);
  }
  KJ_DISALLOW_COPY(HangingFileSystem);

 private:
  std::string directory;
  Fd device;
};

TEST_F(HostFilesTest, aFileSystemThatHangsDelaysItsUserOnlyAndNotForEver) {
  if (access("/dev/fuse", R_OK | W_OK) != 0) GTEST_SKIP() << "needs /dev/fuse";
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
  EXPECT_TRUE(waitUntil([&]() { return server().helperPids().size() == 4; }));
}

// -- races

class SwappingThread {
  // Exchanges two names for as long as it lives, as fast as it can (renameat2(2)).
 public:
  SwappingThread(std::string a, std::string b)
      : thread([this, a = std::move(a), b = std::move(b)]() {
          while (!done) {
            renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE);
            ++swaps;
          }
        }) {}
  ~SwappingThread() {
    done = true;
    thread.join();
    EXPECT_GT(swaps, 100u);
  }
  KJ_DISALLOW_COPY(SwappingThread);

 private:
  std::atomic<bool> done{false};
  std::atomic<uint64_t> swaps{0};
  std::thread thread;
};

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
    auto request = bindRequest("a", host + "/alice", "/target/sub");
    request.set_rootfs(host + "/image");
    alice.send(request);
    if (alice.receiveFrame().type == Message::Error) continue;
    EXPECT_FALSE(contains(alice.output("a", "cat /proc/self/mounts"), " /proc/sub"));
    EXPECT_EQ(alice.output("a", "ls /proc/self/fd > /dev/null; echo sane"), "sane\n");
    alice.destroy("a");
  }
}

}  // namespace
}  // namespace warden::test
