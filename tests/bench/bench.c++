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
#include "tests/bench/statistics.h"

namespace {

using namespace warden::bench;

constexpr unsigned ITERATIONS_PER_TURN = 20;
constexpr uint64_t STREAM_BYTES = 64ull << 20;
constexpr int STREAM_RUNS = 7;
constexpr int IDLE_CONTAINERS = 50;

double pssKib(int pid) {
  // proc(5), smaps_rollup.
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("Pss:", 0) == 0) return std::stod(line.substr(4));
  }
  throw std::runtime_error("cannot read the memory of process " + std::to_string(pid));
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

// The two are measured in turns, so that what else the machine does hits both alike.
void compareWithHost(unsigned iterations, const std::function<void()>& job,
                     const std::function<void()>& host, Results& results) {
  Series jobs, hosts;
  while (jobs.count() < iterations) {
    jobs.add(measure(ITERATIONS_PER_TURN, job));
    hosts.add(measure(ITERATIONS_PER_TURN, host));
  }
  results.add("run_true", jobs);
  results.add("host_shell", hosts);
}

void measureJobs(Client& client, unsigned iterations, const std::string& hostShell,
                 Results& results) {
  std::string handle = client.create();
  auto job = [&] { expect(client.run(handle, "true") == 0, "run true failed"); };
  if (hostShell.empty()) {
    results.add("run_true", measure(iterations, job));
  } else {
    HostCommand host(hostShell, "sh", "true");
    compareWithHost(
        iterations, job, [&] { host.run(); }, results);
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
  std::string socketPath, depot, hostShell;
  std::vector<int> pids;
  unsigned iterations = 200;
  unsigned many = 1000;
  bool json = false;
  app.add_option("--socket", socketPath, "the server's socket")->required();
  app.add_option("--iterations", iterations)->check(CLI::PositiveNumber);
  app.add_option("--host-shell", hostShell,
                 "the image's shell (a busybox), to measure it on the host in turns with run true");
  app.add_option("--depot", depot, "server.container_depot_path; default: what Info says");
  app.add_option("--pids", pids, "processes of the server whose memory is reported")
      ->delimiter(',');
  app.add_option("--many", many,
                 "containers whose rules are there while net_in and net_out are measured again");
  app.add_flag("--json", json, "JSON is what is printed in any case");
  CLI11_PARSE(app, argc, argv);

  try {
    Client client(socketPath);
    Results results;
    results.add("ping", measure(10 * iterations, [&] { client.ping(); }));
    measureLifetimes(client, iterations, results);
    measureJobs(client, iterations, hostShell, results);
    measureLimits(client, iterations, results);
    measureForkBomb(client, iterations, results);
    measureIdleMemory(client, depot, pids, results);
    measureRules(client, iterations, many, results);
    fputs(results.json().c_str(), stdout);
  } catch (const std::exception& e) {
    fprintf(stderr, "warden-bench: %s\n", e.what());
    return 1;
  }
}
