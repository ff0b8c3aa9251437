// What concerns limits, statistics and the network.

#include <unistd.h>

#include <vector>

#include "tests/bench/bench-parts.h"

namespace warden::bench {

namespace {

constexpr uint64_t MIB = 1 << 20;
// A container can have 1,024 mappings.
constexpr unsigned MOST_RULES = 500;
constexpr unsigned RULES_PER_TURN = 45;
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

struct Rules {
  // How long a server takes for each.
  Series netIn;
  Series netOut;
};

// One turn; the container is new at the first.
void measureRulesOf(Client& client, const std::string& handle, unsigned turn, Rules& rules) {
  unsigned number = turn * (WARM_UP + RULES_PER_TURN);
  rules.netIn.add(measure(RULES_PER_TURN, [&] { client.netIn(handle); }));
  rules.netOut.add(measure(RULES_PER_TURN, [&] { client.netOut(handle, destination(number++)); }));
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

void measureRules(Client& client, Client& crowded, unsigned iterations, unsigned many,
                  Results& results) {
  std::vector<std::string> handles;
  for (unsigned i = 1; i < many; ++i) {
    handles.push_back(crowded.create());
    crowded.netIn(handles.back());
    crowded.netOut(handles.back(), destination(i));
  }
  Rules ofOne, ofMany;
  while (ofOne.netIn.count() < iterations) {
    std::string one = client.create();
    std::string oneOfMany = crowded.create();
    for (unsigned turn = 0; turn < MOST_RULES / (WARM_UP + RULES_PER_TURN); ++turn) {
      measureRulesOf(client, one, turn, ofOne);
      measureRulesOf(crowded, oneOfMany, turn, ofMany);
    }
    client.destroy(one);
    crowded.destroy(oneOfMany);
  }
  results.add("net_in_1", ofOne.netIn);
  results.add("net_out_1", ofOne.netOut);
  results.add("net_in_many", ofMany.netIn);
  results.add("net_out_many", ofMany.netOut);
  results.add("containers_of_many", static_cast<double>(many));
  for (auto& handle : handles)
    crowded.destroy(handle);
}

}  // namespace warden::bench
