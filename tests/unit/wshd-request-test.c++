#include "wshd/request.h"

#include <capnp/message.h>
#include <errno.h>
#include <gtest/gtest.h>
#include <string.h>

#include <string>

#include "base/packet.h"

namespace warden {
namespace {

capnp::Data::Reader bytesOf(const std::string& text) {
  return kj::arrayPtr(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

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

  void setHome(const std::string& home) { job.setHome(bytesOf(home)); }

  void expectRefusal(const char* step) {
    auto result = planSpawn(job.asReader());
    ASSERT_TRUE(result.is<Failure>());
    EXPECT_STREQ(result.get<Failure>().step.cStr(), step);
    EXPECT_EQ(result.get<Failure>().error, EINVAL);
  }
};

TEST_F(WshdRequestTest, laysOutAValidJob) {
  auto environment = job.initEnvironment(2);
  environment.set(0, bytesOf("HOME=/home/vcap"));
  environment.set(1, bytesOf("EMPTY="));
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
    job.initEnvironment(1).set(0, bytesOf(text));
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

class WshdCopyRequestTest : public testing::Test {
 protected:
  WshdCopyRequestTest() : copy(message.initRoot<schema::CopyFiles>()) {
    copy.setUid(1000);
    copy.setGid(1001);
    copy.setHome(bytesOf("/home/vcap"));
    copy.setPath(bytesOf("files/"));
    copy.setPack();
  }
  ~WshdCopyRequestTest() noexcept override {}

  capnp::MallocMessageBuilder message;
  schema::CopyFiles::Builder copy;

  CopyPlan planned() {
    auto result = planCopy(copy.asReader());
    EXPECT_TRUE(result.is<CopyPlan>());
    return result.is<CopyPlan>() ? kj::mv(result.get<CopyPlan>()) : CopyPlan{};
  }

  void expectRefusal(const char* step, int error) {
    auto result = planCopy(copy.asReader());
    ASSERT_TRUE(result.is<Failure>());
    EXPECT_STREQ(result.get<Failure>().step.cStr(), step);
    EXPECT_EQ(result.get<Failure>().error, error);
  }
};

TEST_F(WshdCopyRequestTest, beginsAtTheHomeDirectoryUnlessThePathIsAbsolute) {
  copy.initGroups(1).set(0, 5);
  auto plan = planned();
  EXPECT_EQ(plan.uid, 1000u);
  EXPECT_EQ(plan.gid, 1001u);
  ASSERT_EQ(plan.groups.size(), 1u);
  EXPECT_EQ(plan.groups[0], 5u);
  EXPECT_TRUE(plan.pack);
  EXPECT_STREQ(plan.path.cStr(), "/home/vcap/files/");
  copy.setPath(bytesOf("/tmp/x"));
  copy.setUnpack();
  plan = planned();
  EXPECT_FALSE(plan.pack);
  EXPECT_STREQ(plan.path.cStr(), "/tmp/x");
}

TEST_F(WshdCopyRequestTest, isRefusedForRoot) {
  copy.setUid(0);
  expectRefusal("check the user id: root copies nothing", EPERM);
}

TEST_F(WshdCopyRequestTest, isRefusedForTheIdThatMeansUnchanged) {
  copy.setUid(0xffffffff);
  expectRefusal("check the user id", EINVAL);
  copy.setUid(1000);
  copy.setGid(0xffffffff);
  expectRefusal("check the user id", EINVAL);
  copy.setGid(1001);
  copy.initGroups(2).set(1, 0xffffffff);
  expectRefusal("check the groups", EINVAL);
}

TEST_F(WshdCopyRequestTest, isRefusedForAHomeThatIsNoAbsolutePath) {
  copy.setPath(bytesOf("/tmp/x"));  // which needs none
  for (auto& home : {std::string(), std::string("home"), std::string("/a\0b", 4),
                     "/" + std::string(4095, 'x')}) {
    copy.setHome(bytesOf(home));
    expectRefusal("check the home directory", EINVAL);
  }
}

TEST_F(WshdCopyRequestTest, isRefusedForAPathThatIsEmptyOrHasANul) {
  for (auto& path :
       {std::string(), std::string("\0", 1), std::string("a\0b", 3), std::string("/a\0", 3)}) {
    copy.setPath(bytesOf(path));
    expectRefusal("check the path", EINVAL);
  }
}

TEST_F(WshdCopyRequestTest, isRefusedForAPathThatIsTooLongWithTheHomeDirectory) {
  std::string longest(4095 - strlen("/home/vcap/"), 'x');
  copy.setPath(bytesOf(longest));
  EXPECT_EQ(planned().path.size(), 4095u);
  copy.setPath(bytesOf(longest + 'x'));
  expectRefusal("check the path", ENAMETOOLONG);
  copy.setPath(bytesOf("/" + std::string(4094, 'x')));
  EXPECT_EQ(planned().path.size(), 4095u);
  copy.setPath(bytesOf("/" + std::string(4095, 'x')));
  expectRefusal("check the path", ENAMETOOLONG);
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
