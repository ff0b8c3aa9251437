#include "tests/chaos/model.h"

#include <kj/debug.h>
#include <string.h>

#include <algorithm>

namespace warden::chaos {

namespace {

// A frontend tells wshd 10 ms after an answer that the job is done with; on a busy machine that may
// take longer.
constexpr auto FORGET_TIME = std::chrono::milliseconds(500);

// A second, on a busy machine.
constexpr auto SAVE_TIME = std::chrono::seconds(3);

// Texts that differ by a number, or by who asks, are one.
std::string withoutNumbers(const std::string& text) {
  std::string result;
  for (char c : text) {
    bool digit = c >= '0' && c <= '9';
    if (!digit) result += c;
    if (digit && (result.empty() || result.back() != '#')) result += '#';
  }
  return result;
}

}  // namespace

void ContainerModel::disturbJobs() {
  for (auto& [id, job] : jobs)
    job.disturbed = true;
}

void ContainerModel::mayLoseFirstProcess() {
  harmed = true;
  exists = Existence::MAYBE;
  mayBeStopped = true;
  disturbJobs();
}

std::vector<ContainerModel*> Model::existing() {
  std::vector<ContainerModel*> found;
  for (auto& client : clients) {
    for (auto& container : client.containers) {
      if (container.exists == Existence::YES && !container.id.empty()) found.push_back(&container);
    }
  }
  return found;
}

bool Model::snapshotsMayLag() const {
  return diskIsFull || (fills > 0 && Clock::now() < emptied + SAVE_TIME);
}

bool Model::endedSoonAfter(Clock::time_point answered) const {
  return std::any_of(ends.begin(), ends.end(), [&](auto& end) {
    return answered <= end.second && answered + FORGET_TIME >= end.first;
  });
}

Journal::Journal(const std::string& path) : file(fopen(path.c_str(), "we")) {
  KJ_REQUIRE(file != nullptr, path.c_str(), strerror(errno));
}

Journal::~Journal() {
  fclose(file);
}

void Journal::write(const std::string& line) {
  double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  fprintf(file, "%9.3f %s\n", seconds, line.c_str());
  fflush(file);
}

void Journal::say(const std::string& who, const std::string& what) {
  std::lock_guard guard(lock);
  write(who + ": " + what);
}

void Journal::violation(const std::string& who, const std::string& what) {
  std::lock_guard guard(lock);
  ++violationCount;
  write("VIOLATION " + who + ": " + what);
  fprintf(stderr, "violation: %s: %s\n", who.c_str(), what.c_str());
}

void Journal::refused(const std::string& message) {
  std::lock_guard guard(lock);
  ++refusalCounts[withoutNumbers(message)];
}

void Journal::count(const std::string& what) {
  std::lock_guard guard(lock);
  ++counts[what];
}

std::string Journal::summary() const {
  std::lock_guard guard(lock);
  std::string text = "\"violations\": " + std::to_string(violationCount);
  for (auto& [what, number] : counts)
    text += ", \"" + what + "\": " + std::to_string(number);
  return text;
}

std::vector<std::string> Journal::refusals() const {
  std::lock_guard guard(lock);
  std::vector<std::string> lines;
  for (auto& [message, number] : refusalCounts)
    lines.push_back(std::to_string(number) + " x " + message);
  return lines;
}

}  // namespace warden::chaos
