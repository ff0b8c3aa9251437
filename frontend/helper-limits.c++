// The part of the connection to the helper that concerns limits and the network.

#include <errno.h>

#include "frontend/helper-client.h"
#include "frontend/helper-failure.h"

namespace warden::frontend {

namespace {

kj::StringPtr limitAdvice(int error) {
  switch (error) {
    case EBUSY:
      return "the container uses more than that: end some of its processes, or ask for more";
    case ENOTSUP:
      return "this host lacks what it takes: look into the helper's log";
    default:
      return adviceFor(error);
  }
}

kj::StringPtr networkAdvice(int error) {
  switch (error) {
    case ENOSPC:
      return "the container has as many as it can have: destroy it and create another";
    default:
      return adviceFor(error);
  }
}

DiskState readDisk(schema::HelperReply::Reader reply) {
  if (!reply.isDisk()) {
    kj::throwFatalException(failureOf("limit the disk space", reply, limitAdvice));
  }
  auto disk = reply.getDisk();
  auto limits = disk.getLimits();
  return {{limits.getBlocksSoft(), limits.getBlocksHard(), limits.getInodesSoft(),
           limits.getInodesHard()},
          disk.getBytesUsed(),
          disk.getInodesUsed()};
}

}  // namespace

kj::Promise<uint64_t> HelperClient::limitMemory(int client, const ContainerId& id,
                                                kj::Maybe<uint64_t> bytes) {
  auto limited = ask(client, [&](auto root) {
    auto limit = root.initLimitMemory();
    limit.setId(id.text());
    KJ_IF_MAYBE (value, bytes) {
      limit.setBytes(*value);
    } else {
      limit.setRead();
    }
  });
  return limited.then([](Packet packet) {
    auto reply = packet.getRoot<schema::HelperReply>();
    if (!reply.isMemoryLimit()) {
      kj::throwFatalException(failureOf("limit the memory", reply, limitAdvice));
    }
    return reply.getMemoryLimit();
  });
}

kj::Promise<uint64_t> HelperClient::limitCpu(int client, const ContainerId& id,
                                             kj::Maybe<uint64_t> shares) {
  auto limited = ask(client, [&](auto root) {
    auto limit = root.initLimitCpu();
    limit.setId(id.text());
    KJ_IF_MAYBE (value, shares) {
      limit.setShares(*value);
    } else {
      limit.setRead();
    }
  });
  return limited.then([](Packet packet) {
    auto reply = packet.getRoot<schema::HelperReply>();
    if (!reply.isCpuShares()) {
      kj::throwFatalException(failureOf("limit the cpu shares", reply, limitAdvice));
    }
    return reply.getCpuShares();
  });
}

kj::Promise<DiskState> HelperClient::limitDisk(int client, const ContainerId& id,
                                               kj::Maybe<DiskLimits> limits) {
  auto limited = ask(client, [&](auto root) {
    auto limit = root.initLimitDisk();
    limit.setId(id.text());
    KJ_IF_MAYBE (wanted, limits) {
      auto values = limit.initLimits();
      values.setBlocksSoft(wanted->blocksSoft);
      values.setBlocksHard(wanted->blocksHard);
      values.setInodesSoft(wanted->inodesSoft);
      values.setInodesHard(wanted->inodesHard);
    } else {
      limit.setRead();
    }
  });
  return limited.then(
      [](Packet packet) { return readDisk(packet.getRoot<schema::HelperReply>()); });
}

kj::Promise<void> HelperClient::limitBandwidth(int client, const ContainerId& id,
                                               Bandwidth bandwidth) {
  auto limited = ask(client, [&](auto root) {
    auto limit = root.initLimitBandwidth();
    limit.setId(id.text());
    limit.setRate(bandwidth.rate);
    limit.setBurst(bandwidth.burst);
  });
  return limited.then([](Packet packet) {
    auto reply = packet.getRoot<schema::HelperReply>();
    if (!reply.isDone()) {
      kj::throwFatalException(failureOf("limit the bandwidth", reply, limitAdvice));
    }
  });
}

kj::Promise<bool> HelperClient::mapPort(int client, const ContainerId& id, uint16_t hostPort,
                                        uint16_t containerPort) {
  auto mapped = ask(client, [&](auto root) {
    auto map = root.initMapPort();
    map.setId(id.text());
    map.setHostPort(hostPort);
    map.setContainerPort(containerPort);
  });
  return mapped.then([](Packet packet) {
    auto reply = packet.getRoot<schema::HelperReply>();
    if (reply.isFailed() && reply.getFailed().getErrno() == EADDRINUSE) return false;
    if (!reply.isDone()) {
      kj::throwFatalException(failureOf("map the port", reply, networkAdvice));
    }
    return true;
  });
}

kj::Promise<void> HelperClient::allowOut(int client, const ContainerId& id, const OutRule& rule) {
  auto allowed = ask(client, [&](auto root) {
    auto allow = root.initAllowOut();
    allow.setId(id.text());
    allow.setFirstAddress(rule.addresses.first);
    allow.setLastAddress(rule.addresses.last);
    allow.setProtocol(rule.protocol);
    allow.setFirstPort(rule.firstPort);
    allow.setLastPort(rule.lastPort);
    allow.setIcmpType(rule.icmpType);
    allow.setIcmpCode(rule.icmpCode);
    allow.setLog(rule.log);
  });
  return allowed.then([](Packet packet) {
    auto reply = packet.getRoot<schema::HelperReply>();
    if (!reply.isDone()) {
      kj::throwFatalException(failureOf("allow the connections", reply, networkAdvice));
    }
  });
}

}  // namespace warden::frontend
