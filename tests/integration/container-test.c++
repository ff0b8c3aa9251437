// The life of a container as a client sees it: create, handles, states, info, grace time, destroy.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <regex>
#include <set>
#include <thread>

#include "tests/support/server-test.h"
#include "tests/support/test-image.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

class ContainerTest : public ServerTest {
 protected:
  bool goneWithin(const std::string& handle, milliseconds time) {
    // Asks with connections that are opened before and after, never while a container must be
    // without any: a connection keeps what exists when it connects.
    return waitUntil([&]() { return !fs::exists(server().depotPath() + "/" + handle); }, time);
  }
};

TEST_F(ContainerTest, hasAnIdOfElevenCharactersAsItsHandle) {
  start();
  TestClient client = connect();
  std::string handle = client.create();
  EXPECT_TRUE(std::regex_match(handle, std::regex("[0-9a-v]{11}"))) << handle;
  EXPECT_EQ(client.list(), std::vector<std::string>{handle});
}

TEST_F(ContainerTest, hasAnIdAboveAllBefore) {
  start();
  TestClient client = connect();
  std::string last;
  for (int i = 0; i < 10; ++i) {
    std::string handle = client.create();
    EXPECT_GT(handle, last);
    last = handle;
    if (i % 2 == 0) client.destroy(handle);
  }
}

TEST_F(ContainerTest, hasAnIdAboveAllBeforeAlsoAfterARestart) {
  start();
  std::string first = connect().create();
  EXPECT_EQ(server().stop(), 0);
  server().start();
  EXPECT_GT(connect().create(), first);
  destroyAll(server());
  takeNewBaseline();
}

TEST_F(ContainerTest, takesAnyBytesAsItsHandle) {
  start();
  TestClient client = connect();
  std::string bytes;
  for (int i = 0; i < 256; ++i)
    bytes += static_cast<char>(i);
  std::vector<std::string> handles = {
      "",   "a/b",       "../../etc", "/",   ".",
      "..", "büro-日本", "\xff\xfe",  bytes, std::string("nul\0nul", 7)};
  for (const auto& handle : handles) {
    EXPECT_EQ(client.create(handle), handle);
    EXPECT_EQ(client.output(handle, "echo in it"), "in it\n");
    EXPECT_EQ(client.info(handle).state(), "active");
  }
  auto listed = client.list();
  EXPECT_EQ(std::set<std::string>(listed.begin(), listed.end()),
            std::set<std::string>(handles.begin(), handles.end()));
  for (const auto& handle : handles)
    client.destroy(handle);
  EXPECT_TRUE(client.list().empty());
}

TEST_F(ContainerTest, hasPathsMadeFromItsIdOnly) {
  start();
  TestClient client = connect();
  client.create("../../escape");
  std::string id = idOf("../../escape");
  EXPECT_TRUE(std::regex_match(id, std::regex("[0-9a-v]{11}"))) << id;
  EXPECT_EQ(client.info("../../escape").container_path(), server().depotPath() + "/" + id);
  EXPECT_EQ(server().depotEntries(), std::vector<std::string>{id});
}

TEST_F(ContainerTest, isRefusedWhenItsHandleIsTaken) {
  start();
  TestClient client = connect();
  client.create("twin");
  EXPECT_EQ(connect().expectError(createRequest("twin")),
            "container with handle: twin already exists.");
  EXPECT_EQ(client.list().size(), 1u);
}

TEST_F(ContainerTest, isRefusedWhenItsHandleIsTakenByOneThatIsBeingCreated) {
  start();
  int created = 0;
  int refused = 0;
  TestClient clients[] = {connect(), connect(), connect(), connect()};
  for (auto& client : clients)
    client.send(createRequest("twin"));
  for (auto& client : clients) {
    try {
      client.receive<CreateResponse>();
      ++created;
    } catch (const ServerError& e) {
      EXPECT_STREQ(e.what(), "container with handle: twin already exists.");
      ++refused;
    }
  }
  EXPECT_EQ(created, 1);
  EXPECT_EQ(refused, 3);
}

TEST_F(ContainerTest, givesItsHandleFreeWhenDestroyed) {
  start();
  TestClient client = connect();
  for (int i = 0; i < 3; ++i) {
    client.create("again");
    client.output("again", "test ! -e /tmp/mark && echo > /tmp/mark");
    client.destroy("again");
  }
}

TEST_F(ContainerTest, isUnknownBeforeAndAfter) {
  start();
  TestClient client = connect();
  client.create("x");
  client.destroy("x");
  EXPECT_EQ(client.expectError(infoRequest("x")), "unknown handle");
  EXPECT_EQ(client.expectError(destroyRequest("x")), "unknown handle");
  EXPECT_EQ(client.expectError(stopRequest("x")), "unknown handle");
  EXPECT_EQ(client.expectError(spawnRequest("x", "true")), "unknown handle");
  EXPECT_EQ(client.expectError(runRequest("x", "true")), "unknown handle");
  EXPECT_EQ(client.expectError(linkRequest("x", 1)), "unknown handle");
  StreamRequest stream;
  stream.set_handle("x");
  stream.set_job_id(1);
  EXPECT_EQ(client.expectError(stream), "unknown handle");
}

