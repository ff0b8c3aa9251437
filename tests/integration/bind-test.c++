// Bind mounts, for root; what other users may is in tests/escape.

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <deque>
#include <filesystem>

#include "tests/support/host-files.h"
#include "tests/support/server-test.h"
#include "tests/support/test-image.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;
using BindMount = CreateRequest::BindMount;

class TemporaryMount {
  // On a directory of a test, for as long as it lives.
 public:
  TemporaryMount(const char* type, std::string source, std::string target, unsigned long flags = 0)
      : target(std::move(target)) {
    KJ_SYSCALL(mount(source.c_str(), this->target.c_str(), type, flags, nullptr));
  }
  ~TemporaryMount() { umount2(target.c_str(), MNT_DETACH); }
  KJ_DISALLOW_COPY(TemporaryMount);

 private:
  std::string target;
};

class BindTest : public ServerTest {
 protected:
  void SetUp() override {
    host = testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-host";
    fs::create_directories(host);
  }

  void TearDown() override {
    ServerTest::TearDown();
    mounts.clear();
    fs::remove_all(host);
  }

  std::string options(TestClient& client, const std::string& handle, const std::string& target) {
    return client.output(handle, "grep ' " + target + " ' /proc/self/mounts | cut -d' ' -f4");
  }

  std::string host;
  std::deque<TemporaryMount> mounts;
  // That were there before the server: it sees them as long as it looks for leaks.
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(BindTest, readOnlyShowsTheFilesAndTakesNoWrite) {
  start();
  writeFile(host + "/file", "hello\n");
  auto client = connect();
  client.call(bindRequest("a", host, "/mnt/data"));
  EXPECT_EQ(client.output("a", "cat /mnt/data/file; stat -c %u /mnt/data/file"), "hello\n0\n");
  for (bool privileged : {false, true}) {
    auto write = client.run("a", "echo x > /mnt/data/file", privileged);
    EXPECT_NE(write.exit_status(), 0u);
    auto make = client.run("a", "echo x > /mnt/data/new", privileged);
    EXPECT_TRUE(contains(make.stderr(), privileged ? "Read-only file system" : ""))
        << make.stderr();
  }
  EXPECT_NE(client.run("a", "mount -o remount,rw /mnt/data", true).exit_status(), 0u);
  EXPECT_EQ(readFile(host + "/file"), "hello\n");
  EXPECT_FALSE(fs::exists(host + "/new"));
  auto flags = options(client, "a", "/mnt/data");
  for (const char* flag : {"ro", "nosuid", "nodev"})
    EXPECT_TRUE(contains(flags, flag)) << flags;
}

TEST_F(BindTest, writableGivesFilesToTheSameIdsOnBothSides) {
  start();
  auto client = connect();
  client.call(bindRequest("a", host, "/data", BindMount::RW));
  client.output("a", "echo root > /data/by-root; mkdir -m 777 /data/open", true);
  client.output("a", "echo vcap > /data/open/by-vcap");
  EXPECT_EQ(readFile(host + "/by-root"), "root\n");
  EXPECT_EQ(ownerOf(host + "/by-root"), "0:0 644");
  uint32_t vcap = std::stoul(client.output("a", "id -u"));
  EXPECT_EQ(ownerOf(host + "/open/by-vcap"),
            std::to_string(vcap) + ":" + std::to_string(vcap) + " 644");
  auto flags = options(client, "a", "/data");
  for (const char* flag : {"rw", "nosuid", "nodev"})
    EXPECT_TRUE(contains(flags, flag)) << flags;
}

TEST_F(BindTest, readOnlyHoldsForWhatIsMountedBeneath) {
  // Not a tmpfs, which can be id-mapped since Linux 6.3 only.
  fs::create_directories(host + "/sub");
  fs::create_directories(host + "/other");
  mounts.emplace_back(nullptr, host + "/other", host + "/sub", MS_BIND);
  writeFile(host + "/sub/file", "beneath\n");
  start();
  auto client = connect();
  client.call(bindRequest("a", host, "/data"));
  EXPECT_EQ(client.output("a", "cat /data/sub/file"), "beneath\n");
  EXPECT_NE(client.run("a", "echo x > /data/sub/file", true).exit_status(), 0u);
  auto flags = options(client, "a", "/data/sub");
  for (const char* flag : {"ro", "nosuid", "nodev"})
    EXPECT_TRUE(contains(flags, flag)) << flags;
}

TEST_F(BindTest, whatTheHostMountsLaterIsSeenByLaterContainersOnly) {
  mounts.emplace_back(nullptr, host, host, MS_BIND);
  KJ_SYSCALL(mount(nullptr, host.c_str(), nullptr, MS_SHARED, nullptr));
  fs::create_directories(host + "/late");
  writeFile(host + "/late/file", "before\n");
  start();
  auto client = connect();
  client.call(bindRequest("early", host, "/data"));
  fs::create_directories(host + "/other");
  TemporaryMount late(nullptr, host + "/other", host + "/late", MS_BIND);
  writeFile(host + "/late/file", "after\n");
  EXPECT_EQ(client.output("early", "cat /data/late/file"), "before\n");
  client.call(bindRequest("later", host, "/data"));
  EXPECT_EQ(client.output("later", "cat /data/late/file"), "after\n");
  EXPECT_NE(client.run("later", "echo x > /data/late/file", true).exit_status(), 0u);
}

TEST_F(BindTest, setUserIdAndDevicesHaveNoEffect) {
  start();
  fs::copy_file("/bin/busybox", host + "/id");
  KJ_SYSCALL(chmod((host + "/id").c_str(), 04755));
  KJ_SYSCALL(mknod((host + "/null").c_str(), S_IFCHR | 0666, makedev(1, 3)));
  auto client = connect();
  client.call(bindRequest("a", host, "/data", BindMount::RW));
  EXPECT_NE(client.output("a", "/data/id -u"), "0\n");
  EXPECT_NE(client.run("a", "cat /data/null").exit_status(), 0u);
}

TEST_F(BindTest, aFileCanBeMountedOverAFileOrWhereThereIsNone) {
  start();
  writeFile(host + "/file", "hello\n");
  auto client = connect();
  auto request = bindRequest("a", host + "/file", "/some/where/file");
  addBind(request, host + "/file", "/etc/hosts");
  client.call(request);
  EXPECT_EQ(client.output("a", "cat /some/where/file /etc/hosts"), "hello\nhello\n");
  for (auto& [source, target] :
       std::map<std::string, std::string>{{host + "/file", "/tmp"}, {host, "/etc/hosts"}}) {
    auto error = client.expectError(bindRequest("b", source, target));
    EXPECT_TRUE(contains(error, target == "/tmp" ? "Is a directory" : "Not a directory")) << error;
  }
}

TEST_F(BindTest, mountsShowInNoTableOfTheHost) {
  start();
  auto client = connect();
  client.call(bindRequest("a", host, "/data"));
  EXPECT_FALSE(contains(readFile("/proc/self/mountinfo"), "/data"));
}

TEST_F(BindTest, mountsAreMadeInTheirOrder) {
  start();
  fs::create_directories(host + "/outer/inner");
  writeFile(host + "/file", "inner\n");
  auto client = connect();
  auto request = bindRequest("a", host + "/outer", "/data");
  addBind(request, host, "/data/inner");
  client.call(request);
  EXPECT_EQ(client.output("a", "cat /data/inner/file"), "inner\n");
}

TEST_F(BindTest, asManyAsTheProtocolSaysAndNoMore) {
  start();
  writeFile(host + "/file", "hello\n");
  auto client = connect();
  auto request = createRequest("a");
  for (int i = 0; i < 64; ++i)
    addBind(request, host, "/data/" + std::to_string(i));
  client.call(request);
  EXPECT_EQ(client.output("a", "cat /data/*/file | wc -l"), "64\n");
  addBind(request, host, "/data/64");
  request.set_handle("b");
  EXPECT_EQ(client.expectError(request), "a container can have 64 bind_mounts, not 65");
}

TEST_F(BindTest, aTargetIsAsDeepAsTheProtocolSaysAndNoDeeper) {
  start();
  auto client = connect();
  std::string target = "/data";
  for (int i = 0; i < 63; ++i)
    target += "/x";
  EXPECT_EQ(client.expectError(bindRequest("a", host, target + "/x")),
            "could not create the container: a dst_path has 65 components, and may have 64; choose "
            "one that is less deep");
  client.call(bindRequest("a", host, target));
  EXPECT_EQ(client.output("a", "grep -c ' " + target + " ' /proc/self/mounts"), "1\n");
}

TEST_F(BindTest, aSourceThatCannotBeIsAnErrorAndNothingIsLeft) {
  start();
  auto client = connect();
  std::string missing = host + "/missing";
  EXPECT_EQ(client.expectError(bindRequest("a", missing, "/data")),
            "Source path for bind mount does not exist: " + missing);
  auto second = bindRequest("a", host, "/data");
  addBind(second, missing + "/below", "/more");
  EXPECT_EQ(client.expectError(second),
            "Source path for bind mount does not exist: " + missing + "/below");
  KJ_SYSCALL(mkfifo((host + "/fifo").c_str(), 0666));
  EXPECT_TRUE(contains(client.expectError(bindRequest("a", host + "/fifo", "/data")),
                       "it is neither a directory nor a regular file"));
  EXPECT_EQ(client.expectError(bindRequest("a", "relative", "/data")),
            "src_path must be an absolute path");
  EXPECT_EQ(client.expectError(bindRequest("a", host, "relative")),
            "dst_path must be an absolute path");
  EXPECT_TRUE(contains(client.expectError(bindRequest("a", std::string("/a\0b", 4), "/data")),
                       "has a NUL byte"));
  EXPECT_TRUE(contains(client.expectError(bindRequest("a", "/" + std::string(4095, 'a'), "/data")),
                       "longer than 4095 bytes"));
  EXPECT_TRUE(client.list().empty());
  // By a link of proc, which is another process's there.
  EXPECT_FALSE(client.expectError(bindRequest("a", "/proc/self/cwd", "/data")).empty());
  client.create("a");
}

TEST_F(BindTest, aFileSystemThatCannotBeMappedIsAnErrorThatSaysSo) {
  start();
  auto client = connect();
  EXPECT_TRUE(contains(client.expectError(bindRequest("a", "/proc/sys", "/data")),
                       "a file system at or below /proc/sys cannot be id-mapped"));
}

TEST_F(BindTest, theContainersOwnSystemIsNotCovered) {
  start();
  auto client = connect();
  for (const char* target : {"/", "//", "/.", "/proc", "/proc/sys", "/proc/1/fd", "/sys", "/dev",
                             "//dev/./null", "/dev/shm"}) {
    EXPECT_TRUE(contains(client.expectError(bindRequest("a", host, target)),
                         "is in the way of the container's own system"))
        << target;
  }
  for (const char* target : {"/tmp/../proc", "/tmp/../dev/shm", "/tmp/..", "/etc/../sys/x"}) {
    auto error = client.expectError(bindRequest("a", host, target));
    EXPECT_TRUE(contains(error, "mount bind mounts")) << target << ": " << error;
  }
  EXPECT_TRUE(client.list().empty());
}

// -- images

TEST_F(BindTest, aContainerHasTheImageThatItsCreateNames) {
  start();
  copyTree(busyboxImage(), host + "/image");
  writeFile(host + "/image/mark", "other\n");
  writeOwned(host + "/image/secret", "of root\n", 0, 0600);
  auto client = connect();
  client.call(rootfsRequest("a", host + "/image"));
  EXPECT_EQ(client.output("a", "cat /mark; echo $HOME; pwd"), "other\n/home/vcap\n/home/vcap\n");
  EXPECT_NE(client.run("a", "cat /secret").exit_status(), 0u);
  EXPECT_EQ(client.output("a", "cat /secret; echo changed > /mark; id -u", true), "of root\n0\n");
  EXPECT_EQ(readFile(host + "/image/mark"), "other\n");
  client.call(rootfsRequest("b", server().imagePath()));
  EXPECT_NE(client.run("b", "cat /mark").exit_status(), 0u);
}

TEST_F(BindTest, anImageThatCannotBeIsAnErrorAndNothingIsLeft) {
  start();
  writeFile(host + "/file", "");
  auto client = connect();
  for (auto& rootfs : {host + "/missing", host + "/file", host + "/file/below"}) {
    EXPECT_EQ(client.expectError(rootfsRequest("a", rootfs)), "rootfs " + rootfs + " not found");
  }
  EXPECT_FALSE(client.expectError(rootfsRequest("a", "relative")).empty());
  EXPECT_FALSE(client.expectError(rootfsRequest("a", "/proc")).empty());
  // Without a shell, and without a directory of wshd's: what an image lacks shows in its jobs only.
  makeOwned(host + "/empty", 0);
  client.call(rootfsRequest("a", host + "/empty"));
  client.destroy("a");
  EXPECT_TRUE(client.list().empty());
}

TEST_F(BindTest, manyCreatesAtATimeHaveTheirOwnImagesAndMounts) {
  start();
  copyTree(busyboxImage(), host + "/image");
  std::vector<TestClient> clients;
  for (int i = 0; i < 12; ++i) {
    std::string name = std::to_string(i);
    makeOwned(host + "/" + name, 0);
    writeFile(host + "/" + name + "/name", name + "\n");
    auto request = bindRequest(name, host + "/" + name, "/data");
    if (i % 2 == 0) request.set_rootfs(host + "/image");
    clients.push_back(connect());
    clients.back().send(request);
  }
  for (auto& client : clients)
    client.receive<CreateResponse>();
  for (int i = 0; i < 12; ++i)
    EXPECT_EQ(clients[i].output(std::to_string(i), "cat /data/name"), std::to_string(i) + "\n");
}

}  // namespace
}  // namespace warden::test
