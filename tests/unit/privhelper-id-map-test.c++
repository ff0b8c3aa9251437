#include "privhelper/id-map.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace warden::privhelper {
namespace {

const Policy POLICY{.slotCount = 256,
                    .vcapUidStart = 10000,
                    .idRangeStart = 0x70000000,
                    .pidsLimit = 0,
                    .lowestHostPort = 1024,
                    .frontendUid = 999,
                    .frontendGid = 999,
                    .network = {.poolSize = 8},
                    .access = {}};

std::map<uint32_t, uint32_t> expand(const IdMap& map) {
  std::map<uint32_t, uint32_t> ids;
  for (const IdExtent& e : map) {
    for (uint32_t i = 0; i < e.count; ++i) {
      EXPECT_TRUE(ids.emplace(e.inside + i, e.host + i).second) << "mapped twice: " << e.inside + i;
    }
  }
  return ids;
}

void expectOneToOne(const std::map<uint32_t, uint32_t>& ids) {
  std::set<uint32_t> hosts;
  for (auto& [inside, host] : ids)
    EXPECT_TRUE(hosts.insert(host).second) << host;
}

TEST(ContainerIdMapTest, mapsEveryIdOnceAndNoneToRootOfTheHost) {
  auto ids = expand(containerIdMap(POLICY, 7));
  EXPECT_EQ(ids.size(), IDS_PER_CONTAINER);
  expectOneToOne(ids);
  for (auto& [inside, host] : ids)
    EXPECT_NE(host, 0u);
}

TEST(SingleIdMapTest, mapsNothingButTheOneId) {
  auto ids = expand(singleIdMap(1000, 10007));
  EXPECT_EQ(ids, (std::map<uint32_t, uint32_t>{{1000, 10007}}));
}

TEST(ContainerIdMapTest, givesVcapTheSameIdOnBothSides) {
  EXPECT_EQ(expand(containerIdMap(POLICY, 7))[10007], 10007u);
}

TEST(ContainerIdMapTest, sharesNoHostIdBetweenSlots) {
  std::set<uint32_t> hosts;
  for (uint32_t slot : {0, 1, 2, 255}) {
    for (auto& [inside, host] : expand(containerIdMap(POLICY, slot))) {
      EXPECT_TRUE(hosts.insert(host).second) << "slot " << slot << " host id " << host;
    }
  }
}

TEST(ImageIdMapTest, equalsTheContainersWhereTheImageHasNoVcap) {
  EXPECT_EQ(expand(imageIdMap(POLICY, 3, nullptr)), expand(containerIdMap(POLICY, 3)));
  EXPECT_EQ(expand(imageIdMap(POLICY, 3, 10003)), expand(containerIdMap(POLICY, 3)));
}

TEST(ImageIdMapTest, handsTheImagesVcapToTheContainers) {
  for (uint32_t onDisk : {1u, 1000u, 9999u, 10002u, 10004u, 65535u}) {
    auto ids = expand(imageIdMap(POLICY, 3, onDisk));
    EXPECT_EQ(ids.size(), IDS_PER_CONTAINER);
    expectOneToOne(ids);
    EXPECT_EQ(ids[onDisk], 10003u);
    EXPECT_EQ(ids[0], POLICY.rootUid(3)) << "root's files must stay root's";
  }
}

TEST(IdMapTextTest, isWhatTheKernelReads) {
  IdMap map = kj::heapArray<IdExtent>({{0, 100, 5}, {5, 7, 1}});
  EXPECT_EQ(idMapText(map), "0 100 5\n5 7 1\n"_kj);
}

}  // namespace
}  // namespace warden::privhelper
