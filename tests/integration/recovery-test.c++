// What clients find after the frontend, or the whole server, has ended and started again.

#include <gtest/gtest.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/support/limits.h"
#include "tests/support/server-test.h"

namespace warden::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Json = nlohmann::json;

enum class End { KILL_FRONTEND, DRAIN_FRONTEND, KILL_ALL, KILL_HELPER, TERM, USR2 };

class RecoveryTest : public ServerTest {
 protected:
  void SetUp() override { start(); }

  void restart(End how) {
    switch (how) {
      case End::KILL_FRONTEND:
        return server().replaceFrontend(SIGKILL);
      case End::DRAIN_FRONTEND:
        return server().replaceFrontend(SIGUSR2);
      case End::KILL_ALL:
        server().kill9();
        break;
      case End::KILL_HELPER:
        server().killHelper();
        break;
      case End::TERM:
        EXPECT_EQ(server().stop(SIGTERM), 0);
        break;
      case End::USR2:
        EXPECT_EQ(server().stop(SIGUSR2), 0);
        break;
    }
    server().start();
  }

  Json snapshotOf(const std::string& id) {
    return Json::parse(readFile(server().depotPath() + "/" + id + "/state/snapshot.json"));
  }
};

class RecoveryAfterTest : public RecoveryTest, public ::testing::WithParamInterface<End> {};

TEST_P(RecoveryAfterTest, containersAreAsTheyWere) {
  std::string handle = "h\xff/\xc3\xa9\n";
  std::string id;
  {
    TestClient client = connect();
    auto request = createRequest(handle);
    client.call(request);
    id = std::filesystem::path(client.info(handle).container_path()).filename();
    LimitMemoryRequest memory;
    memory.set_handle(handle);
    memory.set_limit_in_bytes(64 << 20);
    client.call(memory);
    NetInRequest port;
    port.set_handle(handle);
    port.set_container_port(80);
    client.call(port);
    client.run(handle, "echo kept > file");
    client.create("other");
    client.stop("other");
  }
  InfoResponse before = connect().info(handle);
  pid_t wshd = server().wshdPid(id);
  restart(GetParam());

  TestClient client = connect();
  auto handles = client.list();
  std::sort(handles.begin(), handles.end());
  EXPECT_EQ(handles, (std::vector<std::string>{handle, "other"}));
  EXPECT_EQ(server().wshdPid(id), wshd);
  InfoResponse after = client.info(handle);
  EXPECT_EQ(after.state(), "active");
  EXPECT_EQ(after.container_ip(), before.container_ip());
  EXPECT_EQ(after.container_path(), before.container_path());
  EXPECT_EQ(client.info("other").state(), "stopped");
  LimitMemoryRequest memory;
  memory.set_handle(handle);
  EXPECT_EQ(client.call(memory).limit_in_bytes(), 64u << 20);
  EXPECT_EQ(client.output(handle, "cat file"), "kept\n");
  EXPECT_EQ(client.expectError(createRequest(handle)),
            "container with handle: " + handle + " already exists.");
  // What it has, nobody else gets.
  std::string third = client.create();
  EXPECT_NE(client.info(third).container_ip(), after.container_ip());
  EXPECT_GT(idOf(third), id);
  NetInRequest port;
  port.set_handle(third);
  auto mapped = client.call(port);
  auto ports = snapshotOf(id)["resources"]["ports"];
  ASSERT_EQ(ports.size(), 1u);
  EXPECT_NE(mapped.host_port(), ports[0].get<uint32_t>());
}