TEST_F(ContainerTest, givesItsSlotFreeWhenDestroyed) {
  ServerOptions options;
  options.slots = 2;
  start(options);
  TestClient client = connect();
  for (int i = 0; i < 6; ++i) {
    client.create("a");
    client.create("b");
    EXPECT_FALSE(client.expectError(createRequest("c")).empty());
    client.destroy("a");
    client.destroy("b");
  }
}

TEST_F(ContainerTest, namesStateAndPathInItsInfo) {
  start();
  TestClient client = connect();
  std::string handle = client.create();
  InfoResponse info = client.info(handle);
  EXPECT_EQ(info.state(), "active");
  EXPECT_EQ(info.container_path(), server().depotPath() + "/" + handle);
  EXPECT_EQ(info.events_size(), 0);
  EXPECT_EQ(info.job_ids_size(), 0);
  EXPECT_TRUE(fs::is_directory(info.container_path()));
}

TEST_F(ContainerTest, namesItsUnfinishedJobsInItsInfo) {
  start();
  TestClient client = connect();
  client.create("jobs");
  uint32_t first = client.spawn("jobs", "sleep 1000");
  uint32_t second = client.spawn("jobs", "sleep 1000");
  InfoResponse info = client.info("jobs");
  std::set<uint64_t> ids(info.job_ids().begin(), info.job_ids().end());
  EXPECT_EQ(ids, (std::set<uint64_t>{first, second}));
}

TEST_F(ContainerTest, refusesJobsWhenStoppedWithTheDocumentedText) {
  start();
  TestClient client = connect();
  client.create("stopped");
  client.stop("stopped");
  EXPECT_EQ(client.info("stopped").state(), "stopped");
  std::string text = "Container state must be one of 'active', current state is 'stopped'";
  EXPECT_EQ(client.expectError(spawnRequest("stopped", "true")), text);
  EXPECT_EQ(client.expectError(runRequest("stopped", "true")), text);
  client.stop("stopped");
  client.stop("stopped", false, true);
  client.stop("stopped", true);
  client.destroy("stopped");
}

TEST_F(ContainerTest, hasTheLayoutOnDiskThatRecoveryAndAgentsRead) {
  start();
  TestClient client = connect();
  std::string id = client.create();
  std::string path = server().depotPath() + "/" + id;
  EXPECT_TRUE(fs::is_directory(path + "/state"));
  EXPECT_TRUE(fs::is_directory(path + "/tmp/rootfs"));
  EXPECT_TRUE(fs::exists(path + "/run/wshd.pid"));
  client.output(id, "echo written > /tmp/seen-by-agents");
  EXPECT_EQ(readFile(path + "/tmp/rootfs/tmp/seen-by-agents"), "written\n");
  EXPECT_TRUE(isAlive(server().wshdPid(id)));
}

TEST_F(ContainerTest, leavesItsProcessesNoTimeWhenDestroyed) {
  start();
  TestClient client = connect();
  client.create("busy");
  for (int i = 0; i < 5; ++i) {
    client.spawn("busy", "trap '' TERM INT HUP; while true; do sleep 1; done", i % 2 == 0);
  }
  auto since = std::chrono::steady_clock::now();
  client.destroy("busy");
  EXPECT_LT(std::chrono::steady_clock::now() - since, patient(seconds(8)));
}

TEST_F(ContainerTest, endsLinkRunAndStreamUnderWayWhenDestroyed) {
  start();
  TestClient client = connect();
  client.create("doomed");
  uint32_t linked = client.spawn("doomed", "sleep 1000");
  uint32_t streamed = client.spawn("doomed", "echo first; sleep 1000");
  TestClient linker = connect();
  linker.send(linkRequest("doomed", linked));
  TestClient runner = connect();
  runner.send(runRequest("doomed", "touch /tmp/running; sleep 1000"));
  TestClient streamer = connect();
  streamer.startStream("doomed", streamed);
  // All three jobs run; one whose shell is still being started would be answered with an Error.
  ASSERT_TRUE(
      waitUntil([&]() { return client.run("doomed", "test -e /tmp/running").exit_status() == 0; }));
  ASSERT_EQ(client.info("doomed").job_ids_size(), 3);
  ASSERT_TRUE(streamer.hasInput(seconds(5)));

  client.destroy("doomed");
  auto link = linker.receive<LinkResponse>();
  EXPECT_NE(link.exit_status(), 0u);
  EXPECT_TRUE(link.has_info());
  EXPECT_EQ(link.info().container_path().empty(), false);
  auto run = runner.receive<RunResponse>();
  EXPECT_NE(run.exit_status(), 0u);
  EXPECT_TRUE(run.has_info());
  JobOutput output = streamer.finishStream();
  EXPECT_NE(output.exitStatus, 0u);
  EXPECT_EQ(output.out, "first\n");
  EXPECT_TRUE(output.info.has_value());
}

