#pragma once
// What the tests of disk limits share: each runs on every kind of depot.

#include <gtest/gtest.h>

#include <memory>

#include "tests/support/depot.h"
#include "tests/support/limits.h"
#include "tests/support/server-test.h"

namespace warden::test {

constexpr uint64_t BLOCK = 1024;

class DiskTest : public ServerTest, public ::testing::WithParamInterface<std::string> {
  // The parameter: a file system for DepotFileSystem, or "host" for what the machine has.

 protected:
  static std::unique_ptr<DepotFileSystem> depot;
  static std::string mounted;  // the parameter that `depot` is for

  void SetUp() override {
    useDepot(GetParam());
    facts = depotFacts();
    start(serverOptions());
    client.emplace(connect());
    client->create("c");
  }

  void TearDown() override {
    client.reset();
    ServerTest::TearDown();
  }

  static void TearDownTestSuite() { useDepot("host"); }

  virtual ServerOptions serverOptions() { return {}; }

  static void useDepot(const std::string& type);

  LimitDiskResponse limits() { return client->call(diskRequest("c")); }

  LimitDiskResponse limitBytes(uint64_t bytes) {
    LimitDiskRequest request = diskRequest("c");
    request.set_byte_limit(bytes);
    return client->call(request);
  }

  void expectLimits(const LimitDiskResponse& response, uint64_t blocksSoft, uint64_t blocksHard,
                    uint64_t inodesSoft, uint64_t inodesHard);
  // All twelve fields. Soft limits equal the hard ones where the backend has none.

  InfoResponse::DiskStat usage() { return client->info("c").disk_stat(); }

  RunResponse write(const std::string& file, int mib, bool privileged = false) {
    return client->run(
        "c",
        "dd if=/dev/zero of=" + file + " bs=64k count=" + std::to_string(16 * mib) + " conv=fsync",
        privileged);
  }

  void expectRefused(const RunResponse& response) {
    EXPECT_NE(response.exit_status(), 0u);
    EXPECT_NE(response.stderr().find(facts.refusal), std::string::npos) << response.stderr();
  }

  void expectDone(const RunResponse& response) {
    EXPECT_EQ(response.exit_status(), 0u) << response.stderr();
  }

  std::optional<TestClient> client;
  DepotFacts facts;
};

std::vector<std::string> depotKinds();
std::string depotName(const ::testing::TestParamInfo<std::string>& info);

}  // namespace warden::test