TEST_P(RecoveryAfterTest, limitsAreAsTheyWere) {
  std::string handle = connect().create();
  std::string id = handle, user;
  LimitBandwidthRequest bandwidth;
  bandwidth.set_handle(handle);
  bandwidth.set_rate(1000 * 1000);
  bandwidth.set_burst(64 * 1024);
  LimitDiskRequest disk = diskRequest(handle);
  {
    TestClient client = connect();
    limitMemory(client, handle, 64 * MIB);
    limitCpu(client, handle, 333);
    client.call(bandwidth);
    disk.set_byte_limit(32 * MIB);
    client.call(disk);
    user = client.output(handle, "id -u");
  }
  restart(GetParam());
  TestClient client = connect();
  EXPECT_EQ(limitMemory(client, handle), 64 * MIB);
  EXPECT_EQ(limitCpu(client, handle), 333u);
  EXPECT_EQ(client.call(diskRequest(handle)).byte_limit(), 32 * MIB);
  auto stat = client.info(handle).bandwidth_stat();
  EXPECT_EQ(stat.in_rate(), bandwidth.rate());
  EXPECT_EQ(stat.out_rate(), bandwidth.rate());
  EXPECT_EQ(stat.in_burst(), bandwidth.burst());
  EXPECT_EQ(stat.out_burst(), bandwidth.burst());
  EXPECT_EQ(client.info(handle).memory_stat().hierarchical_memory_limit(), 64 * MIB);
  EXPECT_EQ(client.output(handle, "id -u"), user);
}

TEST_P(RecoveryAfterTest, jobsGoOn) {
  std::string handle = connect().create();
  uint32_t running, ended, binary, linked, late;
  {
    TestClient client = connect();
    running = client.spawn(handle, "echo before; read x < /tmp/go; echo after $x >&2; exit 7");
    client.run(handle, "rm -f /tmp/go; mkfifo -m 666 /tmp/go");
    running = client.spawn(handle, "echo before; read x < /tmp/go; echo after $x >&2; exit 7");
    ended = client.spawn(handle, "echo done; exit 3");
    binary = client.spawn(handle, "printf '\\000\\377\\n'; head -c 300000 /dev/zero");
    linked = client.spawn(handle, "echo gone");
    late = client.spawn(handle, "sleep 0.5; echo late");
    client.link(handle, linked);
    EXPECT_TRUE(waitUntil([&]() { return client.info(handle).job_ids_size() <= 2; }));
  }
  std::this_thread::sleep_for(milliseconds(50));  // wshd has forgotten the linked one
  restart(GetParam());

  TestClient client = connect();
  EXPECT_EQ(client.expectError(linkRequest(handle, linked)), "no such job");
  auto done = client.link(handle, ended);
  EXPECT_EQ(done.exit_status(), 3u);
  EXPECT_EQ(done.stdout(), "done\n");
  EXPECT_EQ(client.stream(handle, binary).out,
            std::string("\0\xff\n", 3) + std::string(300000, '\0'));
  uint32_t next = client.spawn(handle, "echo new");
  EXPECT_GT(next, late);
  EXPECT_EQ(client.link(handle, next).stdout(), "new\n");
  EXPECT_EQ(client.link(handle, late).stdout(), "late\n");
  client.run(handle, "echo word > /tmp/go");
  auto all = client.stream(handle, running);
  EXPECT_EQ(all.out, "before\n");
  EXPECT_EQ(all.err, "after word\n");
  EXPECT_EQ(all.exitStatus, 7u);
}

