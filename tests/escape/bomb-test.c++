// Containers that take all there is of something, while a neighbour works.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>

#include "tests/support/limits.h"
#include "tests/support/server-test.h"
#include "tests/support/test-image.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;

constexpr char STOP[] = "/tmp/bomb-over";
constexpr int NEIGHBOURS_JOBS = 20;
// A job forks five times, and waits for its turn among the processes of the bomb each time.
constexpr int MOST_TIMES_SLOWER = 20;
constexpr auto LEAST_NOTICED = std::chrono::milliseconds(100);
constexpr uint64_t BOMBERS_INODES = 2000;

class BombTest : public ServerTest {
 protected:
  virtual std::string pidsLimit() const { return "200"; }

  void SetUp() override {
    pattern = testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-bomb-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    fs::permissions(pattern, fs::perms(0755));
    copyTree(busyboxImage(), pattern + "/image");
    fs::copy_file(WARDEN_BIN_DIR "/warden-probe", pattern + "/image/probe");
    ServerOptions options;
    options.image = pattern + "/image";
    options.config["privhelper.pids_limit"] = pidsLimit();
    options.config["server.container_rlimits"] = "{nproc: " + pidsLimit() + "}";
    start(options);
    client.emplace(connect());
    bomber = client->create();
    neighbour = client->create();
    alone = medianOfTheNeighbour();
  }

  void TearDown() override {
    client.reset();
    ServerTest::TearDown();
    fs::remove_all(pattern);
  }

  // How long one job of the neighbour takes, in the middle of some.
  std::chrono::microseconds medianOfTheNeighbour() {
    std::vector<std::chrono::microseconds> times;
    for (int i = 0; i < NEIGHBOURS_JOBS; ++i) {
      auto start = std::chrono::steady_clock::now();
      runOneOfTheNeighbour(i % 2 == 1);
      times.push_back(std::chrono::duration_cast<std::chrono::microseconds>(
          std::chrono::steady_clock::now() - start));
    }
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    return times[times.size() / 2];
  }

  void runOneOfTheNeighbour(bool privileged) {
    auto response = client->run(neighbour,
                                "cd /tmp && echo content > file && cat file && rm file && "
                                "[ \"$(echo a | cat)\" = a ]",
                                privileged);
    ASSERT_EQ(response.exit_status(), 0u) << response.stderr();
    ASSERT_EQ(response.stdout(), "content\n");
  }

  // Slower, as the machine is shared; but not starved.
  void expectTheNeighbourWorks() {
    auto during = medianOfTheNeighbour();
    std::cout << "[  figure  ] a job of the neighbour: " << alone.count() << " us alone, "
              << during.count() << " us now\n";
    EXPECT_LT(during, MOST_TIMES_SLOWER * alone + LEAST_NOTICED);
  }

  std::optional<TestClient> client;
  std::string bomber;
  std::string neighbour;
  std::chrono::microseconds alone{};

 private:
  std::string pattern;
};

TEST_F(BombTest, ofProcessesLeavesTheNeighbourAndTheServerWorking) {
  // As many shells as there may be; each that ends makes room for the next.
  for (bool privileged : {false, true})
    client->spawn(bomber, "bomb() { bomb | bomb & }; while true; do bomb; sleep 0.05; done",
                  privileged);
  expectTheNeighbourWorks();
  client->ping();
  client->destroy(bomber);
  expectTheNeighbourWorks();
}

TEST_F(BombTest, ofInodesEndsAtTheContainersLimit) {
  LimitDiskRequest limit;
  limit.set_handle(bomber);
  limit.set_inode_hard(BOMBERS_INODES);
  client->call(limit);
  for (bool privileged : {false, true}) {
    auto result = client->run(
        bomber, "mkdir -p /tmp/i && chmod 777 /tmp/i; cd /tmp/i && /probe inodes 100000",
        privileged);
    unsigned made = 0;
    size_t at = result.stdout().find("inodes ");
    ASSERT_NE(at, std::string::npos) << result.stdout() << result.stderr();
    ASSERT_EQ(sscanf(result.stdout().c_str() + at, "inodes %u", &made), 1);
    EXPECT_LE(made, BOMBERS_INODES);
    expectTheNeighbourWorks();
    EXPECT_EQ(client->output(neighbour,
                             "mkdir -p /tmp/n && cd /tmp/n && /probe inodes 100 && rm -r /tmp/n",
                             privileged),
              "inodes 100\n");
  }
}

