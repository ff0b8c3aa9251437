// What /healthz and /metrics say of a real server, in good times and in bad ones.

#include "tests/integration/health-test.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

namespace warden::test {

HttpAnswer parseHttp(const std::string& received) {
  HttpAnswer answer;
  size_t end = received.find("\r\n\r\n");
  if (end == std::string::npos || !received.starts_with("HTTP/1.1 ")) return answer;
  answer.status = std::stoi(received.substr(9));
  answer.headers = received.substr(0, end);
  answer.body = received.substr(end + 4);
  return answer;
}

void HealthTest::startHealth(ServerOptions options) {
  options.config["health_check_server.port"] = std::to_string(HEALTH_PORT);
  start(std::move(options));
}

HttpAnswer HealthTest::exchange(const std::string& request) {
  auto connection = dial();
  if (!connection) return {};
  connection->send(request);
  return parseHttp(connection->receive(1 << 20, patient(ANSWER)));
}

HttpAnswer HealthTest::get(const std::string& path) {
  return exchange("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
}

bool HealthTest::becomes(int status, const std::string& cause) {
  return waitUntil([&]() {
    auto answer = health();
    return answer.status == status && answer.body.find(cause) != std::string::npos;
  });
}

std::map<std::string, double> HealthTest::metrics() {
  std::map<std::string, double> result;
  static const std::regex sample(R"(([a-z_]+(?:\{[a-z_]+="[^"]*"(?:,[a-z_]+="[^"]*")*\})?) (\S+))");
  auto answer = get("/metrics");
  for (auto& line : splitLines(answer.body)) {
    if (line.starts_with("# HELP ") || line.starts_with("# TYPE ")) continue;
    std::smatch match;
    if (!std::regex_match(line, match, sample)) throw std::runtime_error("no sample: " + line);
    if (!result.emplace(match[1], std::stod(match[2])).second) {
      throw std::runtime_error("said twice: " + line);
    }
  }
  return result;
}

bool HealthTest::reaches(const std::string& metric, double value) {
  return waitUntil([&]() {
    auto all = metrics();
    auto found = all.find(metric);
    return found != all.end() && found->second == value;
  });
}

namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

// --- what is answered

TEST_F(HealthTest, answersThatAllIsWell) {
  startHealth();
  auto answer = health();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "ok\n");
  EXPECT_EQ(get("/healthz?from=monitor").status, 200);
  auto root = get("/");
  EXPECT_EQ(root.status, 200);
  EXPECT_EQ(root.body, "ok\n");
}

TEST_F(HealthTest, answersHeadWithoutABody) {
  startHealth();
  for (std::string path : {"/", "/healthz", "/metrics"}) {
    auto answer = exchange("HEAD " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(answer.status, 200) << path;
    EXPECT_NE(answer.headers.find("Content-Length: "), std::string::npos) << path;
    EXPECT_EQ(answer.body, "") << path;
  }
}

TEST_F(HealthTest, isServedToProgramsOfTheHost) {
  startHealth();
  std::string url = "http://127.0.0.1:" + std::to_string(HEALTH_PORT);
  auto curl = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"/usr/bin/curl", "-sS", "--max-time", "20"});
    return server().network().run(arguments).out;
  };
  if (!fs::exists("/usr/bin/curl")) GTEST_SKIP() << "no curl";
  EXPECT_EQ(curl({url + "/healthz"}), "ok\n");
  EXPECT_NE(curl({"-i", url + "/metrics"}).find("text/plain; version=0.0.4"), std::string::npos);
  EXPECT_EQ(curl({"-o", "/dev/null", "-w", "%{http_code}", "-d", "x=1", url + "/healthz"}), "405");
}

TEST_F(HealthTest, refusesOtherMethodsAndPaths) {
  startHealth();
  for (std::string method : {"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"}) {
    auto answer = exchange(method +
                           " /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n"
                           "Connection: close\r\n\r\n");
    EXPECT_EQ(answer.status, 405) << method;
    EXPECT_NE(answer.headers.find("Allow: GET, HEAD"), std::string::npos) << method;
  }
  for (std::string path :
       {"/health", "/healthz/", "/metrics/../healthz", "/..", "//metrics", "/%2e"})
    EXPECT_EQ(get(path).status, 404) << path;
}

TEST_F(HealthTest, listensOnLoopbackAlone) {
  startHealth();
  server().network().output({"/sbin/ip", "address", "add", "192.0.2.1/32", "dev", "lo"});
  EXPECT_FALSE(tryConnect(server().network(), "192.0.2.1", HEALTH_PORT, NO_ANSWER));
  EXPECT_TRUE(dial());
}

TEST_F(HealthTest, hasTwoMoreFilesOpenWhichAreOfItsOwnProcess) {
  startHealth();
  pid_t frontend = server().frontendPid();
  std::set<std::string> files;
  for (const auto& [number, target] : descriptorTable(frontend))
    if (target.starts_with("/proc/")) files.insert(target);
  std::string own = "/proc/" + std::to_string(frontend);
  EXPECT_EQ(files, (std::set<std::string>{own + "/fd", own + "/statm"}));
}

