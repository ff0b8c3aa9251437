// How InfoResponse is shown. The protobuf runtime in use has no reflection (LITE_RUNTIME), hence
// the tables.
#include <nlohmann/json.hpp>

#include "client/output.h"

namespace warden::client {

using Json = nlohmann::ordered_json;

namespace {

// Where a limit is not set, the server says so with these (docs/PROTOCOL.md).
constexpr uint64_t UNLIMITED_MEMORY = 9223372036854771712u;
constexpr uint64_t UNLIMITED_BANDWIDTH = 0xffffffff;

template <typename Message>
struct NumberField {
  const char* name;
  const char* unit;
  bool (Message::*has)() const;
  uint64_t (Message::*get)() const;
  uint64_t unlimited = UINT64_MAX;
};

using Memory = InfoResponse::MemoryStat;
using Cpu = InfoResponse::CpuStat;
using Disk = InfoResponse::DiskStat;
using Bandwidth = InfoResponse::BandwidthStat;

#define NUMBER(type, name, unit) #name, unit, &type::has_##name, &type::name
const NumberField<Memory> MEMORY_FIELDS[] = {
    {NUMBER(Memory, cache, "bytes")},
    {NUMBER(Memory, rss, "bytes")},
    {NUMBER(Memory, mapped_file, "bytes")},
    {NUMBER(Memory, pgpgin, "pages")},
    {NUMBER(Memory, pgpgout, "pages")},
    {NUMBER(Memory, swap, "bytes")},
    {NUMBER(Memory, pgfault, "faults")},
    {NUMBER(Memory, pgmajfault, "faults")},
    {NUMBER(Memory, inactive_anon, "bytes")},
    {NUMBER(Memory, active_anon, "bytes")},
    {NUMBER(Memory, inactive_file, "bytes")},
    {NUMBER(Memory, active_file, "bytes")},
    {NUMBER(Memory, unevictable, "bytes")},
    {NUMBER(Memory, hierarchical_memory_limit, "bytes"), UNLIMITED_MEMORY},
    {NUMBER(Memory, hierarchical_memsw_limit, "bytes"), UNLIMITED_MEMORY},
    {NUMBER(Memory, total_cache, "bytes")},
    {NUMBER(Memory, total_rss, "bytes")},
    {NUMBER(Memory, total_mapped_file, "bytes")},
    {NUMBER(Memory, total_pgpgin, "pages")},
    {NUMBER(Memory, total_pgpgout, "pages")},
    {NUMBER(Memory, total_swap, "bytes")},
    {NUMBER(Memory, total_pgfault, "faults")},
    {NUMBER(Memory, total_pgmajfault, "faults")},
    {NUMBER(Memory, total_inactive_anon, "bytes")},
    {NUMBER(Memory, total_active_anon, "bytes")},
    {NUMBER(Memory, total_inactive_file, "bytes")},
    {NUMBER(Memory, total_active_file, "bytes")},
    {NUMBER(Memory, total_unevictable, "bytes")},
};
const NumberField<Cpu> CPU_FIELDS[] = {
    {NUMBER(Cpu, usage, "ns")},
    {NUMBER(Cpu, user, "ticks")},
    {NUMBER(Cpu, system, "ticks")},
};
const NumberField<Disk> DISK_FIELDS[] = {
    {NUMBER(Disk, bytes_used, "bytes")},
    {NUMBER(Disk, inodes_used, "inodes")},
};
const NumberField<Bandwidth> BANDWIDTH_FIELDS[] = {
    {NUMBER(Bandwidth, in_rate, "bytes/s"), UNLIMITED_BANDWIDTH},
    {NUMBER(Bandwidth, in_burst, "bytes"), UNLIMITED_BANDWIDTH},
    {NUMBER(Bandwidth, out_rate, "bytes/s"), UNLIMITED_BANDWIDTH},
    {NUMBER(Bandwidth, out_burst, "bytes"), UNLIMITED_BANDWIDTH},
};
#undef NUMBER

template <typename Message, size_t N>
Json numbersToJson(const NumberField<Message> (&fields)[N], const Message& message) {
  Json json = Json::object();
  for (const auto& field : fields) {
    if ((message.*field.has)()) json[field.name] = (message.*field.get)();
  }
  return json;
}

class Table {
 public:
  void row(std::string_view name, std::string_view value) {
    constexpr size_t NAME_WIDTH = 40;
    text.append(name);
    text.append(name.size() < NAME_WIDTH ? NAME_WIDTH - name.size() : 1, ' ');
    text.append(value).append("\n");
  }

  template <typename Message, size_t N>
  void rows(const std::string& group, const NumberField<Message> (&fields)[N],
            const Message& message) {
    for (const auto& field : fields) {
      if (!(message.*field.has)()) continue;
      uint64_t value = (message.*field.get)();
      row(group + field.name,
          value == field.unlimited ? "unlimited" : std::to_string(value) + " " + field.unit);
    }
  }

  std::string text;
};

}  // namespace

Json infoToJson(const InfoResponse& info) {
  Json json = Json::object();
  if (info.has_state()) json["state"] = bytesToJson(info.state());
  json["events"] = Json::array();
  for (const auto& event : info.events())
    json["events"].push_back(bytesToJson(event));
  if (info.has_host_ip()) json["host_ip"] = bytesToJson(info.host_ip());
  if (info.has_container_ip()) json["container_ip"] = bytesToJson(info.container_ip());
  if (info.has_container_path()) json["container_path"] = bytesToJson(info.container_path());
  json["job_ids"] = Json::array();
  for (uint64_t id : info.job_ids())
    json["job_ids"].push_back(id);
  if (info.has_memory_stat())
    json["memory_stat"] = numbersToJson(MEMORY_FIELDS, info.memory_stat());
  if (info.has_cpu_stat()) json["cpu_stat"] = numbersToJson(CPU_FIELDS, info.cpu_stat());
  if (info.has_disk_stat()) json["disk_stat"] = numbersToJson(DISK_FIELDS, info.disk_stat());
  if (info.has_bandwidth_stat()) {
    json["bandwidth_stat"] = numbersToJson(BANDWIDTH_FIELDS, info.bandwidth_stat());
  }
  return json;
}

std::string infoToText(const InfoResponse& info) {
  Table table;
  if (info.has_state()) table.row("state", printable(info.state()));
  for (const auto& event : info.events())
    table.row("event", printable(event));
  if (info.has_host_ip()) table.row("host_ip", printable(info.host_ip()));
  if (info.has_container_ip()) table.row("container_ip", printable(info.container_ip()));
  if (info.has_container_path()) table.row("container_path", printable(info.container_path()));
  for (uint64_t id : info.job_ids())
    table.row("job_id", std::to_string(id));
  table.rows("memory_stat.", MEMORY_FIELDS, info.memory_stat());
  table.rows("cpu_stat.", CPU_FIELDS, info.cpu_stat());
  table.rows("disk_stat.", DISK_FIELDS, info.disk_stat());
  table.rows("bandwidth_stat.", BANDWIDTH_FIELDS, info.bandwidth_stat());
  return table.text;
}

}  // namespace warden::client
