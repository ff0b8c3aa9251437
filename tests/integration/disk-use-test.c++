// Writing up to a disk limit and past it, and what Info says of it.

#include <filesystem>

#include "tests/integration/disk-test.h"
#include "tests/support/test-image.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;

constexpr char PROBE[] = WARDEN_BIN_DIR "/warden-probe";

class DiskUseTest : public DiskTest {
 protected:
  // Usage may be told a moment after a write or removal.
  bool uses(uint64_t least, uint64_t most) {
    // btrfs takes what was removed off with its next commit, which it makes twice a minute.
    if (facts.backend == "btrfs") runProgram({"/bin/sync", "-f", server().depotPath()});
    return waitUntil([&]() {
      uint64_t bytes = usage().bytes_used();
      return bytes >= least && bytes <= most;
    });
  }

  uint64_t sizeOf(const std::string& file) {
    return std::stoull(client->output("c", "stat -c %s " + file));
  }
};

TEST_P(DiskUseTest, isCountedInInfo) {
  auto before = usage();
  ASSERT_TRUE(client->info("c").has_disk_stat());
  EXPECT_LT(before.bytes_used(), MIB);
  expectDone(write("/tmp/a", 8));
  expectDone(write("/tmp/b", 8, true));
  EXPECT_TRUE(uses(16 * MIB, before.bytes_used() + 17 * MIB)) << usage().bytes_used();
  client->output("c", "rm /tmp/a");
  EXPECT_TRUE(uses(8 * MIB, before.bytes_used() + 9 * MIB)) << usage().bytes_used();
  client->output("c", "rm /tmp/b", true);
  EXPECT_TRUE(uses(0, before.bytes_used() + MIB)) << usage().bytes_used();
}

TEST_P(DiskUseTest, countsFilesInInfo) {
  if (!facts.limitsInodes) {
    EXPECT_TRUE(usage().has_inodes_used());
    return;
  }
  uint64_t before = usage().inodes_used();
  client->output("c", "for i in $(seq 100); do : > /tmp/file-$i; done");
  EXPECT_TRUE(waitUntil([&]() {
    uint64_t now = usage().inodes_used();
    return now >= before + 100 && now <= before + 105;
  })) << before
      << " before, " << usage().inodes_used();
  client->output("c", "rm /tmp/file-*");
  EXPECT_TRUE(waitUntil([&]() { return usage().inodes_used() <= before + 5; }));
}

TEST_P(DiskUseTest, ofTheImageIsNotCounted) {
  EXPECT_LT(usage().bytes_used(), MIB);
  client->output("c", "cat /bin/busybox > /dev/null");
  EXPECT_LT(usage().bytes_used(), MIB);
  // A change copies the file into the container's own layer.
  client->output("c", "chmod 700 /bin/busybox", true);
  EXPECT_TRUE(uses(MIB, 100 * MIB));
}

TEST_P(DiskUseTest, endsAtTheLimitForVcapAndRootAlike) {
  limitBytes(16 * MIB);
  for (bool privileged : {false, true}) {
    expectRefused(write("/tmp/big", 32, privileged));
    EXPECT_LE(sizeOf("/tmp/big"), 16 * MIB);
    EXPECT_GE(sizeOf("/tmp/big"), 8 * MIB);
    EXPECT_LE(usage().bytes_used(), 16 * MIB);
    client->output("c", "rm /tmp/big", true);
    EXPECT_TRUE(uses(0, 2 * MIB));
  }
}

TEST_P(DiskUseTest, endsAtTheLimitForBothTogether) {
  limitBytes(24 * MIB);
  expectDone(write("/tmp/by-vcap", 12));
  expectRefused(write("/tmp/by-root", 32, true));
  EXPECT_LE(sizeOf("/tmp/by-root"), 12 * MIB);
  expectRefused(write("/tmp/by-vcap-again", 4));
}

TEST_P(DiskUseTest, endsForOneContainerOnly) {
  client->create("other");
  limitBytes(16 * MIB);
  expectRefused(write("/tmp/big", 32));
  client->output("other", "dd if=/dev/zero of=/tmp/big bs=1M count=32 conv=fsync 2>/dev/null");
}

TEST_P(DiskUseTest, goesOnWhenTheLimitIsRaisedAndEndsWhenItIsLowered) {
  limitBytes(16 * MIB);
  expectRefused(write("/tmp/a", 32));
  client->output("c", "rm /tmp/a");
  ASSERT_TRUE(uses(0, 2 * MIB));
  limitBytes(64 * MIB);
  expectDone(write("/tmp/a", 32));

  // Below what is in use: that stays and can be read, nothing is added.
  limitBytes(16 * MIB);
  EXPECT_EQ(sizeOf("/tmp/a"), 32 * MIB);
  EXPECT_EQ(client->output("c", "wc -c < /tmp/a"), std::to_string(32 * MIB) + "\n");
  expectRefused(write("/tmp/b", 4));
  expectRefused(write("/tmp/c", 4, true));
  client->output("c", "rm -f /tmp/a /tmp/b /tmp/c", true);
  ASSERT_TRUE(uses(0, 2 * MIB));
  expectDone(write("/tmp/b", 4));

  limitBytes(0);
  expectDone(write("/tmp/c", 48));
}