TEST_F(BombTest, ofCgroupsFindsNoPlaceForAny) {
  std::string script =
      "made=0; for d in $(find / -xdev -type d -name '*cgroup*' 2>/dev/null) /sys/fs/cgroup "
      "$(sed -n 's/^[^ ]* \\([^ ]*\\) cgroup2\\{0,1\\} .*/\\1/p' /proc/mounts); do "
      "case $d in /sys/*) mkdir $d/bomb 2>/dev/null && made=1;; esac; done; "
      "grep -c cgroup /proc/mounts; echo made $made";
  for (bool privileged : {false, true}) {
    auto before = server().cgroups().size();
    EXPECT_EQ(client->run(bomber, script, privileged).stdout(), "0\nmade 0\n");
    EXPECT_EQ(server().cgroups().size(), before);
  }
  expectTheNeighbourWorks();
}

TEST_F(BombTest, ofTerminalsLeavesTheNeighbourItsOwn) {
  client->run(bomber, std::string("rm -f /tmp/ptys ") + STOP, true);
  uint32_t job = client->spawn(bomber, std::string("/probe ptys ") + STOP);
  // It tells when there are no more.
  std::string count =
      client->output(bomber, "until [ -s /tmp/ptys ]; do sleep 0.02; done; cat /tmp/ptys", true);
  EXPECT_GT(std::stoi(count), 100);
  expectTheNeighbourWorks();
  EXPECT_EQ(client->output(neighbour, "exec 5<>/dev/ptmx && ls /dev/pts | sort | tail -1"),
            "ptmx\n");
  // Nor are those of the host used up.
  int terminal = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  EXPECT_GE(terminal, 0);
  if (terminal >= 0) close(terminal);
  client->run(bomber, std::string("touch ") + STOP, true);
  client->link(bomber, job);
}

TEST_F(BombTest, ofReclaimedPagesHoldsNobodyUpWhenItsMemoryIsLimited) {
  client->spawn(bomber, "/probe refill /tmp/pages");
  auto used = [&] {
    bool second = hasVersion2("memory");
    return std::stoull(cgroupValue(server(), idOf(bomber), "memory",
                                   second ? "memory.current" : "memory.usage_in_bytes"));
  };
  ASSERT_TRUE(waitUntil([&] { return used() > 1000 * MIB; })) << used();
  TestClient other = connect();
  for (uint64_t limit : {290 * MIB, 100 * MIB}) {
    client->send(memoryRequest(bomber, limit));
    other.setTimeout(std::chrono::seconds(2));
    for (uint64_t shares = 100; shares < 120; ++shares)
      EXPECT_EQ(limitCpu(other, neighbour, shares), shares);
    // It cannot be brought below what is held.
    EXPECT_NE(client->receiveError().find("limit memory"), std::string::npos);
  }
  // A limit above it is in force at once, whatever waited before.
  client->send(memoryRequest(bomber, 290 * MIB));
  EXPECT_EQ(limitMemory(other, bomber, 20000 * MIB), 20000 * MIB);
  EXPECT_NE(client->receiveError().find("limit memory"), std::string::npos);
  expectTheNeighbourWorks();
}

class EndsBombTest : public BombTest {
 protected:
  std::string pidsLimit() const override { return "4096"; }

  int processes() { return std::stoi(cgroupValue(server(), idOf(bomber), "pids", "pids.current")); }
};

TEST_F(EndsBombTest, leavesItsContainerAnswering) {
  constexpr int CHILDREN = 3000;
  client->spawn(bomber, "/probe ends " + std::to_string(CHILDREN));
  ASSERT_TRUE(waitUntil([&] { return processes() > CHILDREN; })) << processes();
  client->setTimeout(std::chrono::seconds(2));
  for (int i = 0; i < 10; ++i) {
    try {
      client->spawn(bomber, "true", i % 2 == 1);
    } catch (const ServerError&) {
      // That there are as many processes as there may be is an answer, too.
    }
  }
  expectTheNeighbourWorks();
  client->setTimeout(std::chrono::seconds(20));
  client->stop(bomber);
  EXPECT_TRUE(waitUntil([&] { return processes() == 1; })) << processes();
}

}  // namespace
}  // namespace warden::test