TEST_F(ContainerTest, isDestroyedOnceWhenTwoClientsAskAtOnce) {
  start();
  TestClient a = connect();
  a.create("once");
  TestClient b = connect();
  a.send(destroyRequest("once"));
  b.send(destroyRequest("once"));
  int destroyed = 0;
  for (TestClient* client : {&a, &b}) {
    try {
      client->receive<DestroyResponse>();
      ++destroyed;
    } catch (const ServerError&) {
    }
  }
  EXPECT_GE(destroyed, 1);
  EXPECT_TRUE(a.list().empty());
}

TEST_F(ContainerTest, isCompletedOrUndoneWhenItsClientLeavesMeanwhile) {
  start();
  for (int i = 0; i < 5; ++i) {
    TestClient client = connect();
    client.send(createRequest("left-" + std::to_string(i)));
  }
  TestClient client = connect();
  client.ping();
  ASSERT_TRUE(waitUntil([&]() {
    size_t count = client.list().size();
    std::this_thread::sleep_for(milliseconds(200));
    return client.list().size() == count;
  }));
  for (const auto& handle : client.list())
    EXPECT_EQ(client.info(handle).state(), "active");
}

// --- grace time

TEST_F(ContainerTest, isDestroyedAfterItsGraceTimeWithoutConnections) {
  start();
  CreateRequest request;
  request.set_grace_time(1);
  std::string id = connect().call(request).handle();
  std::this_thread::sleep_for(milliseconds(400));
  EXPECT_TRUE(fs::exists(server().depotPath() + "/" + id));
  EXPECT_TRUE(goneWithin(id, seconds(6)));
}

TEST_F(ContainerTest, isDestroyedAfterTheConfiguredGraceTime) {
  startWith({{"server.container_grace_time", "1"}});
  std::string id = connect().create();
  EXPECT_TRUE(goneWithin(id, seconds(6)));
}

TEST_F(ContainerTest, prefersItsOwnGraceTimeToTheConfiguredOne) {
  startWith({{"server.container_grace_time", "1"}});
  CreateRequest request;
  request.set_grace_time(1000);
  std::string id = connect().call(request).handle();
  std::this_thread::sleep_for(milliseconds(2500));
  EXPECT_TRUE(fs::exists(server().depotPath() + "/" + id));
}

TEST_F(ContainerTest, staysWithoutAGraceTime) {
  start();
  std::string id = connect().create();
  std::this_thread::sleep_for(milliseconds(1500));
  EXPECT_EQ(connect().list(), std::vector<std::string>{id});
}

TEST_F(ContainerTest, staysWhileTheConnectionThatMadeItIsOpen) {
  start();
  TestClient client = connect();
  CreateRequest request;
  request.set_grace_time(1);
  std::string id = client.call(request).handle();
  std::this_thread::sleep_for(milliseconds(2500));
  EXPECT_EQ(client.info(id).state(), "active");
}

TEST_F(ContainerTest, staysWhileAConnectionIsOpenThatFoundItThere) {
  start();
  CreateRequest request;
  request.set_grace_time(1);
  std::string id;
  std::optional<TestClient> later;
  {
    TestClient client = connect();
    id = client.call(request).handle();
    later.emplace(connect());
    later->ping();
  }
  std::this_thread::sleep_for(milliseconds(2500));
  EXPECT_TRUE(fs::exists(server().depotPath() + "/" + id));
  later.reset();
  EXPECT_TRUE(goneWithin(id, seconds(6)));
}

TEST_F(ContainerTest, beginsItsGraceTimeAnewWhenAConnectionHasComeAndGone) {
  start();
  CreateRequest request;
  request.set_grace_time(2);
  std::string id = connect().call(request).handle();
  std::this_thread::sleep_for(milliseconds(1200));
  connect().info(id);
  std::this_thread::sleep_for(milliseconds(1200));
  EXPECT_TRUE(fs::exists(server().depotPath() + "/" + id));
  EXPECT_TRUE(goneWithin(id, seconds(8)));
}

// --- containers and their image

TEST_F(ContainerTest, doesNotSeeWhatAnotherOneWrites) {
  start();
  TestClient client = connect();
  client.create("a");
  client.create("b");
  client.output("a", "echo secret > /tmp/a; rm /bin/true; echo changed > /etc/os-release", true);
  EXPECT_EQ(client.output("b", "test ! -e /tmp/a && ls /bin/true"), "/bin/true\n");
  EXPECT_EQ(client.output("b", "grep -c changed /etc/os-release || true"), "0\n");
}

TEST_F(ContainerTest, leavesTheImageAsItWas) {
  start();
  std::string before = describeTree(server().imagePath());
  TestClient client = connect();
  client.create("writer");
  client.output(
      "writer",
      "rm -r /etc/os-release /usr/share; echo x > /bin/new; chmod 777 /bin/busybox;"
      "chown 5:5 /tmp; touch -t 200001010000 /etc; mkdir /made; ln /bin/busybox /made/link",
      true);
  client.output("writer", "echo x > /tmp/by-vcap; cat /bin/busybox > /dev/null");
  client.destroy("writer");
  EXPECT_EQ(describeTree(server().imagePath()), before);
}

}  // namespace
}  // namespace warden::test
