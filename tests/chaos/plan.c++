#include "tests/chaos/plan.h"

namespace warden::chaos {

namespace {

using std::chrono::milliseconds;

constexpr uint32_t OPERATIONS_PER_ROUND = 40;
constexpr uint32_t TROUBLES_PER_ROUND = 5;
constexpr uint32_t ROUNDS_PER_CLEARING = 3;
constexpr uint64_t LONGEST_PAUSE_MS = 150;
constexpr uint32_t WALK_AWAY_PERCENT = 4;
constexpr uint32_t BOMB_PROCESSES = 200;

struct Weight {
  Act act;
  uint32_t weight;
  const char* name;
};

constexpr Weight ACTS[] = {
    {Act::CREATE, 14, "create"},
    {Act::RUN, 14, "run"},
    {Act::SPAWN, 18, "spawn"},
    {Act::LINK, 8, "link"},
    {Act::STREAM, 8, "stream"},
    {Act::NET_IN, 7, "net_in"},
    {Act::NET_OUT, 7, "net_out"},
    {Act::LIMIT_MEMORY, 5, "limit_memory"},
    {Act::LIMIT_CPU, 5, "limit_cpu"},
    {Act::LIMIT_BANDWIDTH, 5, "limit_bandwidth"},
    {Act::LIMIT_DISK, 4, "limit_disk"},
    {Act::STOP, 3, "stop"},
    {Act::DESTROY, 6, "destroy"},
    {Act::INFO, 8, "info"},
    {Act::LIST, 4, "list"},
    {Act::PING, 2, "ping"},
    {Act::COPY_IN, 6, "copy_in"},
    {Act::COPY_OUT, 5, "copy_out"},
};

constexpr const char* HARMS[] = {
    "kill frontend", "kill broker", "kill launcher", "kill porter", "kill observer", "kill sweeper",
    "kill server",   "kill wshd",   "stop frontend", "stop broker", "stop launcher", "stop porter",
    "stop sweeper",  "stop wshd",   "fill disk",     "flood",       "exhaust pids"};

Act chooseAct(Random& random) {
  uint32_t sum = 0;
  for (auto& entry : ACTS)
    sum += entry.weight;
  uint64_t chosen = random.below(sum);
  for (auto& entry : ACTS) {
    if (chosen < entry.weight) return entry.act;
    chosen -= entry.weight;
  }
  return Act::PING;
}

Harm chooseHarm(Random& random) {
  // Half of them are the ends that happen most.
  if (random.chance(25)) return Harm::KILL_FRONTEND;
  if (random.chance(20)) return Harm::KILL_BROKER;
  return static_cast<Harm>(random.below(std::size(HARMS)));
}

std::vector<Operation> makeOperations(Random random) {
  std::vector<Operation> operations;
  for (uint32_t i = 0; i < OPERATIONS_PER_ROUND; ++i) {
    // One after the other: the order of evaluation is part of the plan.
    Act act = chooseAct(random);
    auto pick = static_cast<uint32_t>(random.next());
    auto number = static_cast<uint32_t>(random.next());
    bool walksAway = random.chance(WALK_AWAY_PERCENT);
    auto pause = milliseconds(random.below(LONGEST_PAUSE_MS));
    operations.push_back({act, pick, number, walksAway, pause});
  }
  return operations;
}

std::vector<Trouble> makeTroubles(Random random) {
  std::vector<Trouble> troubles;
  for (uint32_t i = 0; i < TROUBLES_PER_ROUND; ++i) {
    Harm harm = chooseHarm(random);
    auto pick = static_cast<uint32_t>(random.next());
    auto pause = milliseconds(random.between(100, 900));
    auto length = milliseconds(random.between(50, 1200));
    troubles.push_back({harm, pick, pause, length});
  }
  return troubles;
}

// A stream of its own for each, so that one client's plan does not depend on another's.
Random streamOf(uint64_t seed, uint32_t round, uint32_t who) {
  Random mixer(seed * 0x100000001b3 + round);
  return Random(mixer.next() + who * 0x9e3779b97f4a7c15);
}

std::string countTo(uint32_t lines, const std::string& what, const std::string& between) {
  return "i=0; while [ $i -lt " + std::to_string(lines) + " ]; do echo " + what + " $i; " +
         between + "i=$((i+1)); done; ";
}

std::string counted(uint32_t lines, const std::string& what) {
  std::string text;
  for (uint32_t i = 0; i < lines; ++i)
    text += what + " " + std::to_string(i) + "\n";
  return text;
}

}  // namespace

uint64_t Random::next() {
  uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

const char* nameOf(Act act) {
  return ACTS[static_cast<size_t>(act)].name;
}

const char* nameOf(Harm harm) {
  return HARMS[static_cast<size_t>(harm)];
}

RoundPlan makePlan(uint64_t seed, uint32_t round, uint32_t clients) {
  RoundPlan plan;
  plan.clears = round % ROUNDS_PER_CLEARING == ROUNDS_PER_CLEARING - 1;
  for (uint32_t client = 0; client < clients; ++client)
    plan.clients.push_back(makeOperations(streamOf(seed, round, client)));
  plan.troubles = makeTroubles(streamOf(seed, round, UINT32_MAX));
  return plan;
}

JobScript makeScript(uint32_t number, bool mayBeEndless) {
  uint32_t kind = number % 8;
  uint32_t size = number / 8 % 1000;
  uint32_t status = number / 8000 % 100;
  std::string word = "w" + std::to_string(number % 10007);
  std::string exit = "exit " + std::to_string(status);
  switch (kind) {
    case 0:
    case 1:
      return {countTo(size % 50, word, "") + "echo end >&2; " + exit,
              counted(size % 50, word),
              "end\n",
              status,
              false,
              false};
    case 2:
      return {exit, "", "", status, false, false};
    case 3:
    case 4: {
      uint32_t lines = 5 + size % 40;
      return {countTo(lines, word, "sleep 0.05; ") + exit,
              counted(lines, word),
              "",
              status,
              false,
              false};
    }
    case 5: {
      uint32_t bytes = size * 300;
      return {"head -c " + std::to_string(bytes) + " /dev/zero; " + exit,
              std::string(bytes, '\0'),
              "",
              status,
              false,
              false};
    }
    case 6:
      return {countTo(size, word, "") + exit, "", "", status, false, true};
    default:
      if (!mayBeEndless) return makeScript(number - 1, false);
      return {"exec sleep 100000", "", "", 0, true, false};
  }
}

std::string bombScript() {
  return "i=0; while [ $i -lt " + std::to_string(BOMB_PROCESSES) +
         " ]; do sleep 100000 & i=$((i+1)); done; wait";
}

}  // namespace warden::chaos
