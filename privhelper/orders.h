#pragma once
// What a request asks for, once it is known to be within the policy.

#include <kj/array.h>
#include <kj/vector.h>
#include <stdint.h>
#include <sys/types.h>

#include <string>

#include "base/container-id.h"
#include "base/fd.h"
#include "base/ipv4.h"
#include "schema/privhelper.capnp.h"

namespace warden::privhelper {

struct EtcFile {
  const char* name;  // one of a fixed set
  kj::Array<kj::byte> content;
};

struct BindOrder {
  std::string source;  // on the host
  std::string target;  // in the container
  bool writable;
};

struct OpenedMount {
  // Detached, and as the porter answers it: nosuid, nodev, private.
  Fd tree;
  bool isDirectory;
};

struct OpenedImage {
  OpenedMount mount;
  bool allIds;  // false: only the client's files are anybody's in the container
};

struct CreateOrder {
  ContainerId id;
  uint32_t slot;
  kj::Maybe<uint32_t> imageVcapUid;
  kj::Maybe<uint32_t> imageVcapGid;
  kj::Array<EtcFile> etcFiles;
  uint32_t network;
  uint32_t image;  // 0: the configured one
  kj::Array<BindOrder> bindMounts;
  // Of the client; the request does not say it.
  uid_t owner;
  gid_t ownerGid;
  bool privilegedJobs;
  uint32_t profile;            // its place in the policy
  kj::Maybe<uint64_t> memory;  // bytes; limits from the start on
  kj::Maybe<uint64_t> disk;
  // What was opened for it.
  kj::Maybe<OpenedImage> openedImage;
  kj::Vector<OpenedMount> openedSources;  // one for each of bindMounts
};

struct CopyOrder {
  ContainerId id;
  std::string path;  // on the host
  kj::String owner;
};

struct DiskLimits {
  // 0 is unlimited.
  uint64_t blocksSoft = 0;  // of 1024 bytes
  uint64_t blocksHard = 0;
  uint64_t inodesSoft = 0;
  uint64_t inodesHard = 0;
};
constexpr uint64_t BLOCK_BYTES = 1024;

DiskLimits limitsFrom(schema::DiskLimits::Reader in);
void put(schema::DiskLimits::Builder out, const DiskLimits& limits);

inline DiskLimits diskLimitsOf(const CreateOrder& order) {
  uint64_t blocks = order.disk.orDefault(0) / BLOCK_BYTES;
  return {.blocksSoft = blocks, .blocksHard = blocks, .inodesSoft = 0, .inodesHard = 0};
}

struct LimitOrder {
  ContainerId id;
  kj::Maybe<uint64_t> value;  // none: it is asked for
};

struct DiskOrder {
  ContainerId id;
  kj::Maybe<DiskLimits> limits;  // none: they are asked for
};

struct BandwidthOrder {
  ContainerId id;
  uint64_t rate;   // bytes a second
  uint64_t burst;  // bytes
};

struct PortOrder {
  ContainerId id;
  uint16_t hostPort;
  uint16_t containerPort;
};

struct OutRule {
  // What a container may open connections to.
  using Protocol = schema::Protocol;

  Ipv4Range destination;
  schema::Protocol protocol;
  uint16_t firstPort;  // both included; 0 .. 65535 is any
  uint16_t lastPort;
  int16_t icmpType;  // -1: any
  int16_t icmpCode;
  bool log;
};

OutRule ruleFrom(schema::AllowOut::Reader in);
void put(schema::AllowOut::Builder out, const OutRule& rule);
// Without the container's id. Nothing is checked: request-check.h.

// What of a container's network lasts.

struct MappedPort {
  uint16_t hostPort;
  uint16_t containerPort;
};

struct Bandwidth {
  uint64_t rate;        // bytes a second
  uint64_t burst;       // bytes
  uint32_t generation;  // how often it was set (links.h, shape)
  bool complete;        // false: it is about to be set
};

struct OutOrder {
  ContainerId id;
  OutRule rule;
};

}  // namespace warden::privhelper
