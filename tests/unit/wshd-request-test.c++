#include "wshd/request.h"

#include <capnp/message.h>
#include <errno.h>
#include <gtest/gtest.h>
#include <string.h>

#include <string>

#include "base/packet.h"

namespace warden {
namespace {

class WshdRequestTest : public testing::Test {
 protected:
  WshdRequestTest() : job(message.initRoot<schema::SpawnJob>()) {
    job.setJobId(7);
    job.setUid(1000);
    job.setGid(1001);
    setHome("/home/vcap");
  }
  ~WshdRequestTest() noexcept override {}

  capnp::MallocMessageBuilder message;
  schema::SpawnJob::Builder job;

  static capnp::Data::Reader data(const std::string& text) {
    return kj::arrayPtr(reinterpret_cast<const kj::byte*>(text.data()), text.size());
  }
  void setHome(const std::string& home) { job.setHome(data(home)); }

  void expectRefusal(const char* step) {
    auto result = planSpawn(job.asReader());
    ASSERT_TRUE(result.is<Failure>());
    EXPECT_STREQ(result.get<Failure>().step.cStr(), step);
    EXPECT_EQ(result.get<Failure>().error, EINVAL);
  }
};

TEST_F(WshdRequestTest, laysOutAValidJob) {
  auto environment = job.initEnvironment(2);
  environment.set(0, data("HOME=/home/vcap"));
  environment.set(1, data("EMPTY="));
  auto result = planSpawn(job.asReader());
  ASSERT_TRUE(result.is<SpawnPlan>());
  auto& plan = result.get<SpawnPlan>();
  EXPECT_EQ(plan.jobId, 7u);
  EXPECT_EQ(plan.uid, 1000u);
  EXPECT_EQ(plan.gid, 1001u);
  EXPECT_STREQ(plan.home.cStr(), "/home/vcap");
  EXPECT_STREQ(plan.environment[0], "HOME=/home/vcap");
  EXPECT_STREQ(plan.environment[1], "EMPTY=");
  EXPECT_EQ(plan.environment[2], nullptr);
}

TEST_F(WshdRequestTest, refusesTheIdThatMeansUnchanged) {
  job.setUid(0xffffffff);
  expectRefusal("check the user id");
  job.setUid(0);
  job.setGid(0xffffffff);
  expectRefusal("check the user id");
  job.setGid(0);
  job.initGroups(1).set(0, 0xffffffff);
  expectRefusal("check the groups");
}

TEST_F(WshdRequestTest, refusesAHomeThatIsNoAbsolutePath) {
  for (auto& home : {std::string(), std::string("home"), std::string("/a\0b", 4),
                     "/" + std::string(4096, 'x')}) {
    setHome(home);
    expectRefusal("check the home directory");
  }
}

TEST_F(WshdRequestTest, refusesAMalformedAssignment) {
  for (auto& text :
       {std::string(), std::string("=x"), std::string("NAME"), std::string("A=\0", 3)}) {
    job.initEnvironment(1).set(0, data(text));
    expectRefusal("check the environment");
  }
}

TEST_F(WshdRequestTest, refusesALimitThatIsUnknownOrRepeated) {
  job.initLimits(1)[0].setResource(16);
  expectRefusal("check the limits");
  job.initLimits(2);  // twice RLIMIT_CPU
  expectRefusal("check the limits");
  job.initLimits(17);
  expectRefusal("check the limits");
}

TEST(WshdSignalTest, acceptsOnlyWhatKillDelivers) {
  EXPECT_FALSE(isSignal(-1));
  EXPECT_FALSE(isSignal(0));
  EXPECT_TRUE(isSignal(1));
  EXPECT_TRUE(isSignal(64));
  EXPECT_FALSE(isSignal(65));
}

}  // namespace
}  // namespace warden
