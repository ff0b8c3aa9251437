#include "frontend/cgroup-files.h"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace warden::frontend {

namespace {

using Memory = InfoResponse::MemoryStat;
using Cpu = InfoResponse::CpuStat;

constexpr uint64_t NANOSECONDS_PER_MICROSECOND = 1000;
constexpr uint64_t MICROSECONDS_PER_SECOND = 1000000;

struct MemoryField {
  std::string_view name;
  void (Memory::*set)(uint64_t);
};

// In the order of their names, for the search.
#define FIELD(name) \
  { #name, &Memory::set_##name }
constexpr MemoryField V1_FIELDS[] = {
    FIELD(active_anon),
    FIELD(active_file),
    FIELD(cache),
    FIELD(hierarchical_memory_limit),
    FIELD(hierarchical_memsw_limit),
    FIELD(inactive_anon),
    FIELD(inactive_file),
    FIELD(mapped_file),
    FIELD(pgfault),
    FIELD(pgmajfault),
    FIELD(pgpgin),
    FIELD(pgpgout),
    FIELD(rss),
    FIELD(swap),
    FIELD(total_active_anon),
    FIELD(total_active_file),
    FIELD(total_cache),
    FIELD(total_inactive_anon),
    FIELD(total_inactive_file),
    FIELD(total_mapped_file),
    FIELD(total_pgfault),
    FIELD(total_pgmajfault),
    FIELD(total_pgpgin),
    FIELD(total_pgpgout),
    FIELD(total_rss),
    FIELD(total_swap),
    FIELD(total_unevictable),
    FIELD(unevictable),
};
#undef FIELD

struct PairedField {
  // v2 counts with all descendants, so that one counter is both fields.
  std::string_view name;
  void (Memory::*set)(uint64_t);
  void (Memory::*setTotal)(uint64_t);
};

#define FIELD(name, field) \
  { #name, &Memory::set_##field, &Memory::set_total_##field }
constexpr PairedField V2_FIELDS[] = {
    FIELD(active_anon, active_anon),
    FIELD(active_file, active_file),
    FIELD(anon, rss),
    FIELD(file, cache),
    FIELD(file_mapped, mapped_file),
    FIELD(inactive_anon, inactive_anon),
    FIELD(inactive_file, inactive_file),
    FIELD(pgfault, pgfault),
    FIELD(pgmajfault, pgmajfault),
    FIELD(unevictable, unevictable),
};
#undef FIELD

template <typename Field, size_t N>
constexpr bool isSorted(const Field (&fields)[N]) {
  return std::is_sorted(std::begin(fields), std::end(fields),
                        [](const Field& a, const Field& b) { return a.name < b.name; });
}
static_assert(isSorted(V1_FIELDS) && isSorted(V2_FIELDS));

template <typename Field, size_t N>
const Field* find(const Field (&fields)[N], std::string_view name) {
  auto found = std::lower_bound(
      std::begin(fields), std::end(fields), name,
      [](const Field& field, std::string_view wanted) { return field.name < wanted; });
  return found != std::end(fields) && found->name == name ? found : nullptr;
}

kj::Maybe<uint64_t> parseNumber(std::string_view digits) {
  uint64_t value;
  auto end = digits.data() + digits.size();
  auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (error != std::errc() || stop != end) return nullptr;
  return value;
}

std::string_view firstLine(CgroupText text) {
  std::string_view whole(text.begin(), text.size());
  return whole.substr(0, whole.find('\n'));
}

// Calls handle(name, value) for each complete line "name value".
template <typename Handle>
void forEachCounter(CgroupText text, Handle&& handle) {
  std::string_view rest(text.begin(), text.size());
  for (size_t end; (end = rest.find('\n')) != std::string_view::npos; rest.remove_prefix(end + 1)) {
    auto line = rest.substr(0, end);
    auto space = line.find(' ');
    if (space == std::string_view::npos) continue;
    KJ_IF_MAYBE (value, parseNumber(line.substr(space + 1))) {
      handle(line.substr(0, space), *value);
    }
  }
}

}  // namespace

void readMemoryStatV1(CgroupText text, Memory& stat) {
  forEachCounter(text, [&](std::string_view name, uint64_t value) {
    if (auto field = find(V1_FIELDS, name)) (stat.*field->set)(value);
  });
}

void readCpuUsageV1(CgroupText text, Cpu& stat) {
  KJ_IF_MAYBE (value, parseNumber(firstLine(text))) {
    stat.set_usage(*value);
  }
}

void readCpuStatV1(CgroupText text, Cpu& stat) {
  forEachCounter(text, [&](std::string_view name, uint64_t value) {
    if (name == "user") stat.set_user(value);
    if (name == "system") stat.set_system(value);
  });
}

void readMemoryStatV2(CgroupText text, Memory& stat) {
  forEachCounter(text, [&](std::string_view name, uint64_t value) {
    if (auto field = find(V2_FIELDS, name)) {
      (stat.*field->set)(value);
      (stat.*field->setTotal)(value);
    }
  });
}

void readMemoryMaxV2(CgroupText text, Memory& stat) {
  auto line = firstLine(text);
  auto limit = line == "max" ? kj::Maybe<uint64_t>(UNLIMITED_MEMORY) : parseNumber(line);
  KJ_IF_MAYBE (value, limit) {
    stat.set_hierarchical_memory_limit(*value);
    stat.set_hierarchical_memsw_limit(*value);
  }
}

void readMemorySwapV2(CgroupText text, Memory& stat) {
  KJ_IF_MAYBE (value, parseNumber(firstLine(text))) {
    stat.set_swap(*value);
    stat.set_total_swap(*value);
  }
}

void readCpuStatV2(CgroupText text, Cpu& stat, uint64_t ticksPerSecond) {
  auto ticks = [&](uint64_t microseconds) {
    return microseconds / (MICROSECONDS_PER_SECOND / ticksPerSecond);
  };
  forEachCounter(text, [&](std::string_view name, uint64_t value) {
    if (name == "usage_usec") stat.set_usage(value * NANOSECONDS_PER_MICROSECOND);
    if (name == "user_usec") stat.set_user(ticks(value));
    if (name == "system_usec") stat.set_system(ticks(value));
  });
}

kj::Maybe<uint64_t> readOomKills(CgroupText text) {
  kj::Maybe<uint64_t> kills;
  forEachCounter(text, [&](std::string_view name, uint64_t value) {
    if (name == "oom_kill") kills = value;
  });
  return kills;
}

}  // namespace warden::frontend
