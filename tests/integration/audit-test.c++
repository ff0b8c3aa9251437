// The audit trails of a real server: what clients ask and what the helper does is in them, they are
// whole whatever happens to the server, and without them nothing privileged begins.

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/support/server-test.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::vector<Json> recordsOf(const std::string& path) {
  std::vector<Json> records;
  for (auto& line : splitLines(readFile(path))) {
    if (!line.empty()) records.push_back(Json::parse(line));
  }
  return records;
}

std::vector<Json> select(const std::string& path, const std::string& request,
                         const std::string& outcome) {
  std::vector<Json> found;
  for (auto& record : recordsOf(path)) {
    if (record.value("request", "") == request && record.value("outcome", "") == outcome) {
      found.push_back(record);
    }
  }
  return found;
}

class AuditTest : public ServerTest {
 protected:
  std::string log;
  std::string trails;  // a directory, removed when the server has ended

  ~AuditTest() override {
    if (!trails.empty()) fs::remove_all(trails);
  }

  void startAt(const std::string& logPath = "") {
    ServerOptions options;
    if (!logPath.empty()) options.config["logging.file"] = logPath;
    start(options);
    log = logPath.empty() ? server().logPath() : logPath;
  }

  std::string operations() { return log + ".audit"; }
  std::string requests() { return log + ".requests"; }

  void expectWhole() {
    auto result =
        runProgram({WARDEN_BIN_DIR "/warden", "audit", "verify", operations(), requests()});
    EXPECT_EQ(result.exitStatus, 0) << result.out << result.err;
  }

  // The record of a request comes after its answer.
  std::vector<Json> await(const std::string& request, const std::string& outcome,
                          size_t count = 1) {
    std::vector<Json> found;
    waitUntil([&]() {
      found = select(requests(), request, outcome);
      return found.size() >= count;
    });
    return found;
  }
};

TEST_F(AuditTest, requestsAndOperationsAreRecordedWithWhoAskedAndWhatCameOfIt) {
  startAt();
  TestClient client = connect();
  size_t before = await("create", "done").size();
  size_t runsBefore = await("run", "done").size();
  std::string id = client.create();
  client.run(id, "echo TOP-SECRET-SCRIPT");
  EXPECT_THROW(client.destroy("no\nsuch\xff"), ServerError);
  client.ping();
  client.list();

  auto created = await("create", "done", before + 1).back();
  EXPECT_EQ(created["from"], "frontend");
  EXPECT_EQ(created["handle"], id);
  EXPECT_EQ(created["peer"]["pid"], getpid());
  EXPECT_EQ(created["peer"]["uid"], geteuid());
  EXPECT_EQ(created["peer"]["gid"], getegid());
  std::string self = fs::read_symlink("/proc/self/exe");
  EXPECT_EQ(created["peer"]["executable"], self);
  EXPECT_GT(created["duration_us"], 0);
  auto run = await("run", "done", runsBefore + 1).back();
  EXPECT_EQ(run["handle"], id);
  EXPECT_EQ(run["script"]["bytes"], std::string("echo TOP-SECRET-SCRIPT").size());
  EXPECT_EQ(run["script"]["sha256"].get<std::string>().size(), 64u);
  auto destroyed = await("destroy", "failed").back();
  EXPECT_EQ(destroyed["cause"], "unknown handle");
  EXPECT_EQ(destroyed["handle"]["base64"], "bm8Kc3VjaP8=");
  for (const char* read : {"ping", "list"})
    EXPECT_TRUE(select(requests(), read, "done").empty()) << read;

  auto made = select(operations(), "create", "done").back();
  EXPECT_EQ(made["from"], "privhelper");
  EXPECT_EQ(made["container"], id);
  EXPECT_EQ(made["peer"], created["peer"]);
  expectWhole();
}

TEST_F(AuditTest, trailsGoWhereTheConfigurationSaysAndRecordReadsIfAsked) {
  trails = testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-audit";
  fs::create_directory(trails);
  startWith({{"audit.helper", trails + "/a"},
             {"audit.frontend", trails + "/b"},
             {"audit.record_reads", "true"},
             {"audit.keep", "2"}});
  TestClient client = connect();
  client.ping();
  client.destroy(client.create());
  EXPECT_TRUE(waitUntil([&]() { return !select(trails + "/b", "destroy", "done").empty(); }));
  EXPECT_FALSE(select(trails + "/b", "ping", "done").empty());
  EXPECT_FALSE(select(trails + "/a", "create", "done").empty());
  auto result =
      runProgram({WARDEN_BIN_DIR "/warden", "audit", "verify", trails + "/a", trails + "/b"});
  EXPECT_EQ(result.exitStatus, 0) << result.out << result.err;
}

TEST_F(AuditTest, whatTheRulesForbidIsOnRecordAsRefused) {
  ServerOptions options;
  options.config["server.unix_domain_permissions"] = "0777";
  options.config["access.otherwise"] = "deny";
  start(options);
  log = server().logPath();
  auto denied =
      runProgram({"/usr/bin/setpriv", "--reuid", "60001", "--regid", "60001", "--clear-groups",
                  WARDEN_BIN_DIR "/warden", "--socket", server().socketPath(), "create"});
  EXPECT_NE(denied.exitStatus, 0);
  auto refused = await("create", "refused");
  ASSERT_EQ(refused.size(), 1u) << denied.out << denied.err;
  EXPECT_EQ(refused[0]["peer"]["uid"], 60001);
  EXPECT_NE(refused[0]["cause"].get<std::string>().find("access.otherwise"), std::string::npos);
}

