#pragma once
// What one client connection asks, carried out on the registry.

#include "frontend/registry.h"
#include "frontend/session.h"

namespace warden::frontend {

class CoreSession final : public Session {
 public:
  CoreSession(const Services& services, Registry& registry, int client);
  // `client`: its socket, borrowed.
  ~CoreSession() noexcept(false) override;
  KJ_DISALLOW_COPY(CoreSession);

  kj::Promise<Continuation> handle(Message::Type type, kj::Array<kj::byte> request,
                                   ResponseWriter& out) override;

 private:
  const Services& services;
  Registry& registry;
  Requester requester;
  ConnectionNumber connection;

  template <typename Request>
  using Handler = kj::Promise<void> (CoreSession::*)(const Request& request, ResponseWriter& out);

  kj::Promise<Continuation> admit(Message::Type type, kj::Array<kj::byte> request,
                                  ResponseWriter& out);
  Place takePlace();
  // Of those for requests that are under way. Throws an error for the client.
  kj::Promise<Continuation> dispatchWhenRecovered(Message::Type type, kj::Array<kj::byte> request,
                                                  ResponseWriter& out);
  kj::Promise<Continuation> dispatch(Message::Type type, kj::ArrayPtr<const kj::byte> request,
                                     ResponseWriter& out);
  template <typename Request>
  kj::Promise<Continuation> decodeAndCall(kj::ArrayPtr<const kj::byte> bytes, ResponseWriter& out,
                                          Handler<Request> handler,
                                          kj::Maybe<AccessRequest> access = nullptr);

  kj::Own<Container> find(const std::string& handle) {
    return registry.find(connection, requester, handle);
  }

  void requireGrant(AccessRequest request) const;
  void requireGrantOf(bool privilegedJob) const;
  // Throw an error for the client.

  kj::Promise<void> whoami(const WhoamiRequest& request, ResponseWriter& out);
  kj::Promise<void> ping(const PingRequest& request, ResponseWriter& out);
  kj::Promise<void> echo(const EchoRequest& request, ResponseWriter& out);
  kj::Promise<void> listAll(ResponseWriter& out);
  kj::Promise<void> list(const ListRequest& request, ResponseWriter& out);
  kj::Promise<void> create(const CreateRequest& request, ResponseWriter& out);
  kj::Promise<void> stop(const StopRequest& request, ResponseWriter& out);
  kj::Promise<void> destroy(const DestroyRequest& request, ResponseWriter& out);
  kj::Promise<void> info(const InfoRequest& request, ResponseWriter& out);
  kj::Promise<void> spawn(const SpawnRequest& request, ResponseWriter& out);
  kj::Promise<void> link(const LinkRequest& request, ResponseWriter& out);
  kj::Promise<void> run(const RunRequest& request, ResponseWriter& out);
  kj::Promise<void> stream(const StreamRequest& request, ResponseWriter& out);
  kj::Promise<void> limitMemory(const LimitMemoryRequest& request, ResponseWriter& out);
  kj::Promise<void> limitCpu(const LimitCpuRequest& request, ResponseWriter& out);
  kj::Promise<void> limitDisk(const LimitDiskRequest& request, ResponseWriter& out);
  kj::Promise<void> limitBandwidth(const LimitBandwidthRequest& request, ResponseWriter& out);
  kj::Promise<void> netIn(const NetInRequest& request, ResponseWriter& out);
  kj::Promise<void> copyIn(const CopyInRequest& request, ResponseWriter& out);
  kj::Promise<void> copyOut(const CopyOutRequest& request, ResponseWriter& out);
  kj::Promise<void> netOut(const NetOutRequest& request, ResponseWriter& out);
};

}  // namespace warden::frontend
