// Whether a server stays what it was: over thousands of containers one after the other, and with
// hundreds alive at once. Starts a server of its own; prints JSON; exit status 0: it does.

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>
#include <string_view>
#include <thread>

#include "tests/bench/process-memory.h"
#include "tests/bench/statistics.h"
#include "tests/support/process.h"
#include "tests/support/server-test.h"

namespace warden::bench {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::TestClient;
using test::TestServer;

constexpr uint64_t WARM_UP_DIVISOR = 10;  // this part of the cycles comes before the first look
constexpr size_t LANES = 2;
constexpr uint64_t MEMORY_SLACK_KIB = 512;
constexpr uint64_t MEMORY_SLACK_DIVISOR = 10;
constexpr unsigned TURNS = 20;
constexpr unsigned CREATES_PER_TURN = 10;
constexpr unsigned RESTARTS = 3;
constexpr double MOST_CREATE_RATIO = 1.5;
constexpr double MOST_MS_TO_PING = 1000;
constexpr double MOST_MS_TO_RECOVERY = 5000;

using Facts = std::map<std::string, uint64_t>;

test::ServerOptions serverOptions(uint32_t slots) {
  test::ServerOptions options;
  options.slots = slots;
  options.config = {{"network.pool_network", "10.254.0.0/20"},
                    {"network.release_delay", "0"},
                    {"frontend.max_connections", "32"},
                    {"logging.level", "warn"},
                    {"server.quota", "{disk_quota_enabled: false}"}};
  return options;
}

Facts look(const TestServer& server) {
  Facts facts;
  auto pids = server.helperPids();
  pids.push_back(server.frontendPid());
  for (pid_t pid : pids) {
    std::string name = test::statusField(pid, "Name");
    // The broker's name is the program's, and the launcher's is its own.
    if (pid == server.brokerPid()) name = "broker";
    // What is mapped of files is left out: it counts in part only while another server of the
    // machine maps it, too, so that it grows when that one ends.
    facts["anonymous_kib " + name] += memoryKib(pid, "Pss_Anon").value_or(0);
    facts["descriptors " + name] += test::openDescriptors(pid).size();
    auto mounts = test::tryReadFile("/proc/" + std::to_string(pid) + "/mountinfo").value_or("");
    facts["mounts " + name] += test::splitLines(mounts).size();
  }
  facts["processes"] = server.ourProcesses().size();
  facts["cgroups"] = server.cgroups().size();
  facts["depot entries"] = server.depotEntries().size();
  facts["interfaces"] = test::interfaceNames(server.network()).size();
  facts["network objects"] = test::networkObjects(server.network()).size();
  return facts;
}

bool isMemory(const std::string& name) {
  return name.rfind("anonymous_kib ", 0) == 0;
}

bool isFlat(const std::string& name, uint64_t first, uint64_t last) {
  if (!isMemory(name)) return first == last;
  return last <= first + std::max(MEMORY_SLACK_KIB, first / MEMORY_SLACK_DIVISOR);
}

bool sameCounts(const Facts& a, const Facts& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](auto& x, auto& y) {
           return x.first == y.first && (isMemory(x.first) || x.second == y.second);
         });
}

// What is removed in the background is waited for, and whoever has removed it.
Facts lookWhenSettled(const TestServer& server) {
  Facts facts;
  test::waitUntil(
      [&]() {
        Facts before = std::move(facts);
        facts = look(server);
        if (facts["depot entries"] == 0 && sameCounts(before, facts)) return true;
        std::this_thread::sleep_for(milliseconds(300));
        return false;
      },
      seconds(20));
  return facts;
}

void cycle(const TestServer& server, uint64_t cycles) {
  std::vector<std::thread> lanes;
  for (size_t lane = 0; lane < LANES; ++lane) {
    lanes.emplace_back([&]() {
      TestClient client = server.connect();
      for (uint64_t i = 0; i < cycles / LANES; ++i) {
        std::string handle = client.create();
        client.output(handle, "echo fine");
        client.destroy(handle);
      }
    });
  }
  for (auto& lane : lanes)
    lane.join();
}

