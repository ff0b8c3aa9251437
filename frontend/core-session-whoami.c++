// The request that says what its client may do.

#include "frontend/core-session.h"

namespace warden::frontend {

namespace {

void describe(const std::vector<HostPrefix>& prefixes,
              google::protobuf::RepeatedPtrField<WhoamiResponse::Prefix>& out) {
  for (auto& prefix : prefixes) {
    auto& described = *out.Add();
    described.set_path(prefix.path);
    described.set_reads(prefix.reads);
    described.set_writes(prefix.writes);
  }
}

}  // namespace

kj::Promise<void> CoreSession::whoami(const WhoamiRequest&, ResponseWriter& out) {
  auto& peer = requester.peer();
  auto& grant = requester.grant();
  WhoamiResponse response;
  response.set_uid(peer.uid);
  response.set_gid(peer.gid);
  for (gid_t group : peer.groups)
    response.add_groups(group);
  response.set_administrator(requester.isAdministrator());
  response.set_rule(grant.source);
  for (size_t i = 0; i < grant.requests.size(); ++i) {
    if (grant.requests.test(i)) response.add_requests(nameOf(static_cast<AccessRequest>(i)));
  }
  response.set_privileged(grant.privileged);
  describe(grant.images, *response.mutable_images());
  describe(grant.bindMounts, *response.mutable_bind_mounts());
  describe(grant.copies, *response.mutable_copies());
  if (grant.containers) response.set_max_containers(*grant.containers);
  if (grant.ports) response.set_max_ports(*grant.ports);
  if (grant.memory) response.set_max_memory(*grant.memory);
  if (grant.disk) response.set_max_disk(*grant.disk);
  response.set_profile(grant.profile);
  return out.send(Message::Whoami, response);
}

}  // namespace warden::frontend