TEST_P(DiskUseTest, changesItsLimitUnderARunningWriter) {
  limitBytes(16 * MIB);
  uint32_t job = client->spawn("c",
                               "until dd if=/dev/zero of=/tmp/a bs=64k count=512 conv=fsync;"
                               " do rm -f /tmp/a; sleep 0.1; done 2>/dev/null; echo done");
  TestClient linker = connect();
  linker.send(linkRequest("c", job));
  EXPECT_FALSE(linker.hasInput(std::chrono::milliseconds(500)));
  limitBytes(128 * MIB);
  EXPECT_EQ(linker.receive<LinkResponse>().stdout(), "done\n");
}

TEST_P(DiskUseTest, endsAtTheLimitOfInodes) {
  if (!facts.limitsInodes) return;
  LimitDiskRequest request = diskRequest("c");
  request.set_inode_limit(usage().inodes_used() + 50);
  client->call(request);
  for (bool privileged : {false, true}) {
    auto response =
        client->run("c", "for i in $(seq 200); do : > /tmp/file-$i || exit 1; done", privileged);
    expectRefused(response);
    EXPECT_LE(usage().inodes_used(), request.inode_limit());
    uint64_t made = std::stoull(client->output("c", "ls /tmp | grep -c file-"));
    EXPECT_GE(made, 30u);
    EXPECT_LE(made, 50u);
    client->output("c", "rm /tmp/file-*", true);
  }
  request.set_inode_limit(0);
  client->call(request);
  client->output("c", "for i in $(seq 200); do : > /tmp/file-$i || exit 1; done");
}

TEST_P(DiskUseTest, endsAtTheLimitWhereverAFileIs) {
  limitBytes(16 * MIB);
  client->output("c", "mkdir -p /tmp/a/b /made; chmod 777 /made /tmp/a /tmp/a/b", true);
  for (const char* file : {"/tmp/a/b/big", "/made/big", "/big", "/var/tmp/big", "/root/big"}) {
    expectRefused(write(file, 32, true));
    client->output("c", std::string("rm -f ") + file, true);
    ASSERT_TRUE(uses(0, 2 * MIB)) << file;
  }
  // Moved, linked or made sparse, it counts all the same.
  expectDone(write("/tmp/a/first", 10));
  client->output("c", "mv /tmp/a/first /tmp/a/b/moved; ln /tmp/a/b/moved /tmp/linked");
  expectRefused(write("/tmp/second", 32));
}

TEST_P(DiskUseTest, isNotCountedForOutputOfJobs) {
  limitBytes(16 * MIB);
  auto response = client->run("c", "head -c 9000000 /dev/zero");
  EXPECT_EQ(response.exit_status(), 0u);
  EXPECT_EQ(response.stdout().size(), 9000000u);
  EXPECT_LT(usage().bytes_used(), 2 * MIB);
}

INSTANTIATE_TEST_SUITE_P(, DiskUseTest, ::testing::ValuesIn(depotKinds()), depotName);

// With a program inside that tries to leave what it is counted in.
class DiskEscapeTest : public DiskTest {
 protected:
  ServerOptions serverOptions() override {
    image = testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-quota-image";
    copyTree(busyboxImage(), image);
    fs::copy_file(PROBE, image + "/probe");
    ServerOptions options;
    options.image = image;
    return options;
  }

  void TearDown() override {
    DiskTest::TearDown();
    fs::remove_all(image);
  }

  std::string image;
};

TEST_P(DiskEscapeTest, isRefusedByTheKernel) {
  limitBytes(16 * MIB);
  for (bool privileged : {false, true}) {
    client->output("c", "mkdir /tmp/d; : > /tmp/f", privileged);
    for (const char* file : {"/tmp/d", "/tmp/f"}) {
      auto response = client->run("c", std::string("/probe leave-project ") + file, privileged);
      EXPECT_EQ(response.exit_status(), 0u) << response.stdout() << response.stderr();
    }
    expectRefused(write("/tmp/f", 32, privileged));
    expectRefused(write("/tmp/d/g", 32, privileged));
    client->output("c", "rm -r /tmp/d /tmp/f", true);
  }
}

INSTANTIATE_TEST_SUITE_P(, DiskEscapeTest, ::testing::ValuesIn(depotKinds()), depotName);

}  // namespace
}  // namespace warden::test
