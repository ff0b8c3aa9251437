#pragma once
// The parts of warden-bench.

#include <stdexcept>
#include <string>
#include <vector>

#include "tests/bench/bench-client.h"
#include "tests/bench/statistics.h"

namespace warden::bench {

constexpr unsigned WARM_UP = 5;

inline void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error(what);
}

template <typename Operation>
Series measure(unsigned iterations, Operation operation) {
  for (unsigned i = 0; i < WARM_UP; ++i)
    operation();
  Series series;
  for (unsigned i = 0; i < iterations; ++i) {
    double start = nowUs();
    operation();
    series.add(nowUs() - start);
  }
  return series;
}

// bench-copies.c++
void measureCopies(Client& client, const std::vector<int>& pids, Results& results);
// Of one file of 1 GiB and of 10,000 of 1 KiB, and how much more memory the server's processes
// `pids` and their descendants have meanwhile.

// bench-limits.c++
void measureLimits(Client& client, unsigned iterations, Results& results);
// info and limit_memory.

void measureForkBomb(Client& client, unsigned iterations, Results& results);
// How much longer another container's `run true` takes (p95) beside a fork bomb.

void measureRules(Client& client, Client& crowded, unsigned iterations, unsigned many,
                  Results& results);
// net_in and net_out on a server with no other container, and on one with `many`, each with a
// mapping and a rule. The servers are measured in turns, so that what else the machine does hits
// both alike.

}  // namespace warden::bench
