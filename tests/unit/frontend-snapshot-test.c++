#include "frontend/snapshot.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "tests/unit/frontend-test-peer.h"

namespace warden::frontend {
namespace {

using Json = nlohmann::ordered_json;

ContainerUser user(const char* name, uint32_t id) {
  return {kj::str(name), id, id + 1, kj::arr(id + 2, id + 3), kj::str("/home/", name)};
}

ContainerSnapshot example() {
  ContainerSnapshot snapshot;
  snapshot.id = "1j1552j3ite";
  snapshot.handle = std::string("h\xff\0/\n", 5);
  snapshot.stopped = true;
  snapshot.ranOutOfMemory = true;
  snapshot.events = {"out of memory"};
  snapshot.graceTime = 300;
  snapshot.vcap = user("vcap", 10000);
  snapshot.root = user("root", 0);
  snapshot.jobs[7] = OutputOptions{true, std::nullopt};
  snapshot.jobs[9] = OutputOptions{false, std::string("tag\xfe")};
  snapshot.lastJobId = 12;
  snapshot.limits.memory = 1 << 20;
  snapshot.limits.disk = DiskLimits{1, 2, 3, 4};
  snapshot.limits.bandwidth = Bandwidth{5, 6};
  snapshot.network = "10.254.0.2";
  snapshot.uid = 10000;
  snapshot.netIn = {{61001, 80}};
  OutRule rule;
  rule.addresses = {1, 2};
  rule.protocol = schema::Protocol::ICMP;
  rule.icmpType = 8;
  rule.log = true;
  snapshot.netOut = {rule};
  return snapshot;
}

ContainerSnapshot decode(const std::string& text) {
  return decodeSnapshot(kj::arrayPtr(text.data(), text.size()));
}

bool isRefused(const std::string& text) {
  return kj::runCatchingExceptions([&]() { decode(text); }) != nullptr;
}

TEST(SnapshotTest, holdsEverythingThatIsPutIn) {
  std::string text = encodeSnapshot(example());
  ContainerSnapshot read = decode(text);
  EXPECT_TRUE(read.network.empty() && read.netIn.empty() && read.netOut.empty());
  read.network = example().network;
  read.uid = example().uid;
  read.netIn = example().netIn;
  read.netOut = example().netOut;
  EXPECT_EQ(encodeSnapshot(read), text);
  EXPECT_EQ(read.handle, example().handle);
  EXPECT_TRUE(read.stopped);
  EXPECT_EQ(read.graceTime, 300u);
  EXPECT_TRUE(read.jobs.at(7).discard);
  EXPECT_EQ(*read.jobs.at(9).logTag, "tag\xfe");
  EXPECT_EQ(read.vcap.groups.size(), 2u);
  EXPECT_EQ(read.limits.disk->inodesHard, 4u);
  EXPECT_FALSE(read.limits.cpu.has_value());
}

TEST(SnapshotTest, hasTheFieldsThatOthersRead) {
  Json json = Json::parse(encodeSnapshot(example()));
  for (const char* key : {"state", "events", "grace_time", "jobs", "limits", "resources"})
    EXPECT_TRUE(json.contains(key)) << key;
  for (const char* key :
       {"handle", "container_id", "network", "uid", "ports", "net_in", "net_out"}) {
    EXPECT_TRUE(json["resources"].contains(key)) << key;
  }
  EXPECT_EQ(json["resources"]["ports"], Json::array({61001}));
}

TEST(SnapshotTest, refusesEveryCutOfItself) {
  std::string text = encodeSnapshot(example());
  text.pop_back();
  for (size_t length = 0; length < text.size(); ++length)
    EXPECT_TRUE(isRefused(text.substr(0, length))) << length;
}

TEST(SnapshotTest, refusesWrongTypesAndMissingFields) {
  Json whole = Json::parse(encodeSnapshot(example()));
  for (auto& [key, value] : whole.items()) {
    if (key == "grace_time") continue;
    Json without = whole;
    without.erase(key);
    EXPECT_TRUE(isRefused(without.dump())) << key;
    Json wrong = whole;
    wrong[key] = value.is_array() ? Json("text") : Json::array({Json::object()});
    EXPECT_TRUE(isRefused(wrong.dump())) << key;
  }
  Json version = whole;
  version["version"] = 2;
  EXPECT_TRUE(isRefused(version.dump()));
  Json state = whole;
  state["state"] = "destroyed";
  EXPECT_TRUE(isRefused(state.dump()));
  Json job = whole;
  job["jobs"] = {{"-1", {{"discard_output", false}}}};
  EXPECT_TRUE(isRefused(job.dump()));
  EXPECT_TRUE(isRefused(std::string(100000, '[')));
  EXPECT_TRUE(isRefused("null"));
}

class SnapshotFileTest : public ::testing::Test {
 protected:
  ~SnapshotFileTest() noexcept override = default;

  TemporaryDirectory directory;
  Fd state = directory.open();
};

TEST_F(SnapshotFileTest, replacesTheFileAndLeavesNoOther) {
  auto snapshot = example();
  writeSnapshot(state, encodeSnapshot(snapshot), false);
  snapshot.stopped = false;
  writeSnapshot(state, encodeSnapshot(snapshot), true);
  EXPECT_EQ(directory.list(), std::vector<std::string>{"snapshot.json"});
  EXPECT_FALSE(KJ_ASSERT_NONNULL(readSnapshot(state)).stopped);
}

TEST_F(SnapshotFileTest, readsNoneWhereThereIsNone) {
  EXPECT_TRUE(readSnapshot(state) == nullptr);
}

TEST_F(SnapshotFileTest, readsNoLinkAndNoFifo) {
  std::string path = directory.path() + "/snapshot.json";
  ASSERT_EQ(symlink("/etc/passwd", path.c_str()), 0);
  EXPECT_TRUE(kj::runCatchingExceptions([&]() { readSnapshot(state); }) != nullptr);
  ASSERT_EQ(unlink(path.c_str()), 0);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_TRUE(kj::runCatchingExceptions([&]() { readSnapshot(state); }) != nullptr);
}

TEST_F(SnapshotFileTest, removesOutputOfJobsThatAreGone) {
  for (const char* name : {"job-1.stdout", "job-1.stderr", "job-2.stdout", "job-12.stderr"})
    directory.write(name, "x");
  removeSpoolFilesBut(state, {{2, OutputOptions()}});
  EXPECT_EQ(directory.list(), std::vector<std::string>{"job-2.stdout"});
}

}  // namespace
}  // namespace warden::frontend
