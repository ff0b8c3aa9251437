// How InfoResponse is shown.
#include <nlohmann/json.hpp>

#include "client/number-table.h"
#include "client/output.h"

namespace warden::client {

using Json = nlohmann::ordered_json;

namespace {

using Memory = InfoResponse::MemoryStat;
using Cpu = InfoResponse::CpuStat;
using Disk = InfoResponse::DiskStat;
using Bandwidth = InfoResponse::BandwidthStat;

const NumberField<Memory> MEMORY_FIELDS[] = {
    {WARDEN_NUMBER(Memory, cache, "bytes")},
    {WARDEN_NUMBER(Memory, rss, "bytes")},
    {WARDEN_NUMBER(Memory, mapped_file, "bytes")},
    {WARDEN_NUMBER(Memory, pgpgin, "pages")},
    {WARDEN_NUMBER(Memory, pgpgout, "pages")},
    {WARDEN_NUMBER(Memory, swap, "bytes")},
    {WARDEN_NUMBER(Memory, pgfault, "faults")},
    {WARDEN_NUMBER(Memory, pgmajfault, "faults")},
    {WARDEN_NUMBER(Memory, inactive_anon, "bytes")},
    {WARDEN_NUMBER(Memory, active_anon, "bytes")},
    {WARDEN_NUMBER(Memory, inactive_file, "bytes")},
    {WARDEN_NUMBER(Memory, active_file, "bytes")},
    {WARDEN_NUMBER(Memory, unevictable, "bytes")},
    {WARDEN_NUMBER(Memory, hierarchical_memory_limit, "bytes"), UNLIMITED_MEMORY},
    {WARDEN_NUMBER(Memory, hierarchical_memsw_limit, "bytes"), UNLIMITED_MEMORY},
    {WARDEN_NUMBER(Memory, total_cache, "bytes")},
    {WARDEN_NUMBER(Memory, total_rss, "bytes")},
    {WARDEN_NUMBER(Memory, total_mapped_file, "bytes")},
    {WARDEN_NUMBER(Memory, total_pgpgin, "pages")},
    {WARDEN_NUMBER(Memory, total_pgpgout, "pages")},
    {WARDEN_NUMBER(Memory, total_swap, "bytes")},
    {WARDEN_NUMBER(Memory, total_pgfault, "faults")},
    {WARDEN_NUMBER(Memory, total_pgmajfault, "faults")},
    {WARDEN_NUMBER(Memory, total_inactive_anon, "bytes")},
    {WARDEN_NUMBER(Memory, total_active_anon, "bytes")},
    {WARDEN_NUMBER(Memory, total_inactive_file, "bytes")},
    {WARDEN_NUMBER(Memory, total_active_file, "bytes")},
    {WARDEN_NUMBER(Memory, total_unevictable, "bytes")},
};
const NumberField<Cpu> CPU_FIELDS[] = {
    {WARDEN_NUMBER(Cpu, usage, "ns")},
    {WARDEN_NUMBER(Cpu, user, "ticks")},
    {WARDEN_NUMBER(Cpu, system, "ticks")},
};
const NumberField<Disk> DISK_FIELDS[] = {
    {WARDEN_NUMBER(Disk, bytes_used, "bytes")},
    {WARDEN_NUMBER(Disk, inodes_used, "inodes")},
};
const NumberField<Bandwidth> BANDWIDTH_FIELDS[] = {
    {WARDEN_NUMBER(Bandwidth, in_rate, "bytes/s"), UNLIMITED_BANDWIDTH},
    {WARDEN_NUMBER(Bandwidth, in_burst, "bytes"), UNLIMITED_BANDWIDTH},
    {WARDEN_NUMBER(Bandwidth, out_rate, "bytes/s"), UNLIMITED_BANDWIDTH},
    {WARDEN_NUMBER(Bandwidth, out_burst, "bytes"), UNLIMITED_BANDWIDTH},
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
