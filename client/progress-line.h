#pragma once
// How far a copy is, for people.

#include <chrono>
#include <string>

#include "schema/warden.pb.h"

namespace warden::client {

std::string progressText(const CopyProgress& progress, std::chrono::duration<double> since);
// "12.5 MiB, 45 entries, 6.2 MiB/s": the rate is that of all the time.

class ProgressLine {
  // On a terminal one line that is written over; elsewhere a line a second at most, and the last.

 public:
  explicit ProgressLine(int fd);
  ~ProgressLine();
  // As finish(), and says nothing where that fails.
  ProgressLine(const ProgressLine&) = delete;

  bool isOnTerminal() const { return terminal; }

  void show(const CopyProgress& progress);
  void finish();
  // Ends the line. Both throw OutputError.

 private:
  using Clock = std::chrono::steady_clock;

  int fd;
  bool terminal;
  Clock::time_point begin = Clock::now();
  Clock::time_point next = begin;  // when a further line may follow
  std::string held;                // what has not been shown
  size_t width = 0;                // of the line on the terminal

  void overwrite(const std::string& text);
};

}  // namespace warden::client
