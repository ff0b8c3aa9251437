#pragma once
// What the server has acknowledged, and so has to hold; and what it may or may not have done.

#include <stdint.h>

#include <chrono>
#include <cstdio>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/chaos/plan.h"

namespace warden::chaos {

using Clock = std::chrono::steady_clock;

enum class Existence { YES, MAYBE, NO };

struct JobModel {
  enum class State { LIVE, MAYBE_LINKED, LINKED };

  JobScript script;
  State state = State::LIVE;
  bool disturbed = false;  // stopped, or out of disk: its output is a beginning, its status any
  Clock::time_point linked;
};

struct CopyModel {
  std::string place;  // in the container
  uint32_t tree = 0;  // which of Trees
};

struct ContainerModel {
  // Sets hold all values that may be in force: one, unless a request was not answered.

  std::string handle;
  std::string id;  // "": not known yet
  Existence exists = Existence::NO;
  bool mayBeActive = true;
  bool mayBeStopped = false;
  bool harmed = false;  // by a bomb, or by the death of its first process: jobs fail as they like
  std::set<uint64_t> memory;
  std::set<uint64_t> cpu;
  std::set<uint64_t> disk;
  std::set<uint64_t> bandwidth;        // rates; 0: unlimited
  std::map<uint32_t, uint32_t> ports;  // host's -> container's
  std::multiset<uint32_t> maybePorts;  // container's
  std::set<std::string> rules;         // networks
  std::set<std::string> maybeRules;
  std::map<uint32_t, JobModel> jobs;
  std::vector<CopyModel> copies;  // that are whole
  uint32_t maybeJobs = 0;         // started, perhaps, with ids that nobody was told

  void disturbJobs();
  void mayLoseFirstProcess();
};

struct ClientModel {
  std::deque<ContainerModel> containers;  // none moves: others point to them
  uint32_t made = 0;                      // for names that are used once
};

class Model {
  // Shared by the clients' threads and by what makes trouble; `lock` is held for every look.

 public:
  explicit Model(uint32_t clients) : clients(clients) {}

  std::mutex lock;
  std::vector<ClientModel> clients;
  bool diskIsFull = false;
  bool fullDiskLosesFiles = false;  // what was written last (docs/OPERATING.md, "Disk limits")
  uint32_t fills = 0;               // how often it became full
  Clock::time_point emptied;
  std::vector<std::pair<Clock::time_point, Clock::time_point>> ends;
  // When the frontend could not do what it does a moment after an answer.

  std::vector<ContainerModel*> existing();
  bool snapshotsMayLag() const;
  // Those of the frontend: it writes them again some time after there is room.
  bool endedSoonAfter(Clock::time_point answered) const;
};

class Journal {
  // The log of a run, and its violations.

 public:
  explicit Journal(const std::string& path);
  ~Journal();
  Journal(const Journal&) = delete;

  void say(const std::string& who, const std::string& what);
  void violation(const std::string& who, const std::string& what);
  // Goes to stderr, too.

  void refused(const std::string& message);
  void count(const std::string& what);

  size_t violations() const { return violationCount; }
  std::string summary() const;
  // As the members of a JSON object.

  std::vector<std::string> refusals() const;

 private:
  mutable std::mutex lock;
  FILE* file;
  Clock::time_point start = Clock::now();
  size_t violationCount = 0;
  std::map<std::string, size_t> counts;
  std::map<std::string, size_t> refusalCounts;

  void write(const std::string& line);
};

}  // namespace warden::chaos
