#include "client/progress-line.h"

#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "client/output.h"

namespace warden::client {

namespace {

constexpr auto LINE_INTERVAL = std::chrono::seconds(1);

// Below this the rate says more about the clock.
constexpr double LEAST_SECONDS = 0.001;

std::string binary(double bytes) {
  constexpr const char* UNITS[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < std::size(UNITS); ++unit)
    bytes /= 1024;
  char text[40];
  snprintf(text, sizeof(text), unit == 0 ? "%.0f %s" : "%.1f %s", bytes, UNITS[unit]);
  return text;
}

}  // namespace

std::string progressText(const CopyProgress& progress, std::chrono::duration<double> since) {
  double bytes = static_cast<double>(progress.bytes());
  return binary(bytes) + ", " + std::to_string(progress.entries()) +
         (progress.entries() == 1 ? " entry, " : " entries, ") +
         binary(bytes / std::max(since.count(), LEAST_SECONDS)) + "/s";
}

ProgressLine::ProgressLine(int fd) : fd(fd), terminal(isatty(fd) == 1) {}

ProgressLine::~ProgressLine() {
  try {
    finish();
  } catch (const OutputError&) {
    // The exit status tells of what is more important.
  }
}

void ProgressLine::show(const CopyProgress& progress) {
  auto now = Clock::now();
  auto text = progressText(progress, now - begin);
  if (terminal) return overwrite(text);
  held = text + "\n";
  if (now < next) return;
  next = now + LINE_INTERVAL;
  write(fd, held);
  held.clear();
}

void ProgressLine::overwrite(const std::string& text) {
  size_t rest = width > text.size() ? width - text.size() : 0;
  write(fd, "\r" + text + std::string(rest, ' '));
  width = text.size();
}

void ProgressLine::finish() {
  if (width > 0) held = "\n";
  width = 0;
  if (!held.empty()) write(fd, std::exchange(held, ""));
}

}  // namespace warden::client
