#include "client/number-table.h"

#include <cstdio>

namespace warden::client {

std::string quantity(uint64_t value, std::string_view unit) {
  constexpr struct {
    int shift;
    const char* name;
  } PREFIXES[] = {{40, "TiB"}, {30, "GiB"}, {20, "MiB"}};
  auto text = std::to_string(value);
  text.append(" ").append(unit);
  if (!unit.starts_with("bytes")) return text;
  for (auto& prefix : PREFIXES) {
    if (value >> prefix.shift == 0) continue;
    char large[32];
    snprintf(large, sizeof(large), " (%.1f %s", static_cast<double>(value) / (1ull << prefix.shift),
             prefix.name);
    return text + large + std::string(unit.substr(5)) + ")";
  }
  return text;
}

void Table::row(std::string_view name, std::string_view value) {
  constexpr size_t NAME_WIDTH = 40;
  text.append(name);
  text.append(name.size() < NAME_WIDTH ? NAME_WIDTH - name.size() : 1, ' ');
  text.append(value).append("\n");
}

}  // namespace warden::client
