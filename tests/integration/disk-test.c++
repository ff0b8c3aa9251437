#include "tests/integration/disk-test.h"

namespace warden::test {

std::unique_ptr<DepotFileSystem> DiskTest::depot;
std::string DiskTest::mounted = "host";

void DiskTest::useDepot(const std::string& type) {
  if (mounted == type) return;
  depot.reset();
  mounted = "host";
  if (type == "host") return;
  depot = std::make_unique<DepotFileSystem>(type);
  mounted = type;
}

void DiskTest::expectLimits(const LimitDiskResponse& response, uint64_t blocksSoft,
                            uint64_t blocksHard, uint64_t inodesSoft, uint64_t inodesHard) {
  blocksSoft = (blocksSoft + facts.unit - 1) / facts.unit * facts.unit;
  blocksHard = (blocksHard + facts.unit - 1) / facts.unit * facts.unit;
  if (!facts.hasSoftLimits) {
    blocksSoft = blocksHard;
    inodesSoft = inodesHard;
  }
  LimitDiskResponse expected;
  expected.set_block_limit(blocksHard);
  expected.set_block(blocksHard);
  expected.set_block_soft(blocksSoft);
  expected.set_block_hard(blocksHard);
  expected.set_inode_limit(inodesHard);
  expected.set_inode(inodesHard);
  expected.set_inode_soft(inodesSoft);
  expected.set_inode_hard(inodesHard);
  expected.set_byte_limit(blocksHard * BLOCK);
  expected.set_byte(blocksHard * BLOCK);
  expected.set_byte_soft(blocksSoft * BLOCK);
  expected.set_byte_hard(blocksHard * BLOCK);
  EXPECT_EQ(response.block_limit(), expected.block_limit());
  EXPECT_EQ(response.block_soft(), expected.block_soft());
  EXPECT_EQ(response.inode_limit(), expected.inode_limit());
  EXPECT_EQ(response.inode_soft(), expected.inode_soft());
  // Fields that are absent, too.
  EXPECT_EQ(response.SerializeAsString(), expected.SerializeAsString());
}

std::vector<std::string> depotKinds() {
  return {"host", "btrfs", "ext4", "xfs"};
}

std::string depotName(const ::testing::TestParamInfo<std::string>& info) {
  return info.param;
}

}  // namespace warden::test
