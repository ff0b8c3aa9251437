#pragma once
// Latencies as JSON: {"name": {"p50_us": ..., "p95_us": ..., "n": ...}}.

#include <time.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace warden::bench {

inline double nowUs() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) / 1e3;
}

class Series {
  // Durations of one operation, in microseconds.

 public:
  void add(double us) { values.push_back(us); }
  void add(const Series& other) {
    values.insert(values.end(), other.values.begin(), other.values.end());
  }
  size_t count() const { return values.size(); }

  double percentile(double p) const {
    if (values.empty()) return 0;
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    return sorted[std::min(sorted.size() - 1, static_cast<size_t>(p * sorted.size()))];
  }

 private:
  std::vector<double> values;
};

class Results {
 public:
  void add(const std::string& name, const Series& series) {
    char text[160];
    snprintf(text, sizeof(text), "{\"p50_us\": %.1f, \"p95_us\": %.1f, \"n\": %zu}",
             series.percentile(0.50), series.percentile(0.95), series.count());
    entries.emplace_back(name, text);
  }
  void add(const std::string& name, double value) {
    char text[64];
    snprintf(text, sizeof(text), "%.2f", value);
    entries.emplace_back(name, text);
  }
  std::string json() const {
    std::string text = "{";
    for (const auto& [name, value] : entries) {
      if (text.size() > 1) text += ",";
      text += "\n  \"" + name + "\": " + value;
    }
    return text + "\n}\n";
  }

 private:
  std::vector<std::pair<std::string, std::string>> entries;
};

}  // namespace warden::bench
