#include "privhelper/audit-log.h"

#include <capnp/message.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <fstream>

#include "base-testing.h"
#include "base/audit-verify.h"

namespace warden::privhelper {
namespace {

using Json = nlohmann::ordered_json;

class AuditLogTest : public ::testing::Test {
 protected:
  test::TemporaryDirectory directory;
  ~AuditLogTest() noexcept override {}

  AuditLog log{open("operations"), open("requests")};

  AuditTrail open(const char* name) {
    int raw = ::open(directory.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return AuditTrail(Fd(raw), name, 1 << 30, 1);
  }

  std::vector<Json> records(const std::string& name) {
    std::vector<Json> result;
    std::ifstream in(directory.path + "/" + name);
    for (std::string line; std::getline(in, line);)
      result.push_back(Json::parse(line));
    EXPECT_TRUE(verifyAuditTrail(directory.path + "/" + name).findings.empty());
    return result;
  }

  template <typename Fill>
  Json recorded(Fill&& fill) {
    capnp::MallocMessageBuilder message;
    auto record = message.initRoot<schema::RequestRecord>();
    fill(record);
    log.recordRequest(record);
    return records("requests").back();
  }
};

TEST_F(AuditLogTest, namesThePeerOnWhoseBehalfItIs) {
  {
    AuditLog::OnBehalf outer(log, AuditPeer{10, 1000, 100, "/bin/agent", "agent.service"});
    log.record("create", "id", Outcome::DONE, nullptr, 7);
    {
      AuditLog::OnBehalf inner(log, AuditPeer{11, 1001, 101, "", ""});
      log.record("limit cpu", "id", Outcome::REFUSED, "no");
    }
    log.record("destroy", "id", Outcome::FAILED, "busy");
  }
  log.record("remove stale", "id", Outcome::DONE);
  auto lines = records("operations");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0]["peer"].dump(),
            R"({"pid":10,"uid":1000,"gid":100,"executable":"/bin/agent","unit":"agent.service"})");
  EXPECT_EQ(lines[1]["peer"].dump(), R"({"pid":11,"uid":1001,"gid":101})");
  EXPECT_EQ(lines[2]["peer"]["pid"], 10);
  EXPECT_FALSE(lines[3].contains("peer"));
}

TEST_F(AuditLogTest, aHostileFrontendsRecordIsOneBoundedLine) {
  std::string endless(100'000, '\n');
  auto bytes = kj::arrayPtr(reinterpret_cast<const kj::byte*>(endless.data()), endless.size());
  Json line = recorded([&](schema::RequestRecord::Builder record) {
    record.setRequest(endless.c_str());
    record.setHandle(bytes);
    record.setCause(bytes);
    record.setScriptSha256(endless.c_str());
    record.setOutcome(static_cast<schema::RequestRecord::Outcome>(77));
  });
  EXPECT_EQ(line["from"], "frontend");
  EXPECT_EQ(line["outcome"], "unknown");
  EXPECT_EQ(line["request"]["bytes"], endless.size());
  EXPECT_LT(line.dump().size(), 32'000u);
}

TEST_F(AuditLogTest, aRequestsPeerIsTheOneThatTheHelperKnowsNotTheOneThatIsTold) {
  capnp::MallocMessageBuilder message;
  auto record = message.initRoot<schema::RequestRecord>();
  record.setPid(1);
  record.setUid(0);
  AuditPeer known{10, 1000, 100, "/bin/agent", "agent.service"};
  log.recordRequest(record, &known);
  EXPECT_EQ(records("requests").back()["peer"].dump(),
            R"({"pid":10,"uid":1000,"gid":100,"executable":"/bin/agent","unit":"agent.service"})");
  log.recordRequest(record);
  EXPECT_EQ(records("requests").back()["peer"].dump(),
            R"({"pid":1,"uid":0,"gid":0,"attested":false})");
}

TEST_F(AuditLogTest, aFrontendCannotPretendToBeTheHelper) {
  Json line = recorded([&](schema::RequestRecord::Builder record) {
    record.setRequest("create\",\"from\":\"privhelper");
  });
  EXPECT_EQ(line["from"], "frontend");
  EXPECT_EQ(line["request"], "create\",\"from\":\"privhelper");
}

TEST_F(AuditLogTest, mayGoOnWithoutRecordsOnlyWhereThatIsConfigured) {
  // A file that may not grow is as good as a full disk.
  signal(SIGXFSZ, SIG_IGN);
  int status = test::inChild([&]() {
    CHILD_EXPECT(log.reasonToRefuse() == nullptr);
    rlimit none{1, 1};
    log.note("begun");
    CHILD_EXPECT(setrlimit(RLIMIT_FSIZE, &none) == 0);
    log.record("create", "id", Outcome::DONE);
    CHILD_EXPECT(log.reasonToRefuse() != nullptr);
    AuditLog lax{open("operations"), open("requests"), AuditOptions::WhenUnwritable::CONTINUE};
    lax.record("create", "id", Outcome::DONE);
    CHILD_EXPECT(lax.reasonToRefuse() == nullptr);
    return 0;
  });
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace warden::privhelper
