// What concerns limits, statistics and the network.

#include <unistd.h>

#include <algorithm>
#include <vector>

#include "tests/bench/bench-parts.h"

namespace warden::bench {

namespace {

constexpr uint64_t MIB = 1 << 20;
// A container can have 1,024 mappings.
constexpr unsigned MOST_RULES = 500;
// Each process makes others as long as it lives; one that cannot ends and makes room for another.
constexpr char FORK_BOMB[] = "bomb() { while :; do bomb & done; }; bomb";
constexpr unsigned FORK_BOMB_GROWTH_US = 3'000'000;

Series runTrue(Client& client, const std::string& handle, unsigned iterations) {
  return measure(iterations, [&] { expect(client.run(handle, "true") == 0, "run true failed"); });
}

// Of addresses for documentation (RFC 5737), which no packet is sent to.
std::string destination(unsigned number) {
  return "198.51." + std::to_string(100 + number / 250 % 2) + "." +
         std::to_string(number % 250 + 1) + "/32";
}

void measureRulesOfOne(Client& client, unsigned iterations, const std::string& suffix,
                       Results& results) {
  std::string handle = client.create();
  results.add("net_in_" + suffix, measure(iterations, [&] { client.netIn(handle); }));
  unsigned number = 0;
  results.add("net_out_" + suffix,
              measure(iterations, [&] { client.netOut(handle, destination(number++)); }));
  client.destroy(handle);
}

}  // namespace

void measureLimits(Client& client, unsigned iterations, Results& results) {
  std::string handle = client.create();
  results.add("info", measure(iterations, [&] { client.info(handle); }));
  uint64_t mib = 64;
  results.add("limit_memory", measure(iterations, [&] {
                // Up and down in turn.
                mib = mib == 64 ? 128 : 64;
                client.limitMemory(handle, mib * MIB);
              }));
  client.destroy(handle);
}

void measureForkBomb(Client& client, unsigned iterations, Results& results) {
  std::string quiet = client.create();
  std::string bomb = client.create();
  Series before = runTrue(client, quiet, iterations);
  client.spawn(bomb, FORK_BOMB, true);
  usleep(FORK_BOMB_GROWTH_US);
  Series beside = runTrue(client, quiet, iterations);
  results.add("run_true_quiet", before);
  results.add("run_true_beside_fork_bomb", beside);
  results.add("fork_bomb_p95_ratio", beside.percentile(0.95) / before.percentile(0.95));
  client.stop(bomb);
  client.destroy(bomb);
  client.destroy(quiet);
}

void measureRules(Client& client, unsigned iterations, unsigned many, Results& results) {
  iterations = std::min(iterations, MOST_RULES);
  measureRulesOfOne(client, iterations, "1", results);
  std::vector<std::string> handles;
  for (unsigned i = 1; i < many; ++i) {
    handles.push_back(client.create());
    client.netIn(handles.back());
    client.netOut(handles.back(), destination(i));
  }
  measureRulesOfOne(client, iterations, "many", results);
  results.add("containers_of_many", static_cast<double>(many));
  for (auto& handle : handles)
    client.destroy(handle);
}

}  // namespace warden::bench