TEST_F(AuditTest, noLogHasTheTextOfAScript) {
  startAt();
  TestClient client = connect();
  std::string id = client.create();
  client.run(id, "true TOP-SECRET-SCRIPT");
  client.link(id, client.spawn(id, "false TOP-SECRET-SCRIPT"));
  await("link", "done");
  for (auto& entry : fs::directory_iterator(server().directory())) {
    if (!entry.is_regular_file()) continue;
    EXPECT_EQ(readFile(entry.path()).find("TOP-SECRET"), std::string::npos) << entry.path();
  }
}

TEST_F(AuditTest, aClientThatGoesAndOneThatSpeaksNonsenseAreRecorded) {
  startAt();
  std::string id = connect().create();
  {
    TestClient client = connect();
    LinkRequest link;
    link.set_handle(id);
    link.set_job_id(connect().spawn(id, "sleep 1000"));
    client.send(link);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  auto gone = await("link", "failed");
  ASSERT_EQ(gone.size(), 1u);
  EXPECT_NE(gone[0]["cause"].get<std::string>().find("gone"), std::string::npos);
}

TEST_F(AuditTest, trailsAreWholeAfterLoadAndAfterEachKindOfDeath) {
  startAt();
  std::atomic<bool> ending = false;
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&]() {
      try {
        while (!ending) {
          TestClient client = connect();
          std::string id = client.create();
          for (int j = 0; j < 20; ++j)
            client.run(id, "true");
          client.destroy(id);
        }
      } catch (...) {
        // The server is killed meanwhile.
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::seconds(2));
  expectWhole();
  server().kill9();
  ending = true;
  for (auto& thread : clients)
    thread.join();
  server().start();
  expectWhole();
  EXPECT_GT(await("run", "done").size(), 20u);

  // The frontend alone: its successor's records go on in the same chain.
  pid_t frontend = server().frontendPid();
  kill(frontend, SIGKILL);
  ASSERT_TRUE(waitUntil([&]() { return server().findFrontend().value_or(frontend) != frontend; }));
  server().waitUntilServing();
  size_t before = select(requests(), "create", "done").size();
  warmUp(server());
  EXPECT_EQ(await("create", "done", before + 1).size(), before + 1);
  expectWhole();
  // Those that lived when the server was killed live on.
  destroyAll(server());
  takeNewBaseline();
}

TEST_F(AuditTest, frontendHasNoDescriptorOfATrail) {
  startAt();
  for (const auto& [number, target] : descriptorTable(server().frontendPid())) {
    EXPECT_EQ(target.find(".audit"), std::string::npos) << target;
    EXPECT_EQ(target.find(".requests"), std::string::npos) << target;
  }
}

class FullTrailTest : public AuditTest {
 protected:
  std::string small;

  void SetUp() override {
    // Mounts of this process and the servers that it starts, and of nobody else.
    ASSERT_EQ(unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    std::string pattern = testDirectory() + "/warden-audit-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    small = pattern;
    ASSERT_EQ(mount("tmpfs", small.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "size=2m,mode=0755"), 0);
    startAt(small + "/warden.log");
  }

  void TearDown() override {
    AuditTest::TearDown();
    umount2(small.c_str(), MNT_DETACH);
    rmdir(small.c_str());
  }

  void fill() { std::ofstream(small + "/filler") << std::string(8 << 20, 'x'); }
};

TEST_F(FullTrailTest, nothingPrivilegedBeginsUntilThereIsRoomAgain) {
  TestClient client = connect();
  std::string id = client.create();
  fill();
  // What was allocated ahead is used up first; then each is refused, and says why.
  std::string cause;
  for (int i = 0; i < 3000 && cause.empty(); ++i) {
    try {
      LimitCpuRequest request;
      request.set_handle(id);
      request.set_limit_in_shares(100 + i % 2);
      client.call(request);
    } catch (const ServerError& e) {
      cause = e.what();
    }
  }
  EXPECT_NE(cause.find("cannot be written: No space left on device"), std::string::npos) << cause;
  auto refused = [&](auto&& call) {
    try {
      call();
      return false;
    } catch (const ServerError& e) {
      return std::string(e.what()).find("the audit trail") != std::string::npos;
    }
  };
  EXPECT_TRUE(refused([&]() { client.create(); }));
  NetInRequest port;
  port.set_handle(id);
  EXPECT_TRUE(refused([&]() { client.call(port); }));
  // What takes away goes on, and so do jobs and questions.
  EXPECT_EQ(client.info(id).state(), "active");
  EXPECT_EQ(client.output(id, "echo still here"), "still here\n");
  client.destroy(id);
  EXPECT_TRUE(client.list().empty());

  fs::remove(small + "/filler");
  client.destroy(client.create());
  bool said = false;
  for (auto& trail : {operations(), requests()}) {
    for (auto& record : recordsOf(trail))
      said = said || record.value("message", "") == "the trail can be written again";
  }
  EXPECT_TRUE(said);
  EXPECT_FALSE(await("create", "failed").empty()) << "what was refused is recorded, too";
  expectWhole();
  EXPECT_NE(readFile(server().directory() + "/stderr").find("cannot be written"),
            std::string::npos);
}

}  // namespace
}  // namespace warden::test
