// The commands for limits and the network.

#include <unistd.h>

#include "client/commands.h"
#include "client/number-table.h"
#include "client/output.h"

namespace warden::client {

using Json = nlohmann::ordered_json;

namespace {

const NumberField<LimitMemoryResponse> MEMORY_FIELDS[] = {
    {WARDEN_NUMBER(LimitMemoryResponse, limit_in_bytes, "bytes"), UNLIMITED_MEMORY},
};
const NumberField<LimitCpuResponse> CPU_FIELDS[] = {
    {WARDEN_NUMBER(LimitCpuResponse, limit_in_shares, "shares")},
};
const NumberField<LimitBandwidthResponse> BANDWIDTH_FIELDS[] = {
    {WARDEN_NUMBER(LimitBandwidthResponse, rate, "bytes/s")},
    {WARDEN_NUMBER(LimitBandwidthResponse, burst, "bytes")},
};
const NumberField<LimitDiskResponse> DISK_FIELDS[] = {
    {WARDEN_NUMBER(LimitDiskResponse, block_limit, "blocks"), UNLIMITED_DISK},
    {WARDEN_NUMBER(LimitDiskResponse, block, "blocks"), UNLIMITED_DISK},
    {WARDEN_NUMBER(LimitDiskResponse, block_soft, "blocks"), UNLIMITED_DISK},
    {WARDEN_NUMBER(LimitDiskResponse, block_hard, "blocks"), UNLIMITED_DISK},
    {WARDEN_NUMBER(LimitDiskResponse, inode_limit, "inodes"), UNLIMITED_DISK},
    {WARDEN_NUMBER(LimitDiskResponse, inode, "inodes"), UNLIMITED_DISK},
    {WARDEN_NUMBER(LimitDiskResponse, inode_soft, "inodes"), UNLIMITED_DISK},
    {WARDEN_NUMBER(LimitDiskResponse, inode_hard, "inodes"), UNLIMITED_DISK},
    {WARDEN_NUMBER(LimitDiskResponse, byte_limit, "bytes"), UNLIMITED_DISK},
    {WARDEN_NUMBER(LimitDiskResponse, byte, "bytes"), UNLIMITED_DISK},
    {WARDEN_NUMBER(LimitDiskResponse, byte_soft, "bytes"), UNLIMITED_DISK},
    {WARDEN_NUMBER(LimitDiskResponse, byte_hard, "bytes"), UNLIMITED_DISK},
};

template <typename Message, size_t N>
int show(bool json, const NumberField<Message> (&fields)[N], const Message& message) {
  if (json) {
    write(STDOUT_FILENO, dump(numbersToJson(fields, message)));
  } else {
    Table table;
    table.rows("", fields, message);
    write(STDOUT_FILENO, table.text);
  }
  return 0;
}

}  // namespace

int Commands::limitMemory(const LimitMemoryRequest& request) {
  return show(settings.json, MEMORY_FIELDS, connect().limitMemory(request));
}

int Commands::limitCpu(const LimitCpuRequest& request) {
  return show(settings.json, CPU_FIELDS, connect().limitCpu(request));
}

int Commands::limitDisk(const LimitDiskRequest& request) {
  auto limits = connect().limitDisk(request);
  if (!settings.json && limits.ByteSizeLong() == 0) {
    write(STDOUT_FILENO, "nothing is limited: disk quotas are off in the server's configuration\n");
    return 0;
  }
  return show(settings.json, DISK_FIELDS, limits);
}

int Commands::limitBandwidth(const LimitBandwidthRequest& request) {
  return show(settings.json, BANDWIDTH_FIELDS, connect().limitBandwidth(request));
}

int Commands::netIn(const NetInRequest& request) {
  auto ports = connect().netIn(request);
  if (settings.json) {
    write(STDOUT_FILENO,
          dump(Json{{"host_port", ports.host_port()}, {"container_port", ports.container_port()}}));
  } else {
    Table table;
    table.row("host_port", std::to_string(ports.host_port()));
    table.row("container_port", std::to_string(ports.container_port()));
    write(STDOUT_FILENO, table.text);
  }
  return 0;
}

int Commands::netOut(const NetOutRequest& request) {
  connect().netOut(request);
  return done();
}

}  // namespace warden::client
