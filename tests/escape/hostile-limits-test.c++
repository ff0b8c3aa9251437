// Hostile requests for limits of a container: each is refused or fails, or does no harm.

#include "tests/escape/hostile-test.h"

namespace warden::test {
namespace {

constexpr char ID[] = "0123456789b";
constexpr const char* FOREIGN_IDS[] = {"",
                                       "..",
                                       "../01234567",
                                       "0123456789b/../0123456789b",
                                       "0123456789B",
                                       "vvvvvvvvvvv",  // well formed, of nobody
                                       "00000000000"};

class HostileLimitsTest : public HostileFrontendTest {
 protected:
  void SetUp() override {
    HostileFrontendTest::SetUp();
    auto created = helper->create(ID, 3);
    ASSERT_TRUE(answered(created, schema::HelperReply::CREATED));
  }

  Reply call(const HelperConnection::Fill& fill) {
    auto reply = helper->call(fill);
    KJ_REQUIRE(reply.has_value(), "no reply", server->logs().c_str());
    return kj::mv(*reply);
  }
};

TEST_F(HostileLimitsTest, everyRequestIsRefusedForIdsOfNoContainer) {
  auto before = networkObjects(server->network());
  std::string planted = server->depotPath() + "/vvvvvvvvvvv";
  ASSERT_EQ(mkdir(planted.c_str(), 0755), 0);
  for (const char* id : FOREIGN_IDS) {
    SCOPED_TRACE(id);
    for (auto fill : CONTAINER_REQUESTS)
      expectRefused([&](auto request) { fill(request, id); });
  }
  EXPECT_EQ(rmdir(planted.c_str()), 0);
  EXPECT_EQ(networkObjects(server->network()), before);
}

TEST_F(HostileLimitsTest, everyRequestIsRefusedWithoutFields) {
  expectRefused([](auto request) { request.initLimitMemory(); });
  expectRefused([](auto request) { request.initLimitCpu(); });
  expectRefused([](auto request) { request.initLimitDisk(); });
  expectRefused([](auto request) { request.initLimitBandwidth(); });
  expectRefused([](auto request) { request.initMapPort(); });
  expectRefused([](auto request) { request.initAllowOut(); });
}

TEST_F(HostileLimitsTest, everyRequestIsRefusedWithDescriptors) {
  Pipe pipe = makePipe();
  int fds[] = {pipe.readEnd, pipe.writeEnd};
  for (auto fill : CONTAINER_REQUESTS)
    expectRefused([&](auto request) { fill(request, ID); }, kj::arrayPtr(fds, 2));
}

TEST_F(HostileLimitsTest, everyRequestIsRefusedOnceTheContainerIsDestroyed) {
  auto gone = helper->destroy(ID);
  ASSERT_TRUE(answered(gone, schema::HelperReply::DONE));
  for (auto fill : CONTAINER_REQUESTS)
    expectRefused([&](auto request) { fill(request, ID); });
}

TEST_F(HostileLimitsTest, everyRequestIsRefusedWhileTheContainerIsBeingDestroyed) {
  ASSERT_TRUE(helper->sendBytes(encode([](schema::HelperRequest::Builder request) {
    request.setSequence(9001);
    request.initDestroy().setId(ID);
  })));
  for (auto fill : CONTAINER_REQUESTS)
    expectRefused([&](auto request) { fill(request, ID); });
}

TEST_F(HostileLimitsTest, extremeLimitsAreAnsweredAndHarmNobody) {
  for (uint64_t value : {uint64_t(0), uint64_t(1), uint64_t(4095), uint64_t(1) << 62,
                         uint64_t(1) << 63, UINT64_MAX}) {
    SCOPED_TRACE(value);
    call([&](auto request) {
      auto limit = request.initLimitCpu();
      limit.setId(ID);
      limit.setShares(value);
    });
    call([&](auto request) {
      auto limit = request.initLimitDisk();
      limit.setId(ID);
      auto limits = limit.initLimits();
      limits.setBlocksSoft(value);
      limits.setBlocksHard(value);
      limits.setInodesSoft(value);
      limits.setInodesHard(value);
    });
    if (value == 0) continue;
    auto reply = call([&](auto request) {
      auto limit = request.initLimitBandwidth();
      limit.setId(ID);
      limit.setRate(value);
      limit.setBurst(value);
    });
    EXPECT_EQ(reply.which, schema::HelperReply::DONE) << reply.text;
  }
  // Memory last: what it does to wshd ends the container, and nothing else.
  for (uint64_t value : {UINT64_MAX, uint64_t(1) << 63, uint64_t(4096), uint64_t(1), uint64_t(0)}) {
    call([&](auto request) {
      auto limit = request.initLimitMemory();
      limit.setId(ID);
      limit.setBytes(value);
    });
  }
  ASSERT_TRUE(isAlive(server->brokerPid()));
}

TEST_F(HostileLimitsTest, aBandwidthOfNothingIsRefused) {
  for (auto [rate, burst] : {std::pair<uint64_t, uint64_t>{0, 1000}, {1000, 0}, {0, 0}}) {
    expectRefused([&, rate = rate, burst = burst](auto request) {
      auto limit = request.initLimitBandwidth();
      limit.setId(ID);
      limit.setRate(rate);
      limit.setBurst(burst);
    });
  }
}

}  // namespace
}  // namespace warden::test