TEST_F(HealthTest, withoutThePortNothingListens) {
  start();
  EXPECT_FALSE(dial());
}

// --- figures

TEST_F(HealthTest, countsContainersJobsAndRequests) {
  startHealth();
  TestClient client = connect();
  std::string handle = client.create(), other = client.create();
  client.spawn(handle, "sleep 1000");
  uint32_t job = client.spawn(handle, "exit 3");
  client.link(handle, job);
  client.stop(other);
  client.expectError(destroyRequest("no such handle"));
  EXPECT_TRUE(reaches("warden_jobs", 1));
  auto all = metrics();
  EXPECT_EQ(all["warden_healthy"], 1);
  EXPECT_EQ(all["warden_containers{state=\"active\"}"], 1);
  EXPECT_EQ(all["warden_containers{state=\"stopped\"}"], 1);
  EXPECT_EQ(all["warden_connections"], 1);
  EXPECT_EQ(all["warden_requests_under_way"], 0);
  EXPECT_EQ(all["warden_requests_total{request=\"link\",outcome=\"done\"}"], 1);
  EXPECT_EQ(all["warden_requests_total{request=\"destroy\",outcome=\"failed\"}"], 1);
  EXPECT_GT(all["process_resident_memory_bytes"], 1e6);
  EXPECT_GT(all["process_open_fds"], 10);
  EXPECT_LT(all["process_open_fds"], all["process_max_fds"]);
  // Those of the process itself, as the kernel says.
  double open = openDescriptors(server().frontendPid()).size();
  EXPECT_NEAR(all["process_open_fds"], open, 8);
}

TEST_F(HealthTest, countsRequestsUnderWayAndClientsThatLeave) {
  startHealth();
  TestClient client = connect();
  std::string handle = client.create();
  {
    TestClient runner = connect();
    runner.send(runRequest(handle, "sleep 1000"));
    EXPECT_TRUE(reaches("warden_requests_under_way", 1));
  }
  EXPECT_TRUE(reaches("warden_requests_under_way", 0));
  EXPECT_EQ(metrics()["warden_requests_total{request=\"run\",outcome=\"gone\"}"], 1);
}

