// LimitDisk: its twelve fields, what is in force, and what is refused.

#include "tests/integration/disk-test.h"

namespace warden::test {
namespace {

using Setter = void (LimitDiskRequest::*)(uint64_t);

constexpr uint64_t MANY = 64 * 1024;  // blocks: 64 MiB

class LimitDiskTest : public DiskTest {
 protected:
  LimitDiskResponse set(std::initializer_list<std::pair<Setter, uint64_t>> fields) {
    LimitDiskRequest request = diskRequest("c");
    for (auto& [setter, value] : fields)
      (request.*setter)(value);
    return client->call(request);
  }

  std::string refuse(Setter setter, uint64_t value) {
    LimitDiskRequest request = diskRequest("c");
    (request.*setter)(value);
    return client->expectError(request);
  }
};

TEST_P(LimitDiskTest, isNoneAtFirst) {
  expectLimits(limits(), 0, 0, 0, 0);
}

TEST_P(LimitDiskTest, takesBlocksByEachOfTheirNames) {
  using R = LimitDiskRequest;
  expectLimits(set({{&R::set_block_limit, MANY}}), 0, MANY, 0, 0);
  expectLimits(limits(), 0, MANY, 0, 0);
  expectLimits(set({{&R::set_block, MANY + 1}}), 0, MANY + 1, 0, 0);
  expectLimits(set({{&R::set_block_hard, MANY + 2}}), 0, MANY + 2, 0, 0);
  expectLimits(set({{&R::set_block_soft, MANY}}), MANY, MANY + 2, 0, 0);
  expectLimits(limits(), MANY, MANY + 2, 0, 0);
}

TEST_P(LimitDiskTest, takesBytesByEachOfTheirNamesRoundedUpToBlocks) {
  using R = LimitDiskRequest;
  expectLimits(set({{&R::set_byte_limit, MANY * BLOCK}}), 0, MANY, 0, 0);
  expectLimits(set({{&R::set_byte, MANY * BLOCK + 1}}), 0, MANY + 1, 0, 0);
  expectLimits(set({{&R::set_byte_hard, (MANY + 3) * BLOCK - 1}}), 0, MANY + 3, 0, 0);
  expectLimits(set({{&R::set_byte_soft, MANY * BLOCK - 1}}), MANY, MANY + 3, 0, 0);
}

TEST_P(LimitDiskTest, appliesTheNamesInTheDocumentedOrder) {
  using R = LimitDiskRequest;
  expectLimits(set({{&R::set_block_limit, MANY}, {&R::set_block, MANY + 1}}), 0, MANY + 1, 0, 0);
  expectLimits(
      set({{&R::set_block_hard, MANY + 5}, {&R::set_block_limit, MANY}, {&R::set_block, MANY + 1}}),
      0, MANY + 5, 0, 0);
  expectLimits(set({{&R::set_byte_limit, MANY * BLOCK}, {&R::set_byte_hard, 2 * MANY * BLOCK}}), 0,
               2 * MANY, 0, 0);
  // Blocks win, whichever name each has.
  expectLimits(set({{&R::set_byte_hard, 3 * MANY * BLOCK}, {&R::set_block_limit, MANY}}), 0, MANY,
               0, 0);
}

TEST_P(LimitDiskTest, takesInodesByEachOfTheirNames) {
  using R = LimitDiskRequest;
  if (!facts.limitsInodes) {
    std::string error = refuse(&R::set_inode_limit, 1000);
    EXPECT_FALSE(error.empty());
    EXPECT_EQ(error.find("internal error"), std::string::npos) << error;
    expectLimits(limits(), 0, 0, 0, 0);
    return;
  }
  expectLimits(set({{&R::set_inode_limit, 1000}}), 0, 0, 0, 1000);
  expectLimits(set({{&R::set_inode, 1001}}), 0, 0, 0, 1001);
  expectLimits(set({{&R::set_inode_hard, 1002}}), 0, 0, 0, 1002);
  expectLimits(set({{&R::set_inode_soft, 900}}), 0, 0, 900, 1002);
  expectLimits(
      set({{&R::set_inode_hard, 3000}, {&R::set_inode, 2000}, {&R::set_inode_limit, 1000}}), 0, 0,
      900, 3000);
}

TEST_P(LimitDiskTest, leavesAsItIsWhatIsNotNamed) {
  using R = LimitDiskRequest;
  set({{&R::set_block_limit, MANY}});
  if (facts.limitsInodes) {
    expectLimits(set({{&R::set_inode_limit, 1000}}), 0, MANY, 0, 1000);
    expectLimits(set({{&R::set_block_limit, 2 * MANY}}), 0, 2 * MANY, 0, 1000);
    expectLimits(set({{&R::set_block_limit, 0}}), 0, 0, 0, 1000);
    expectLimits(set({{&R::set_inode_limit, 0}}), 0, 0, 0, 0);
  } else {
    expectLimits(set({{&R::set_block_limit, 0}}), 0, 0, 0, 0);
  }
}

TEST_P(LimitDiskTest, isRefusedAndUnchangedBeyondWhatAFileSystemCounts) {
  using R = LimitDiskRequest;
  set({{&R::set_block_limit, MANY}});
  // The last of each is what a client that means -1 sends.
  for (uint64_t blocks : {uint64_t(INT64_MAX) / BLOCK + 1, UINT64_MAX / BLOCK,
                          UINT64_MAX / BLOCK + 1, uint64_t(INT64_MAX), UINT64_MAX}) {
    for (Setter setter :
         {&R::set_block_limit, &R::set_block, &R::set_block_soft, &R::set_block_hard}) {
      std::string error = refuse(setter, blocks);
      EXPECT_NE(error.find("block"), std::string::npos) << error;
      expectLimits(limits(), 0, MANY, 0, 0);
    }
  }
  for (uint64_t bytes : {uint64_t(INT64_MAX) + 1, UINT64_MAX - 1, UINT64_MAX}) {
    for (Setter setter : {&R::set_byte_limit, &R::set_byte, &R::set_byte_soft, &R::set_byte_hard}) {
      std::string error = refuse(setter, bytes);
      EXPECT_NE(error.find("byte"), std::string::npos) << error;
      expectLimits(limits(), 0, MANY, 0, 0);
    }
  }
  for (Setter setter :
       {&R::set_inode_limit, &R::set_inode, &R::set_inode_soft, &R::set_inode_hard}) {
    std::string error = refuse(setter, UINT64_MAX);
    EXPECT_FALSE(error.empty());
    expectLimits(limits(), 0, MANY, 0, 0);
  }
}

TEST_P(LimitDiskTest, changesNothingWhenOneOfItsFieldsIsRefused) {
  LimitDiskRequest request = diskRequest("c");
  request.set_block_limit(MANY);
  request.set_inode_limit(UINT64_MAX);
  client->expectError(request);
  expectLimits(limits(), 0, 0, 0, 0);
}

TEST_P(LimitDiskTest, isSetAndReadOfAStoppedContainer) {
  client->stop("c");
  expectLimits(limits(), 0, 0, 0, 0);
  expectLimits(limitBytes(MANY * BLOCK), 0, MANY, 0, 0);
  expectLimits(limits(), 0, MANY, 0, 0);
  EXPECT_TRUE(client->info("c").has_disk_stat());
}

TEST_P(LimitDiskTest, needsAKnownHandle) {
  LimitDiskRequest request = diskRequest("none");
  EXPECT_EQ(client->expectError(request), "unknown handle");
  request.set_block_limit(MANY);
  EXPECT_EQ(client->expectError(request), "unknown handle");
}

INSTANTIATE_TEST_SUITE_P(, LimitDiskTest, ::testing::ValuesIn(depotKinds()), depotName);

}  // namespace
}  // namespace warden::test
