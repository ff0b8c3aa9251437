// warden-bench: latencies and throughput of a running server, as a client sees them, and the memory
// that its processes take.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/bench/bench-client.h"
#include "tests/bench/bench-parts.h"
#include "tests/bench/host-command.h"
#include "tests/bench/process-memory.h"
#include "tests/bench/statistics.h"

namespace {

using namespace warden::bench;

constexpr unsigned ITERATIONS_PER_TURN = 20;
// One container is a sample of one: where its memory lies moves the figure by some percent.
constexpr unsigned CONTAINERS_WITH_JOBS = 5;
constexpr uint64_t STREAM_BYTES = 64ull << 20;
constexpr int STREAM_RUNS = 7;
constexpr int IDLE_CONTAINERS = 50;

double pssKib(int pid) {
  auto kib = memoryKib(pid, "Pss");
  expect(kib.has_value(), "cannot read the memory of process " + std::to_string(pid));
  return *kib;
}

int readPid(const std::string& path) {
  std::ifstream file(path);
  int pid = 0;
  file >> pid;
  expect(pid > 1, "no pid in " + path);
  return pid;
}

void measureLifetimes(Client& client, unsigned iterations, Results& results) {
  Series create, destroy;
  for (unsigned i = 0; i < WARM_UP + iterations; ++i) {
    double start = nowUs();
    std::string handle = client.create();
    double created = nowUs();
    client.destroy(handle);
    double destroyed = nowUs();
    if (i < WARM_UP) continue;
    create.add(created - start);
    destroy.add(destroyed - created);
  }
  results.add("create", create);
  results.add("destroy", destroy);
}

void runTrue(Client& client, const std::string& handle) {
  expect(client.run(handle, "true") == 0, "run true failed");
}

void compareWithHost(Client& client, unsigned iterations, const std::string& hostShell,
                     Results& results) {
  // The two are measured in turns, so that what else the machine does hits both alike.
  Series jobs, hosts;
  HostCommand host(hostShell, "sh", "true");
  for (unsigned container = 1; container <= CONTAINERS_WITH_JOBS; ++container) {
    std::string handle = client.create();
    while (jobs.count() < container * iterations) {
      jobs.add(measure(ITERATIONS_PER_TURN, [&] { runTrue(client, handle); }));
      hosts.add(measure(ITERATIONS_PER_TURN, [&] { host.run(); }));
    }
    client.destroy(handle);
  }
  results.add("run_true", jobs);
  results.add("host_shell", hosts);
}

void measureJobs(Client& client, unsigned iterations, const std::string& hostShell,
                 Results& results) {
  if (!hostShell.empty()) compareWithHost(client, iterations, hostShell, results);
  std::string handle = client.create();
  if (hostShell.empty()) {
    results.add("run_true", measure(iterations, [&] { runTrue(client, handle); }));
  }
  results.add("spawn_link", measure(iterations, [&] {
                uint32_t job = client.spawn(handle, "true");
                expect(client.link(handle, job) == 0, "link failed");
              }));
  // A block is as large as the pipe's default buffer or larger, so that the job is not the one that
  // is measured.
  Series rates;
  for (int i = 0; i < STREAM_RUNS; ++i) {
    double start = nowUs();
    uint32_t job = client.spawn(handle, "exec dd if=/dev/zero bs=1048576 count=64 2>/dev/null");
    uint64_t bytes = client.stream(handle, job);
    double seconds = (nowUs() - start) / 1e6;
    expect(bytes == STREAM_BYTES, "streamed " + std::to_string(bytes) + " bytes");
    rates.add(static_cast<double>(STREAM_BYTES >> 20) / seconds);
  }
  results.add("stream_mib_s", rates.percentile(0.5));
  client.destroy(handle);
}

void measureIdleMemory(Client& client, const std::string& depot, const std::vector<int>& pids,
                       Results& results) {
  std::vector<std::string> handles;
  for (int i = 0; i < IDLE_CONTAINERS; ++i)
    handles.push_back(client.create());
  usleep(500'000);
  double sum = 0;
  for (auto& handle : handles) {
    // Without a name of its own a container's handle is its id.
    std::string directory = depot.empty() ? client.containerPath(handle) : depot + "/" + handle;
    sum += pssKib(readPid(directory + "/run/wshd.pid"));
  }
  results.add("idle_container_pss_kib", sum / IDLE_CONTAINERS);
  for (int pid : pids)
    results.add("pss_kib_of_" + std::to_string(pid), pssKib(pid));
  for (auto& handle : handles)
    client.destroy(handle);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measures a running server: p50 and p95 as JSON");
  std::string socketPath, crowdedSocketPath, depot, hostShell;
  std::vector<int> pids;
  unsigned iterations = 200;
  unsigned many = 1000;
  std::string only;
  bool json = false;
  app.add_option("--socket", socketPath, "the server's socket")->required();
  app.add_option("--crowded-socket", crowdedSocketPath,
                 "of another server, which gets the containers of --many");
  app.add_option("--iterations", iterations)->check(CLI::PositiveNumber);
  app.add_option("--host-shell", hostShell,
                 "the image's shell (a busybox), to measure it on the host in turns with run true");
  app.add_option("--depot", depot, "server.container_depot_path; default: what Info says");
  app.add_option("--pids", pids, "processes of the server whose memory is reported")
      ->delimiter(',');
  app.add_option("--many", many,
                 "containers whose rules are there where net_in and net_out are measured");
  app.add_option("--only", only, "one part")
      ->check(CLI::IsMember(
          {"ping", "create", "jobs", "limits", "copies", "fork-bomb", "memory", "rules"}));
  app.add_flag("--json", json, "JSON is what is printed in any case");
  CLI11_PARSE(app, argc, argv);

  try {
    Client client(socketPath);
    Results results;
    std::pair<const char*, std::function<void()>> parts[] = {
        {"ping", [&] { results.add("ping", measure(10 * iterations, [&] { client.ping(); })); }},
        {"create", [&] { measureLifetimes(client, iterations, results); }},
        {"jobs", [&] { measureJobs(client, iterations, hostShell, results); }},
        {"limits", [&] { measureLimits(client, iterations, results); }},
        {"copies", [&] { measureCopies(client, pids, results); }},
        {"fork-bomb", [&] { measureForkBomb(client, iterations, results); }},
        {"memory", [&] { measureIdleMemory(client, depot, pids, results); }},
        {"rules",
         [&] {
           Client crowded(crowdedSocketPath.empty() ? socketPath : crowdedSocketPath);
           measureRules(client, crowded, 5 * iterations, many, results);
         }},
    };
    for (auto& [name, measurePart] : parts)
      if (only.empty() || only == name) measurePart();
    fputs(results.json().c_str(), stdout);
  } catch (const std::exception& e) {
    fprintf(stderr, "warden-bench: %s\n", e.what());
    return 1;
  }
}
