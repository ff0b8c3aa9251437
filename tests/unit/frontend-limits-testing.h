#pragma once
// A container of a whole core, with requests about its limits.

#include <errno.h>
#include <gtest/gtest.h>

#include "tests/unit/frontend-test-client.h"

namespace warden::frontend {

constexpr uint64_t UNLIMITED = 9223372036854771712u;
constexpr uint64_t PAGE = 4096;

class LimitsTest : public CoreTest {
 protected:
  std::string id;

  void SetUp() override {
    CoreTest::SetUp();
    create();
  }

  void create() {
    client->create("h");
    auto path = client->info("h").container_path();
    id = path.substr(path.rfind('/') + 1);
  }

  static LimitMemoryRequest memory(uint64_t bytes) {
    auto request = named<LimitMemoryRequest>("h");
    request.set_limit_in_bytes(bytes);
    return request;
  }

  uint64_t limitMemory(const LimitMemoryRequest& request) {
    return client->call<LimitMemoryResponse>(Message::LimitMemory, request).limit_in_bytes();
  }

  static LimitBandwidthRequest bandwidth(uint64_t rate, uint64_t burst) {
    auto request = named<LimitBandwidthRequest>("h");
    request.set_rate(rate);
    request.set_burst(burst);
    return request;
  }

  LimitDiskResponse limitDisk(const LimitDiskRequest& request) {
    return client->call<LimitDiskResponse>(Message::LimitDisk, request);
  }

  void stop() { client->call<StopResponse>(Message::Stop, named<StopRequest>("h")); }
};

class StatisticsChoiceTest : public LimitsTest {
 protected:
  void SetUp() override { FlowTest::SetUp(); }
};

}  // namespace warden::frontend
