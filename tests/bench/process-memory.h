#pragma once

#include <fstream>
#include <optional>
#include <string>

namespace warden::bench {

// A field of a process' memory in KiB, such as "Pss" or "Pss_Anon" (proc(5), smaps_rollup). What is
// shared with other processes counts in part. Nothing if the process has ended.
inline std::optional<double> memoryKib(int pid, const std::string& field) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
  const std::string prefix = field + ":";
  for (std::string line; std::getline(file, line);)
    if (line.rfind(prefix, 0) == 0) return std::stod(line.substr(prefix.size()));
  return std::nullopt;
}

}  // namespace warden::bench
