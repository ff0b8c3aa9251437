#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "privhelper/container-record.h"
#include "privhelper/step.h"

namespace warden::privhelper {
namespace {

class RecordTest : public testing::Test {
 protected:
  ~RecordTest() noexcept override {}

  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: a record is believed when it is root's";
    char pattern[] = "/var/tmp/warden-record-XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    path = pattern;
    directory = Fd(open(pattern, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }

  void TearDown() override {
    if (path.empty()) return;
    unlinkat(directory, "helper.state", 0);
    EXPECT_EQ(rmdir(path.c_str()), 0) << "files are left";
  }

  static Policy makePolicy() {
    Policy policy{};
    policy.slotCount = 10;
    policy.vcapUidStart = 10000;
    policy.idRangeStart = 0x10000000;
    policy.network.poolStart = 0x0afe0000;
    policy.network.poolSize = 10;
    return policy;
  }

  ContainerRecord make() {
    ContainerRecord record(
        {.id = id,
         .slot = 3,
         .network = 4,
         .owner = 1234,
         .privilegedJobs = true,
         .wshd = {77, 8888, 99999},
         .disk = {.backend = kj::str("loop"), .loopDevice = 5, .freeBlocks = 6, .freeInodes = 7}},
        {.blocksHard = 4096});
    record.write(directory, policy);
    return record;
  }

  ContainerRecord read() { return ContainerRecord::read(directory, id, policy); }

  std::string readError(const Policy& other) {
    try {
      ContainerRecord::read(directory, id, other);
    } catch (const StepError& e) {
      return e.detail().cStr();
    }
    return "";
  }

  void change(ContainerRecord& record, StateChange change) {
    ContainerRecord::Change made(record, directory, policy, kj::mv(change));
    made.made();
  }

  off_t size() {
    struct stat status;
    KJ_SYSCALL(fstatat(directory, "helper.state", &status, 0));
    return status.st_size;
  }

  ContainerId id = ContainerId::fromNumber(42);
  Policy policy = makePolicy();
  std::string path;
  Fd directory;
};

OutRule rule() {
  return {.destination = {1, 2},
          .protocol = schema::Protocol::ICMP,
          .firstPort = 0,
          .lastPort = 65535,
          .icmpType = 8,
          .icmpCode = -1,
          .log = true};
}

TEST_F(RecordTest, isReadAsItWasWritten) {
  auto record = make();
  change(record, MappedPort{5000, 80});
  change(record, rule());
  change(record, Bandwidth{10, 20, 3, true});
  change(record, CpuShares{55});
  change(record, DiskLimits{1, 2, 3, 4});
  auto found = read();
  auto& facts = found.facts();
  EXPECT_EQ(facts.slot, 3u);
  EXPECT_EQ(facts.network, 4u);
  EXPECT_EQ(facts.owner, 1234u);
  EXPECT_TRUE(facts.privilegedJobs);
  EXPECT_EQ(facts.wshd.pid, 77);
  EXPECT_EQ(facts.wshd.startTime, 8888u);
  EXPECT_EQ(facts.wshd.inode, 99999u);
  EXPECT_EQ(facts.disk.backend, "loop");
  EXPECT_EQ(facts.disk.loopDevice, 5u);
  EXPECT_EQ(facts.disk.freeBlocks, 6u);
  EXPECT_EQ(facts.disk.freeInodes, 7u);
  ASSERT_EQ(found.ports().size(), 1u);
  EXPECT_EQ(found.ports()[0].hostPort, 5000);
  EXPECT_EQ(found.ports()[0].containerPort, 80);
  ASSERT_EQ(found.rules().size(), 1u);
  EXPECT_EQ(found.rules()[0].destination.last, 2u);
  EXPECT_EQ(found.rules()[0].protocol, schema::Protocol::ICMP);
  EXPECT_EQ(found.rules()[0].icmpType, 8);
  EXPECT_EQ(found.rules()[0].icmpCode, -1);
  EXPECT_TRUE(found.rules()[0].log);
  auto& bandwidth = KJ_ASSERT_NONNULL(found.bandwidth());
  EXPECT_EQ(bandwidth.burst, 20u);
  EXPECT_EQ(bandwidth.generation, 3u);
  EXPECT_TRUE(bandwidth.complete);
  EXPECT_EQ(found.cpuShares(), 55u);
  EXPECT_EQ(found.diskLimits().inodesHard, 4u);
}

TEST_F(RecordTest, aChangeThatIsNotMadeIsTakenBack) {
  auto record = make();
  change(record, MappedPort{5000, 80});
  off_t before = size();
  {
    ContainerRecord::Change notMade(record, directory, policy, MappedPort{5001, 81});
    EXPECT_GT(size(), before);
    EXPECT_EQ(read().ports().size(), 2u) << "it is there before it is made";
  }
  EXPECT_EQ(size(), before);
  EXPECT_EQ(read().ports().size(), 1u);
  EXPECT_EQ(record.ports().size(), 1u);
}

TEST_F(RecordTest, doesNotGrowWithChangesThatReplaceEachOther) {
  auto record = make();
  change(record, MappedPort{5000, 80});
  for (uint32_t i = 1; i <= 5000; ++i)
    change(record, Bandwidth{i, i, i, true});
  EXPECT_LT(size(), 200'000);
  auto found = read();
  EXPECT_EQ(KJ_ASSERT_NONNULL(found.bandwidth()).rate, 5000u);
  EXPECT_EQ(found.ports().size(), 1u);
}

TEST_F(RecordTest, holdsAsManyPortsAndRulesAsThereMayBe) {
  auto record = make();
  for (uint32_t i = 0; i < 1024; ++i) {
    change(record, MappedPort{uint16_t(5000 + i), 80});
    change(record, rule());
  }
  auto found = read();
  EXPECT_EQ(found.ports().size(), 1024u);
  EXPECT_EQ(found.rules().size(), 1024u);
}

TEST_F(RecordTest, isNotBelievedWhereTheConfigurationSaysOtherwise) {
  make();
  EXPECT_EQ(readError(policy), "");
  Policy other = makePolicy();
  other.vcapUidStart += 1;
  EXPECT_NE(readError(other).find("other user ids"), std::string::npos);
  other = makePolicy();
  other.idRangeStart += IDS_PER_CONTAINER;
  EXPECT_NE(readError(other).find("other user ids"), std::string::npos);
  other = makePolicy();
  other.slotCount = 3;
  EXPECT_NE(readError(other).find("other user ids"), std::string::npos);
  other = makePolicy();
  other.network.poolStart += 4;
  EXPECT_NE(readError(other).find("other networks"), std::string::npos);
  other = makePolicy();
  other.network.poolSize = 4;
  EXPECT_NE(readError(other).find("other networks"), std::string::npos);
}

TEST_F(RecordTest, isNotBelievedWhenItIsNotRootsOrALink) {
  make();
  ASSERT_EQ(fchownat(directory, "helper.state", 1234, 0, 0), 0);
  EXPECT_NE(readError(policy), "");
  ASSERT_EQ(fchownat(directory, "helper.state", 0, 0, 0), 0);
  EXPECT_EQ(readError(policy), "");
  ASSERT_EQ(renameat(directory, "helper.state", directory, "elsewhere"), 0);
  ASSERT_EQ(symlinkat("elsewhere", directory, "helper.state"), 0);
  EXPECT_NE(readError(policy), "");
  unlinkat(directory, "elsewhere", 0);
}

TEST_F(RecordTest, aFullDiskFailsTheChangeAndNothingElse) {
  ASSERT_EQ(unshare(CLONE_NEWNS), 0);
  ASSERT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  ASSERT_EQ(mount("tmpfs", path.c_str(), "tmpfs", MS_NOSUID, "size=16k,nr_inodes=8"), 0);
  directory = Fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  auto record = make();
  size_t made = 0;
  int error = 0;
  for (; made < 10000 && error == 0; ++made) {
    try {
      change(record, MappedPort{uint16_t(made), 80});
    } catch (const StepError& e) {
      EXPECT_EQ(e.step(), "write record");
      error = e.error();
      --made;
    }
  }
  EXPECT_EQ(error, ENOSPC);
  EXPECT_GT(made, 100u);
  EXPECT_EQ(record.ports().size(), made);
  EXPECT_EQ(read().ports().size(), made);
  directory = nullptr;
  ASSERT_EQ(umount2(path.c_str(), MNT_DETACH), 0);
  directory = Fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

TEST(ProcessFactsTest, tellOneProcessFromTheNext) {
  pid_t pid = fork();
  if (pid == 0) {
    for (;;)
      pause();
  }
  Pidfd process = Pidfd::open(pid);
  ProcessFacts facts = factsOf(process);
  EXPECT_EQ(facts.pid, pid);
  EXPECT_EQ(factsOf(process).startTime, facts.startTime);
  EXPECT_EQ(factsOf(process).inode, facts.inode);
  EXPECT_GT(facts.startTime, factsOf(Pidfd::open(getppid())).startTime);
  process.signal(SIGKILL);
  EXPECT_TRUE(process.waitExit(5000));
  EXPECT_THROW(factsOf(process), StepError);
}

}  // namespace
}  // namespace warden::privhelper
