#include "frontend/core-session.h"

#include <spdlog/spdlog.h>

#include "frontend/client-error.h"
#include "frontend/job-answer.h"

namespace warden::frontend {

namespace {

// Also while containers of an earlier frontend are being recovered.
bool isServedAtOnce(Message::Type type) {
  return type == Message::Ping || type == Message::Echo || type == Message::Whoami;
}

// What is answered at once, and what waits for a job: of those there are as many as connections.
bool isLimited(Message::Type type) {
  switch (type) {
    case Message::Ping:
    case Message::Echo:
    case Message::List:
    case Message::Whoami:
    case Message::Run:
    case Message::Link:
    case Message::Stream:
      return false;
    default:
      return true;
  }
}

}  // namespace

CoreSession::CoreSession(const Services& services, Registry& registry, int client)
    : services(services),
      registry(registry),
      requester(client, services.access),
      connection(registry.connectionOpened()) {}

CoreSession::~CoreSession() noexcept(false) {
  registry.connectionClosed(connection);
}

kj::Promise<Continuation> CoreSession::handle(Message::Type type, kj::Array<kj::byte> request,
                                              ResponseWriter& out) {
  spdlog::debug("connection {}: {}, {} bytes", connection, Message::Type_Name(type),
                request.size());
  return kj::evalNow([&]() { return admit(type, kj::mv(request), out); })
      .catch_([&out](kj::Exception&& reason) -> kj::Promise<Continuation> {
        if (!isClientError(reason)) return kj::mv(reason);
        ErrorResponse response;
        auto text = reason.getDescription();
        response.set_message(text.begin(), text.size());
        return out.send(Message::Error, response).then([]() { return Continuation::KEEP_OPEN; });
      });
}

kj::Promise<Continuation> CoreSession::admit(Message::Type type, kj::Array<kj::byte> request,
                                             ResponseWriter& out) {
  if (!isLimited(type)) return dispatchWhenRecovered(type, kj::mv(request), out);
  auto place = takePlace();
  return dispatchWhenRecovered(type, kj::mv(request), out).attach(kj::mv(place));
}

Place CoreSession::takePlace() {
  KJ_IF_MAYBE (place, services.requests.take(requester.peer().uid)) {
    return kj::mv(*place);
  }
  kj::throwFatalException(clientErrorOf(
      "the server is busy: as many of your requests are under way as frontend.max_requests lets "
      "one user have; nothing was done: try again when some of them are answered"));
}

kj::Promise<Continuation> CoreSession::dispatchWhenRecovered(Message::Type type,
                                                             kj::Array<kj::byte> request,
                                                             ResponseWriter& out) {
  if (!registry.isRecovering() || isServedAtOnce(type)) return dispatch(type, request, out);
  return registry.whenRecovered().then(
      [this, type, request = kj::mv(request), &out]() { return dispatch(type, request, out); });
}

kj::Promise<Continuation> CoreSession::dispatch(Message::Type type,
                                                kj::ArrayPtr<const kj::byte> request,
                                                ResponseWriter& out) {
  switch (type) {
    case Message::Create:
      return decodeAndCall(request, out, &CoreSession::create, AccessRequest::CREATE);
    case Message::Stop:
      return decodeAndCall(request, out, &CoreSession::stop, AccessRequest::STOP);
    case Message::Destroy:
      return decodeAndCall(request, out, &CoreSession::destroy, AccessRequest::DESTROY);
    case Message::Info:
      return decodeAndCall(request, out, &CoreSession::info, AccessRequest::INFO);
    case Message::Spawn:
      return decodeAndCall(request, out, &CoreSession::spawn, AccessRequest::SPAWN);
    case Message::Link:
      return decodeAndCall(request, out, &CoreSession::link, AccessRequest::LINK);
    case Message::Run:
      return decodeAndCall(request, out, &CoreSession::run, AccessRequest::RUN);
    case Message::Stream:
      return decodeAndCall(request, out, &CoreSession::stream, AccessRequest::STREAM);
    case Message::Ping:
      return decodeAndCall(request, out, &CoreSession::ping);
    case Message::List:
      return decodeAndCall(request, out, &CoreSession::list);
    case Message::Echo:
      return decodeAndCall(request, out, &CoreSession::echo);
    case Message::Whoami:
      return decodeAndCall(request, out, &CoreSession::whoami);
    case Message::NetIn:
      return decodeAndCall(request, out, &CoreSession::netIn, AccessRequest::NET_IN);
    case Message::NetOut:
      return decodeAndCall(request, out, &CoreSession::netOut, AccessRequest::NET_OUT);
    case Message::CopyIn:
      return decodeAndCall(request, out, &CoreSession::copyIn, AccessRequest::COPY_IN);
    case Message::CopyOut:
      return decodeAndCall(request, out, &CoreSession::copyOut, AccessRequest::COPY_OUT);
    case Message::LimitMemory:
      return decodeAndCall(request, out, &CoreSession::limitMemory, AccessRequest::LIMIT_MEMORY);
    case Message::LimitDisk:
      return decodeAndCall(request, out, &CoreSession::limitDisk, AccessRequest::LIMIT_DISK);
    case Message::LimitBandwidth:
      return decodeAndCall(request, out, &CoreSession::limitBandwidth,
                           AccessRequest::LIMIT_BANDWIDTH);
    case Message::LimitCpu:
      return decodeAndCall(request, out, &CoreSession::limitCpu, AccessRequest::LIMIT_CPU);
    case Message::Error:
      break;  // only ever an answer
  }
  return Continuation::CLOSE;
}

namespace {

// Not ParseFromArray, which writes to stderr when a required field is missing.
bool decode(google::protobuf::MessageLite& message, kj::ArrayPtr<const kj::byte> bytes) {
  return message.ParsePartialFromArray(bytes.begin(), bytes.size()) && message.IsInitialized();
}

}  // namespace

template <typename Request>
kj::Promise<Continuation> CoreSession::decodeAndCall(kj::ArrayPtr<const kj::byte> bytes,
                                                     ResponseWriter& out, Handler<Request> handler,
                                                     kj::Maybe<AccessRequest> access) {
  auto request = kj::heap<Request>();
  if (!decode(*request, bytes)) return Continuation::CLOSE;
  KJ_IF_MAYBE (needed, access) requireGrant(*needed);
  return (this->*handler)(*request, out).attach(kj::mv(request)).then([]() {
    return Continuation::KEEP_OPEN;
  });
}

void CoreSession::requireGrant(AccessRequest request) const {
  auto& grant = requester.grant();
  if (grant.requests.test(static_cast<size_t>(request))) return;
  kj::throwFatalException(clientErrorOf(
      PERMISSION_DENIED, nameOf(request), " is not permitted to uid ", requester.peer().uid, ": ",
      grant.source,
      " of the server's configuration does not grant it; ask whoever runs the server"));
}

void CoreSession::requireGrantOf(bool privilegedJob) const {
  auto& grant = requester.grant();
  if (!privilegedJob || grant.privileged) return;
  kj::throwFatalException(clientErrorOf(
      PERMISSION_DENIED, "privileged jobs are not permitted to uid ", requester.peer().uid, ": ",
      grant.source,
      ".privileged of the server's configuration denies them; ask whoever runs the server"));
}

kj::Promise<void> CoreSession::ping(const PingRequest&, ResponseWriter& out) {
  return out.send(Message::Ping, PingResponse());
}

kj::Promise<void> CoreSession::echo(const EchoRequest& request, ResponseWriter& out) {
  EchoResponse response;
  response.set_message(request.message());
  return out.send(Message::Echo, response);
}

kj::Promise<void> CoreSession::listAll(ResponseWriter& out) {
  // Unlike the other, it asks the helper.
  return registry.describeAll(requester).attach(takePlace()).then([&out](ListResponse response) {
    return out.send(Message::List, response);
  });
}

kj::Promise<void> CoreSession::list(const ListRequest& request, ResponseWriter& out) {
  if (request.all()) return listAll(out);
  ListResponse response;
  for (auto& handle : registry.handles(requester))
    response.add_handles(handle);
  return out.send(Message::List, response);
}

kj::Promise<void> CoreSession::create(const CreateRequest& request, ResponseWriter& out) {
  return registry.create(connection, requester, request).then([&out](kj::Own<Container> container) {
    CreateResponse response;
    response.set_handle(container->handle());
    return out.send(Message::Create, response);
  });
}

kj::Promise<void> CoreSession::stop(const StopRequest& request, ResponseWriter& out) {
  auto container = find(request.handle());
  auto stopped = container->stop(request.kill());
  if (request.background()) stopped = kj::READY_NOW;
  return stopped.attach(kj::mv(container)).then([&out]() {
    return out.send(Message::Stop, StopResponse());
  });
}

kj::Promise<void> CoreSession::destroy(const DestroyRequest& request, ResponseWriter& out) {
  auto container = find(request.handle());
  return registry.destroy(kj::mv(container)).then([&out]() {
    return out.send(Message::Destroy, DestroyResponse());
  });
}

kj::Promise<void> CoreSession::info(const InfoRequest& request, ResponseWriter& out) {
  auto container = find(request.handle());
  container->requireActiveOrStopped();
  auto described = container->describe();
  return described.attach(kj::mv(container)).then([&out](InfoResponse response) {
    return out.send(Message::Info, response);
  });
}

kj::Promise<void> CoreSession::spawn(const SpawnRequest& request, ResponseWriter& out) {
  auto container = find(request.handle());
  container->requireActive();
  requireGrantOf(request.privileged());
  return container
      ->spawn(registry.nextJobId(),
              readJobRequest(request, services.config.server, registry.scripts()))
      .attach(kj::mv(container))
      .then([&out](kj::Own<Job> job) {
        SpawnResponse response;
        response.set_job_id(job->id());
        return out.send(Message::Spawn, response);
      });
}

kj::Promise<void> CoreSession::run(const RunRequest& request, ResponseWriter& out) {
  auto container = find(request.handle());
  container->requireActive();
  requireGrantOf(request.privileged());
  auto job = container->spawn(registry.nextJobId(),
                              readJobRequest(request, services.config.server, registry.scripts()));
  return job.then([container = kj::mv(container), &out](kj::Own<Job> job) mutable {
    return answerWhenEnded(kj::mv(container), kj::mv(job), Message::Run, out);
  });
}

kj::Promise<void> CoreSession::link(const LinkRequest& request, ResponseWriter& out) {
  auto container = find(request.handle());
  auto job = container->job(request.job_id());
  return answerWhenEnded(kj::mv(container), kj::mv(job), Message::Link, out);
}

kj::Promise<void> CoreSession::stream(const StreamRequest& request, ResponseWriter& out) {
  auto container = find(request.handle());
  auto job = container->job(request.job_id());
  return streamOutput(kj::mv(container), kj::mv(job), out);
}

}  // namespace warden::frontend
