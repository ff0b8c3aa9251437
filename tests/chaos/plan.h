#pragma once
// What a run of chaos is going to do, all of it decided by its seed before anything is done.

#include <stdint.h>

#include <chrono>
#include <string>
#include <vector>

namespace warden::chaos {

class Random {
  // SplitMix64: the same numbers on every machine and with every library.

 public:
  explicit Random(uint64_t seed) : state(seed) {}
  uint64_t next();
  uint64_t below(uint64_t bound) { return next() % bound; }
  uint64_t between(uint64_t first, uint64_t last) { return first + below(last - first + 1); }
  bool chance(uint64_t percent) { return below(100) < percent; }

 private:
  uint64_t state;
};

enum class Act {
  CREATE,
  RUN,
  SPAWN,
  LINK,
  STREAM,
  NET_IN,
  NET_OUT,
  LIMIT_MEMORY,
  LIMIT_CPU,
  LIMIT_BANDWIDTH,
  LIMIT_DISK,
  STOP,
  DESTROY,
  INFO,
  LIST,
  PING,
  COPY_IN,
  COPY_OUT,
};

const char* nameOf(Act act);

struct Operation {
  // One request of one client.

  Act act;
  uint32_t pick;    // chooses among what the client has when the request's turn comes
  uint32_t number;  // what the request says: a limit, a port, a script
  bool walksAway;   // closes the connection without reading the answer
  std::chrono::milliseconds pause;  // before it
};

enum class Harm {
  KILL_FRONTEND,
  KILL_BROKER,
  KILL_LAUNCHER,
  KILL_PORTER,
  KILL_OBSERVER,
  KILL_SWEEPER,
  KILL_SERVER,  // all of it at once
  KILL_WSHD,
  STOP_FRONTEND,
  STOP_BROKER,
  STOP_LAUNCHER,
  STOP_PORTER,
  STOP_SWEEPER,
  STOP_WSHD,
  FILL_DISK,
  FLOOD_CONNECTIONS,
  EXHAUST_PIDS,
};

const char* nameOf(Harm harm);

struct Trouble {
  Harm harm;
  uint32_t pick;                     // of a container, where it is about one
  std::chrono::milliseconds pause;   // before it
  std::chrono::milliseconds length;  // where it has one
};

struct RoundPlan {
  std::vector<std::vector<Operation>> clients;
  std::vector<Trouble> troubles;
  bool clears;  // all containers are destroyed at its end, and what is left is a leak
};

RoundPlan makePlan(uint64_t seed, uint32_t round, uint32_t clients);

struct JobScript {
  // A job and what comes of it when nobody interferes.

  std::string text;
  std::string out;
  std::string err;
  uint32_t status;
  bool endless;
  bool discards;
};

JobScript makeScript(uint32_t number, bool mayBeEndless);

std::string bombScript();
// Uses up the processes that a container may have, and stays.

}  // namespace warden::chaos