bool endureCycles(uint64_t cycles) {
  TestServer server(serverOptions(64));
  server.start();
  cycle(server, cycles / WARM_UP_DIVISOR);
  Facts first = lookWhenSettled(server);
  auto start = nowUs();
  cycle(server, cycles);
  double perCycle = (nowUs() - start) / cycles;
  Facts last = lookWhenSettled(server);
  bool flat = true;
  printf("{\"cycles\": %lu, \"us_per_cycle\": %.0f", cycles, perCycle);
  for (auto& [name, value] : last) {
    bool same = isFlat(name, first[name], value);
    printf(",\n \"%s\": [%lu, %lu]", name.c_str(), first[name], value);
    if (!same) fprintf(stderr, "not flat: %s: %lu, %lu\n", name.c_str(), first[name], value);
    flat &= same;
  }
  printf(",\n \"flat\": %s}\n", flat ? "true" : "false");
  return flat;
}

void timeCreates(TestClient& client, Series& series) {
  for (unsigned i = 0; i < CREATES_PER_TURN; ++i) {
    double start = nowUs();
    std::string handle = client.create();
    series.add(nowUs() - start);
    client.destroy(handle);
  }
}

struct Recovery {
  double msToPing = 0;
  double msToAll = 0;
};

// SIGKILL to the frontend; the longest of some.
Recovery restartFrontend(const TestServer& server, size_t expected) {
  Recovery longest;
  for (unsigned i = 0; i < RESTARTS; ++i) {
    pid_t frontend = server.frontendPid();
    double start = nowUs();
    kill(frontend, SIGKILL);
    // The listening socket outlives the frontend: who connects meanwhile is served by the next one.
    TestClient client = server.connect();
    for (;;) {
      try {
        client.ping();
        break;
      } catch (const test::ConnectionClosed&) {
        client = server.connect();
      }
    }
    longest.msToPing = std::max(longest.msToPing, (nowUs() - start) / 1000);
    size_t found = client.list().size();
    longest.msToAll = std::max(longest.msToAll, (nowUs() - start) / 1000);
    if (found != expected) throw std::runtime_error(std::to_string(found) + " are recovered");
  }
  return longest;
}

std::vector<std::string> createMany(const TestServer& server, size_t count) {
  TestClient client = server.connect();
  std::vector<std::string> handles;
  for (size_t i = 0; i < count; ++i) {
    handles.push_back(client.create());
    client.spawn(handles.back(), "exec sleep 100000");
  }
  return handles;
}

bool endureCrowd(size_t count) {
  TestServer empty(serverOptions(16)), server(serverOptions(count + 16));
  empty.start();
  server.start();
  auto handles = createMany(server, count);
  // The two are measured in turns, so that what else the machine does hits both alike.
  Series alone, crowded;
  {
    TestClient ofEmpty = empty.connect(), ofCrowded = server.connect();
    for (unsigned turn = 0; turn < TURNS; ++turn) {
      timeCreates(ofEmpty, alone);
      timeCreates(ofCrowded, crowded);
    }
  }
  Recovery recovery = restartFrontend(server, count);
  TestClient client = server.connect();
  for (auto& handle : handles)
    client.destroy(handle);
  double ratio = crowded.percentile(0.5) / alone.percentile(0.5);
  bool good = ratio <= MOST_CREATE_RATIO && recovery.msToPing < MOST_MS_TO_PING &&
              recovery.msToAll < MOST_MS_TO_RECOVERY;
  printf(
      "{\"alive\": %zu, \"create_p50_us_alone\": %.0f, \"create_p50_us_crowded\": %.0f, "
      "\"create_ratio\": %.2f, \"restart_ms_to_ping\": %.0f, \"restart_ms_to_all\": %.0f, "
      "\"good\": %s}\n",
      count, alone.percentile(0.5), crowded.percentile(0.5), ratio, recovery.msToPing,
      recovery.msToAll, good ? "true" : "false");
  return good;
}

}  // namespace
}  // namespace warden::bench

int main(int argc, char** argv) {
  CLI::App app("Whether a server stays what it was, over many containers and with many");
  uint64_t cycles = 0;
  size_t alive = 0;
  app.add_option("--cycles", cycles, "of create, run and destroy; 0: none");
  app.add_option("--alive", alive, "containers at once, with a job each; 0: none")
      ->check(CLI::Range(0, 1000));
  CLI11_PARSE(app, argc, argv);
  try {
    bool good = true;
    if (cycles > 0) good &= warden::bench::endureCycles(cycles);
    if (alive > 0) good &= warden::bench::endureCrowd(alive);
    return good ? 0 : 1;
  } catch (const kj::Exception& e) {
    fprintf(stderr, "endurance: %s\n", kj::str(e).cStr());
  } catch (const std::exception& e) {
    fprintf(stderr, "endurance: %s\n", e.what());
  }
  return 1;
}
