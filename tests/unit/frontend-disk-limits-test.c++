#include "frontend/disk-limits.h"

#include <gtest/gtest.h>

#include "frontend/client-error.h"

namespace warden::frontend {
namespace {

constexpr DiskLimits PRESENT{1, 2, 3, 4};

std::string refusal(const LimitDiskRequest& request) {
  KJ_IF_MAYBE (reason, kj::runCatchingExceptions([&]() { applyDiskLimits(PRESENT, request); })) {
    return isClientError(*reason) ? reason->getDescription().cStr() : "internal";
  }
  return "";
}

TEST(DiskLimitsTest, keepWhatARequestDoesNotName) {
  LimitDiskRequest request;
  EXPECT_FALSE(setsDiskLimits(request));
  EXPECT_EQ(applyDiskLimits(PRESENT, request), PRESENT);
  request.set_handle("h");
  EXPECT_FALSE(setsDiskLimits(request));
}

TEST(DiskLimitsTest, takeEachFieldOnItsOwn) {
  struct Case {
    void (LimitDiskRequest::*set)(uint64_t);
    DiskLimits expected;
  };
  using R = LimitDiskRequest;
  const Case cases[] = {
      {&R::set_block_limit, {1, 2048, 3, 4}}, {&R::set_block, {1, 2048, 3, 4}},
      {&R::set_block_soft, {2048, 2, 3, 4}},  {&R::set_block_hard, {1, 2048, 3, 4}},
      {&R::set_inode_limit, {1, 2, 3, 2048}}, {&R::set_inode, {1, 2, 3, 2048}},
      {&R::set_inode_soft, {1, 2, 2048, 4}},  {&R::set_inode_hard, {1, 2, 3, 2048}},
      {&R::set_byte_limit, {1, 2, 3, 4}},     {&R::set_byte, {1, 2, 3, 4}},
      {&R::set_byte_soft, {2, 2, 3, 4}},      {&R::set_byte_hard, {1, 2, 3, 4}},
  };
  for (auto& c : cases) {
    LimitDiskRequest request;
    (request.*c.set)(2048);
    EXPECT_TRUE(setsDiskLimits(request));
    EXPECT_EQ(applyDiskLimits(PRESENT, request), c.expected) << &c - cases;
  }
}

TEST(DiskLimitsTest, applyAliasesInTheOrderLimitNoneSoftHard) {
  LimitDiskRequest request;
  request.set_block_limit(10);
  request.set_inode_limit(100);
  request.set_byte_limit(1000 * 1024);
  EXPECT_EQ(applyDiskLimits(PRESENT, request), (DiskLimits{1, 10, 3, 100}));
  request.set_block(20);
  request.set_inode(200);
  EXPECT_EQ(applyDiskLimits(PRESENT, request), (DiskLimits{1, 20, 3, 200}));
  request.set_block_soft(30);
  request.set_inode_soft(300);
  EXPECT_EQ(applyDiskLimits(PRESENT, request), (DiskLimits{30, 20, 300, 200}));
  request.set_block_hard(40);
  request.set_inode_hard(400);
  EXPECT_EQ(applyDiskLimits(PRESENT, request), (DiskLimits{30, 40, 300, 400}));
}

TEST(DiskLimitsTest, applyByteAliasesInTheSameOrder) {
  LimitDiskRequest request;
  request.set_byte_limit(10 * 1024);
  EXPECT_EQ(applyDiskLimits(PRESENT, request).blocksHard, 10u);
  request.set_byte(20 * 1024);
  EXPECT_EQ(applyDiskLimits(PRESENT, request).blocksHard, 20u);
  request.set_byte_soft(30 * 1024);
  EXPECT_EQ(applyDiskLimits(PRESENT, request), (DiskLimits{30, 20, 3, 4}));
  request.set_byte_hard(40 * 1024);
  EXPECT_EQ(applyDiskLimits(PRESENT, request), (DiskLimits{30, 40, 3, 4}));
}

TEST(DiskLimitsTest, letBlocksWinOverBytes) {
  LimitDiskRequest request;
  request.set_byte_hard(40 * 1024);
  request.set_byte_soft(30 * 1024);
  request.set_block_limit(7);
  EXPECT_EQ(applyDiskLimits(PRESENT, request), (DiskLimits{30, 7, 3, 4}));
  request.set_block_soft(8);
  EXPECT_EQ(applyDiskLimits(PRESENT, request), (DiskLimits{8, 7, 3, 4}));
}

TEST(DiskLimitsTest, roundBytesUpToBlocks) {
  auto blocks = [](uint64_t bytes) {
    LimitDiskRequest request;
    request.set_byte(bytes);
    return applyDiskLimits(PRESENT, request).blocksHard;
  };
  EXPECT_EQ(blocks(0), 0u);
  EXPECT_EQ(blocks(1), 1u);
  EXPECT_EQ(blocks(1023), 1u);
  EXPECT_EQ(blocks(1024), 1u);
  EXPECT_EQ(blocks(1025), 2u);
  EXPECT_EQ(blocks(MAX_DISK_BYTES), MAX_DISK_BYTES / 1024);
}

TEST(DiskLimitsTest, refuseWhatNoFileSystemCounts) {
  LimitDiskRequest request;
  request.set_byte_soft(MAX_DISK_BYTES + 1);
  EXPECT_EQ(refusal(request),
            "byte_soft is 9223372036854774785; a number from 0, which is unlimited, to "
            "9223372036854774784 is accepted");
  request.Clear();
  request.set_block(MAX_DISK_BYTES / 1024);
  EXPECT_EQ(refusal(request), "");
  request.set_block(MAX_DISK_BYTES / 1024 + 1);
  EXPECT_EQ(refusal(request).find("block is 9007199254740992; "), 0u);
  request.Clear();
  request.set_inode_hard(UINT64_MAX);
  EXPECT_EQ(refusal(request).find("inode_hard is 18446744073709551615; "), 0u);
}

TEST(DiskLimitsTest, refuseALargeValueThatAnotherFieldOverrides) {
  LimitDiskRequest request;
  request.set_byte(UINT64_MAX);
  request.set_block(1);
  EXPECT_EQ(refusal(request).find("byte is "), 0u);
}

TEST(DiskLimitsTest, areDescribedByAllTwelveFields) {
  auto response = describeDiskLimits({1, 2, 3, 4});
  EXPECT_EQ(response.block_limit(), 2u);
  EXPECT_EQ(response.block(), 2u);
  EXPECT_EQ(response.block_soft(), 1u);
  EXPECT_EQ(response.block_hard(), 2u);
  EXPECT_EQ(response.inode_limit(), 4u);
  EXPECT_EQ(response.inode(), 4u);
  EXPECT_EQ(response.inode_soft(), 3u);
  EXPECT_EQ(response.inode_hard(), 4u);
  EXPECT_EQ(response.byte_limit(), 2048u);
  EXPECT_EQ(response.byte(), 2048u);
  EXPECT_EQ(response.byte_soft(), 1024u);
  EXPECT_EQ(response.byte_hard(), 2048u);
}

TEST(DiskLimitsTest, areDescribedByZeroesWhereUnlimited) {
  auto response = describeDiskLimits({});
  EXPECT_TRUE(response.has_block_limit());
  EXPECT_TRUE(response.has_byte_hard());
  EXPECT_TRUE(response.has_inode_soft());
  EXPECT_EQ(response.byte_hard(), 0u);
  EXPECT_EQ(describeDiskLimits({0, UINT64_MAX, 0, 0}).byte(), UINT64_MAX);
}

}  // namespace
}  // namespace warden::frontend