std::string nameOfEnd(const ::testing::TestParamInfo<End>& info) {
  constexpr const char* NAMES[] = {
      "frontendKilled", "frontendDrained", "allKilled", "helperKilled", "term", "usr2"};
  return NAMES[static_cast<int>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(, RecoveryAfterTest,
                         ::testing::Values(End::KILL_FRONTEND, End::DRAIN_FRONTEND, End::KILL_ALL,
                                           End::KILL_HELPER, End::TERM, End::USR2),
                         nameOfEnd);

TEST_F(RecoveryTest, everyLineOfAJobOnceInOrderHoweverOftenTheServerIsKilled) {
  // WARDEN_TEST_RECOVERY_SECONDS: how long the job runs at least; for those who cannot wait a
  // minute.
  const char* chosen = getenv("WARDEN_TEST_RECOVERY_SECONDS");
  int time = chosen == nullptr ? 60 : atoi(chosen), lines = time * 100;
  std::string handle = connect().create();
  uint32_t job = connect().spawn(
      handle, "i=0; while [ $i -lt " + std::to_string(lines) +
                  " ]; do echo $i; i=$((i+1)); usleep 10000 || sleep 0.01; done; exit 9");
  // Of the frontend and of the helper in turns: in a minute ten of each, and some to spare.
  constexpr auto BETWEEN_KILLS = milliseconds(2500);
  int killedFrontends = 0, killedHelpers = 0;
  for (auto next = std::chrono::steady_clock::now() + BETWEEN_KILLS;; next += BETWEEN_KILLS) {
    std::this_thread::sleep_until(next);
    auto ids = connect().info(handle).job_ids();
    if (std::find(ids.begin(), ids.end(), job) == ids.end()) break;
    bool helper = killedHelpers < killedFrontends;
    restart(helper ? End::KILL_HELPER : End::KILL_FRONTEND);
    ++(helper ? killedHelpers : killedFrontends);
  }
  EXPECT_GE(killedFrontends, time / 6);
  EXPECT_GE(killedHelpers, time / 6);
  printf("killed: %d frontends, %d helpers\n", killedFrontends, killedHelpers);
  auto all = connect().stream(handle, job);
  EXPECT_EQ(all.exitStatus, 9u);
  std::string expected;
  for (int i = 0; i < lines; ++i)
    expected += std::to_string(i) + "\n";
  EXPECT_TRUE(all.out == expected) << all.out.size() << " bytes of " << expected.size();
}

TEST_F(RecoveryTest, discardedOutputAndLimitsOfItHoldForTheSuccessor) {
  std::string handle = connect().create();
  auto request = spawnRequest(handle, "echo a; sleep 1; echo b");
  request.set_discard_output(true);
  uint32_t discarded = connect().call(request).job_id();
  restart(End::KILL_FRONTEND);
  EXPECT_EQ(connect().link(handle, discarded).stdout(), "");
}

TEST_F(RecoveryTest, jobOutputLimitCountsWhatWasWrittenBefore) {
  server().stop();
  startWith({{"server.job_output_limit", "100000"}});
  std::string handle = connect().create();
  uint32_t job = connect().spawn(
      handle, "head -c 90000 /dev/zero; sleep 2; head -c 90000 /dev/zero; sleep 100");
  std::this_thread::sleep_for(milliseconds(500));
  restart(End::KILL_FRONTEND);
  auto answer = connect().link(handle, job);
  EXPECT_EQ(answer.exit_status(), 255u);
  EXPECT_EQ(answer.stdout().size(), 100000u);
  EXPECT_EQ(answer.info().events(0), "command exceeded maximum output");
  restart(End::KILL_FRONTEND);
  EXPECT_EQ(connect().info(handle).events_size(), 1);
}

TEST_F(RecoveryTest, outOfMemoryWhileNobodyServesIsNoticed) {
  std::string handle = connect().create();
  LimitMemoryRequest memory;
  memory.set_handle(handle);
  memory.set_limit_in_bytes(32 << 20);
  connect().call(memory);
  uint32_t job = connect().spawn(handle, "sleep 1; head -c 200000000 /dev/zero | tail > /dev/null");
  server().kill9();
  std::this_thread::sleep_for(seconds(2));
  server().start();
  connect().link(handle, job);
  auto info = connect().info(handle);
  EXPECT_EQ(info.state(), "stopped");
  ASSERT_EQ(info.events_size(), 1);
  EXPECT_EQ(info.events(0), "out of memory");
}

TEST_F(RecoveryTest, snapshotSaysWhatAgentsReadInIt) {
  TestClient client = connect();
  CreateRequest request = createRequest("c");
  request.set_grace_time(1000);
  client.call(request);
  limitMemory(client, "c", 64 * MIB);
  NetInRequest in;
  in.set_handle("c");
  in.set_container_port(80);
  uint32_t port = client.call(in).host_port();
  NetOutRequest out;
  out.set_handle("c");
  out.set_network("192.0.2.1");
  client.call(out);
  std::string job = std::to_string(client.spawn("c", "sleep 100000"));
  std::string id = idOf("c");
  Json snapshot;
  ASSERT_TRUE(waitUntil([&]() {
    snapshot = snapshotOf(id);
    return snapshot["jobs"].contains(job);
  }));
  EXPECT_EQ(snapshot["state"], "active");
  EXPECT_EQ(snapshot["events"], Json::array());
  EXPECT_EQ(snapshot["grace_time"], 1000);
  EXPECT_EQ(snapshot["limits"]["memory"], 64 * MIB);
  Json resources = snapshot["resources"];
  EXPECT_EQ(resources["handle"], "c");
  EXPECT_EQ(resources["container_id"], id);
  EXPECT_EQ(resources["network"], client.info("c").container_ip());
  EXPECT_EQ(std::to_string(resources["uid"].get<uint32_t>()) + "\n", client.output("c", "id -u"));
  EXPECT_EQ(resources["ports"], Json::array({port}));
  EXPECT_EQ(resources["net_in"].size(), 1u);
  EXPECT_EQ(resources["net_out"].size(), 1u);
}

TEST_F(RecoveryTest, nobodyKeepsContainersFromComingBackByAHugeLogTag) {
  constexpr int JOBS = 20;
  std::string handle = connect().create();
  for (int i = 0; i < JOBS; ++i) {
    auto request = spawnRequest(handle, "exec sleep 100000");
    request.set_log_tag(std::string(1'000'000, '\x01'));
    connect().call(request);
  }
  restart(End::KILL_FRONTEND);
  EXPECT_EQ(connect().info(handle).job_ids_size(), JOBS);
  EXPECT_LT(snapshotOf(handle).dump().size(), 100'000u);
}

TEST_F(RecoveryTest, graceTimeRunsAnew) {
  {
    TestClient client = connect();
    auto request = createRequest("short");
    request.set_grace_time(1);
    client.call(request);
    restart(End::KILL_FRONTEND);
  }
  EXPECT_EQ(connect().list().size(), 1u);
  EXPECT_TRUE(waitUntil([&]() { return server().depotEntries().empty(); }, seconds(10)));
}

TEST_F(RecoveryTest, containersWithoutAReadableSnapshotAreDestroyedAndOthersStay) {
  std::string missing = connect().create();
  std::string corrupt = connect().create();
  std::string foreign = connect().create();
  std::string whole = connect().create();
  auto path = [&](const std::string& id) {
    return server().depotPath() + "/" + id + "/state/snapshot.json";
  };
  std::string text = readFile(path(whole));
  server().kill9();
  std::filesystem::remove(path(missing));
  writeFile(path(corrupt), text.substr(0, text.size() / 2));
  writeFile(path(foreign), text);
  server().start();
  EXPECT_EQ(connect().list(), std::vector<std::string>{whole});
  EXPECT_TRUE(waitUntil([&]() { return server().depotEntries().size() == 1; }));
}

TEST_F(RecoveryTest, containersWhoseFirstProcessHasDiedAreRemoved) {
  std::string dead = connect().create();
  std::string alive = connect().create();
  pid_t wshd = server().wshdPid(dead);
  server().kill9();
  kill(wshd, SIGKILL);
  server().start();
  EXPECT_EQ(connect().list(), std::vector<std::string>{alive});
  EXPECT_TRUE(waitUntil([&]() { return server().depotEntries().size() == 1; }));
}

TEST_F(RecoveryTest, drainClosesWhoWaitsForAJobAndFinishesOthers) {
  TestClient waiting = connect();
  std::string handle = waiting.create();
  uint32_t job = waiting.spawn(handle, "sleep 3; echo end");
  waiting.send(linkRequest(handle, job));
  TestClient idle = connect();
  idle.ping();
  TestClient creating = connect();
  creating.send(createRequest("late"));
  std::this_thread::sleep_for(milliseconds(20));
  kill(server().frontendPid(), SIGUSR2);
  EXPECT_TRUE(waiting.closedByServer(seconds(10)));
  EXPECT_TRUE(idle.closedByServer(seconds(10)));
  EXPECT_EQ(creating.receive<CreateResponse>().handle(), "late");
  server().waitUntilServing();
  EXPECT_EQ(connect().list().size(), 2u);
  EXPECT_EQ(connect().link(handle, job).stdout(), "end\n");
}

}  // namespace
}  // namespace warden::test