TEST_F(HealthTest, saysWhatClientsDoNotRead) {
  startHealth();
  TestClient client = connect();
  // An answer that nobody reads: more than the socket holds.
  client.send(echoRequest(std::string(800'000, 'm')));
  EXPECT_TRUE(waitUntil([&]() { return metrics()["warden_unread_response_bytes"] > 100'000; }));
  client.receive<EchoResponse>();
  EXPECT_TRUE(reaches("warden_unread_response_bytes", 0));
}

TEST_F(HealthTest, countsEventsAndSilentContainersAndIsHealthyAllTheSame) {
  startHealth();
  TestClient client = connect();
  std::string handle = client.create();
  pid_t wshd = server().wshdPid(handle);
  kill(wshd, SIGSTOP);
  client.expectError(runRequest(handle, "true"));
  EXPECT_TRUE(reaches("warden_silent_wshds", 1));
  EXPECT_EQ(
      metrics()["warden_events_total{event=\"the container's first process does not answer\"}"], 1);
  EXPECT_EQ(health().status, 200);
  kill(wshd, SIGCONT);
  EXPECT_TRUE(reaches("warden_silent_wshds", 0));
}

TEST_F(HealthTest, namesNothing) {
  startHealth();
  TestClient client = connect();
  std::string handle = "secret-handle-of-a-tenant";
  client.create(handle);
  std::string id = idOf(handle);
  client.output(handle, "echo secret-script");
  client.send(linkRequest(handle, 77));
  client.receiveError();
  for (std::string path : {"/metrics", "/healthz", "/secret-handle-of-a-tenant"}) {
    auto answer = get(path);
    for (const std::string& name : {handle, id, std::string("secret"), server().directory()}) {
      EXPECT_EQ(answer.body.find(name), std::string::npos) << answer.body;
      EXPECT_EQ(answer.headers.find(name), std::string::npos) << answer.headers;
    }
  }
}

TEST_F(HealthTest, aDestroyThatDoesNotEndIsCountedWhileItIsTriedAgain) {
  std::string freezer = "/sys/fs/cgroup/freezer";
  if (!fs::exists(freezer + "/cgroup.procs")) {
    GTEST_SKIP() << "no version 1 freezer: with version 2, SIGKILL ends what is frozen";
  }
  startHealth();
  TestClient client = connect();
  std::string id = client.create();
  client.spawn(id, "sleep 1000");
  std::string file = freezer + "/" + server().cgroupParent() + "/instance-" + id + "/freezer.state";
  writeFile(file, "FROZEN");
  KJ_DEFER(if (fs::exists(file)) writeFile(file, "THAWED"));
  ASSERT_TRUE(waitUntil([&]() { return readFile(file) == "FROZEN\n"; }));
  client.send(destroyRequest(id));
  EXPECT_TRUE(reaches("warden_containers_being_removed{held_up_by=\"processes\"}", 1));
  EXPECT_TRUE(waitUntil(
      [&]() { return metrics()["warden_containers_being_removed_oldest_seconds"] >= 2; }));
  EXPECT_EQ(metrics()["warden_containers{state=\"destroyed\"}"], 1);
  EXPECT_EQ(health().status, 200);
  writeFile(file, "THAWED");
  client.receive<DestroyResponse>();
  EXPECT_TRUE(reaches("warden_containers_being_removed{held_up_by=\"processes\"}", 0));
}

// --- bad times

TEST_F(HealthTest, saysWhenTheHelperDoesNotAnswer) {
  startHealth();
  kill(server().brokerPid(), SIGSTOP);
  KJ_DEFER(kill(server().brokerPid(), SIGCONT));
  EXPECT_TRUE(becomes(503, "helper does not answer"));
  EXPECT_EQ(metrics()["warden_helper_answers"], 0);
  EXPECT_EQ(metrics()["warden_healthy"], 0);
  connect().ping();
  kill(server().brokerPid(), SIGCONT);
  EXPECT_TRUE(becomes(200));
}

TEST_F(HealthTest, isThereAgainWithTheNextFrontendAndServer) {
  startHealth();
  std::string handle = connect().create();
  pid_t before = server().frontendPid();
  kill(before, SIGKILL);
  // Who asks meanwhile waits: the socket is the helper's. The first answer may come while the
  // container is still being taken over.
  auto first = health();
  if (first.status != 200) {
    EXPECT_EQ(first.status, 503);
    EXPECT_NE(first.body.find("are being taken over"), std::string::npos) << first.body;
  }
  EXPECT_TRUE(becomes(200));
  server().kill9();
  EXPECT_TRUE(waitUntil([&]() { return !dial(); })) << "nobody says that a dead server is well";
  server().start();
  EXPECT_TRUE(becomes(200));
  EXPECT_TRUE(reaches("warden_containers{state=\"active\"}", 1));
  destroyAll(server());
  warmUp(server());
  takeNewBaseline();
}

TEST_F(HealthTest, theHelpersDeathEndsTheAnswers) {
  startHealth();
  kill(server().brokerPid(), SIGKILL);
  server().waitForExit();
  EXPECT_TRUE(waitUntil([&]() { return !dial(); }));
  server().start();
  warmUp(server());
  takeNewBaseline();
}

class FullTrailHealthTest : public HealthTest {
 protected:
  std::string small;

  void SetUp() override {
    // Mounts of this process and the servers that it starts, and of nobody else.
    ASSERT_EQ(unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    std::string pattern = testDirectory() + "/warden-health-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    small = pattern;
    ASSERT_EQ(mount("tmpfs", small.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "size=2m,mode=0755"), 0);
    ServerOptions options;
    options.config["audit.helper"] = small + "/trail";
    startHealth(options);
  }
  void TearDown() override {
    HealthTest::TearDown();
    umount2(small.c_str(), MNT_DETACH);
    rmdir(small.c_str());
  }
};

TEST_F(FullTrailHealthTest, saysWhenTheAuditTrailCannotBeWritten) {
  TestClient client = connect();
  std::string id = client.create();
  std::ofstream(small + "/filler") << std::string(8 << 20, 'x');
  EXPECT_EQ(health().status, 200) << "some space is allocated ahead";
  for (int i = 0; i < 3000; ++i) {
    LimitCpuRequest request;
    request.set_handle(id);
    request.set_limit_in_shares(100 + i % 2);
    client.send(request);
    try {
      client.receive<LimitCpuResponse>();
    } catch (const ServerError&) {
      break;
    }
  }
  EXPECT_TRUE(becomes(503, "the audit trail cannot be written: No space left on device"));
  EXPECT_EQ(metrics()["warden_audit_trail_writable"], 0);
  EXPECT_EQ(health().body.find(small), std::string::npos);
  fs::remove(small + "/filler");
  EXPECT_TRUE(becomes(200));
}

// --- the start

TEST_F(HealthTest, aPortThatIsTakenIsAnErrorOfTheStart) {
  ServerOptions options;
  options.network = std::make_shared<NetworkNamespace>(NetworkNamespace::make());
  options.config["health_check_server.port"] = std::to_string(HEALTH_PORT);
  TcpListener other(*options.network, HEALTH_PORT, "127.0.0.1");
  TestServer taken(options);
  taken.launch();
  EXPECT_EQ(taken.waitForExit(), 1);
  std::string said = taken.logs();
  EXPECT_NE(said.find("warden.yml: health_check_server.port: cannot listen on 127.0.0.1:8900: "
                      "Address already in use: another program listens there"),
            std::string::npos)
      << said;
  expectNothingRemains(taken);
}

}  // namespace
}  // namespace warden::test
