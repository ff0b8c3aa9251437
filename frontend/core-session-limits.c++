// The part of a session that concerns limits and the network.

#include <unistd.h>

#include "frontend/client-error.h"
#include "frontend/core-session.h"

namespace warden::frontend {

namespace {

// The largest number that is one with a sign, too, as the kernel's may be.
constexpr uint64_t LARGEST_BANDWIDTH = INT64_MAX;

void checkBandwidth(const char* field, uint64_t value, const char* unit) {
  if (value >= 1 && value <= LARGEST_BANDWIDTH) return;
  kj::throwFatalException(clientErrorOf(field, " is ", value, "; a number of ", unit, " from 1 to ",
                                        LARGEST_BANDWIDTH, " is accepted"));
}

// Rounded down to pages, less would be 0: nothing can run in that.
void checkMemory(uint64_t bytes) {
  auto page = static_cast<uint64_t>(getpagesize());
  if (bytes >= page) return;
  kj::throwFatalException(clientErrorOf("limit_in_bytes is ", bytes, "; a number from ", page,
                                        ", one page, is accepted"));
}

}  // namespace

kj::Promise<void> CoreSession::limitMemory(const LimitMemoryRequest& request, ResponseWriter& out) {
  auto container = find(request.handle());
  container->requireActiveOrStopped();
  kj::Maybe<uint64_t> bytes;
  if (request.has_limit_in_bytes()) {
    checkMemory(request.limit_in_bytes());
    auto& grant = requester.grant();
    if (grant.memory && request.limit_in_bytes() > *grant.memory) {
      kj::throwFatalException(clientErrorOf(
          PERMISSION_DENIED, "limit_in_bytes is ", request.limit_in_bytes(), ", but ", grant.source,
          ".quotas.memory of the server's configuration grants each container ", *grant.memory,
          "; ask for at most that"));
    }
    bytes = request.limit_in_bytes();
  }
  auto limited = container->limitMemory(requester.forHelper(), bytes);
  return limited.attach(kj::mv(container)).then([&out](uint64_t inForce) {
    LimitMemoryResponse response;
    response.set_limit_in_bytes(inForce);
    return out.send(Message::LimitMemory, response);
  });
}

kj::Promise<void> CoreSession::limitCpu(const LimitCpuRequest& request, ResponseWriter& out) {
  auto container = find(request.handle());
  kj::Maybe<uint64_t> shares;
  if (request.has_limit_in_shares()) shares = request.limit_in_shares();
  auto limited = container->limitCpu(requester.forHelper(), shares);
  return limited.attach(kj::mv(container)).then([&out](uint64_t inForce) {
    LimitCpuResponse response;
    response.set_limit_in_shares(inForce);
    return out.send(Message::LimitCpu, response);
  });
}

kj::Promise<void> CoreSession::limitDisk(const LimitDiskRequest& request, ResponseWriter& out) {
  auto container = find(request.handle());
  container->requireActiveOrStopped();
  if (!services.config.server.diskQuotaEnabled) {
    // As the old server did: agents limit the disk of every container, and the operator has decided
    // that nothing comes of it. An answer without fields says that nothing is in force.
    return out.send(Message::LimitDisk, LimitDiskResponse());
  }
  auto limited = container->limitDisk(requester.forHelper(), request, requester.grant());
  return limited.attach(kj::mv(container)).then([&out](DiskLimits inForce) {
    return out.send(Message::LimitDisk, describeDiskLimits(inForce));
  });
}

kj::Promise<void> CoreSession::limitBandwidth(const LimitBandwidthRequest& request,
                                              ResponseWriter& out) {
  auto container = find(request.handle());
  container->requireActiveOrStopped();
  checkBandwidth("rate", request.rate(), "bytes a second");
  checkBandwidth("burst", request.burst(), "bytes");
  auto limited =
      container->limitBandwidth(requester.forHelper(), {request.rate(), request.burst()});
  return limited.attach(kj::mv(container)).then([&request, &out]() {
    LimitBandwidthResponse response;
    response.set_rate(request.rate());
    response.set_burst(request.burst());
    return out.send(Message::LimitBandwidth, response);
  });
}

kj::Promise<void> CoreSession::netIn(const NetInRequest& request, ResponseWriter& out) {
  auto container = find(request.handle());
  container->requireActive();
  auto ports = readNetIn(request, services.config.privhelper.lowestHostPort);
  auto& grant = requester.grant();
  auto share = services.users.take(container->owner(), &UserUse::ports, grant.ports);
  if (share == nullptr) {
    kj::throwFatalException(clientErrorOf(
        PERMISSION_DENIED, "you have the ", *grant.ports, " mapped ports that ", grant.source,
        ".quotas.ports of the server's configuration grants; destroy a container first"));
  }
  auto mapped = container->mapPort(requester.forHelper(), ports, kj::mv(KJ_ASSERT_NONNULL(share)));
  return mapped.attach(kj::mv(container)).then([&out](PortMapping mapping) {
    NetInResponse response;
    response.set_host_port(mapping.hostPort);
    response.set_container_port(mapping.containerPort);
    return out.send(Message::NetIn, response);
  });
}

kj::Promise<void> CoreSession::netOut(const NetOutRequest& request, ResponseWriter& out) {
  auto container = find(request.handle());
  container->requireActive();
  auto allowed = container->allowOut(requester.forHelper(), readNetOut(request));
  return allowed.attach(kj::mv(container)).then([&out]() {
    return out.send(Message::NetOut, NetOutResponse());
  });
}

}  // namespace warden::frontend
