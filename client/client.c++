#include "client/client.h"

namespace warden::client {

namespace {

template <typename Response>
Response decode(const std::string& payload) {
  Response response;
  // The runtime would print to stderr what it says of missing fields.
  if (!response.ParsePartialFromString(payload) || !response.IsInitialized()) {
    throw ProtocolError("response lacks a required field or is malformed");
  }
  return response;
}

std::string textOf(const ErrorResponse& response) {
  return response.message().empty() ? "the server gave no reason" : response.message();
}

}  // namespace

ServerError::ServerError(const ErrorResponse& response)
    : std::runtime_error(textOf(response)), error(response) {}

Client Client::connect(const std::string& path, ClientOptions options) {
  Client client(nullptr, options);
  client.connection = Connection::open(path, options.connectTimeout, options.maxResponseBytes);
  return client;
}

Client::Client(Fd socket, ClientOptions options)
    : connection(kj::mv(socket), options.maxResponseBytes), options(options) {}

std::string Client::receive(Message::Type type) {
  Message message = connection.receive(options.timeout);
  if (message.type() == type) return std::move(*message.mutable_payload());
  if (message.type() != Message::Error) {
    connection.close();
    throw ProtocolError("the server answered another request than the one that was sent");
  }
  ErrorResponse error;
  if (!error.ParseFromString(message.payload())) {
    connection.close();
    throw ProtocolError("the server's error message is malformed");
  }
  throw ServerError(error);
}

std::string Client::call(Message::Type type, const std::string& request) {
  connection.send(type, request, options.timeout);
  return receive(type);
}

namespace {

template <typename Request>
void requireComplete(const Request& request) {
  if (request.IsInitialized()) return;
  throw std::invalid_argument("request lacks a required field: " +
                              request.InitializationErrorString());
}

}  // namespace

template <typename Response, typename Request>
Response Client::request(Message::Type type, const Request& request) {
  requireComplete(request);
  std::string payload = call(type, request.SerializeAsString());
  try {
    return decode<Response>(payload);
  } catch (const ProtocolError&) {
    connection.close();
    throw;
  }
}

template <typename Response, typename Request, typename Take>
Response Client::requestSeries(Message::Type type, const Request& request, Take&& take) {
  requireComplete(request);
  connection.send(type, request.SerializeAsString(), options.timeout);
  for (;;) {
    std::string payload = receive(type);
    try {
      auto response = decode<Response>(payload);
      if (take(response)) return response;
    } catch (...) {
      connection.close();  // The responses that are to come would be taken for other answers.
      throw;
    }
  }
}

void Client::ping() {
  request<PingResponse>(Message::Ping, PingRequest());
}

std::string Client::create(const CreateRequest& create) {
  return request<CreateResponse>(Message::Create, create).handle();
}

uint32_t Client::spawn(const SpawnRequest& spawn) {
  return request<SpawnResponse>(Message::Spawn, spawn).job_id();
}

RunResponse Client::run(const RunRequest& run) {
  return request<RunResponse>(Message::Run, run);
}

LinkResponse Client::link(const std::string& handle, uint32_t jobId) {
  LinkRequest link;
  link.set_handle(handle);
  link.set_job_id(jobId);
  return request<LinkResponse>(Message::Link, link);
}

StreamResponse Client::stream(const std::string& handle, uint32_t jobId,
                              const std::function<void(const StreamResponse&)>& output) {
  StreamRequest stream;
  stream.set_handle(handle);
  stream.set_job_id(jobId);
  return requestSeries<StreamResponse>(Message::Stream, stream,
                                       [&output](const StreamResponse& response) {
                                         if (!response.has_exit_status()) output(response);
                                         return response.has_exit_status();
                                       });
}

void Client::stop(const StopRequest& stop) {
  request<StopResponse>(Message::Stop, stop);
}

void Client::destroy(const std::string& handle) {
  DestroyRequest destroy;
  destroy.set_handle(handle);
  request<DestroyResponse>(Message::Destroy, destroy);
}

std::vector<std::string> Client::list() {
  auto response = request<ListResponse>(Message::List, ListRequest());
  return {response.handles().begin(), response.handles().end()};
}

ListResponse Client::listAll() {
  ListRequest list;
  list.set_all(true);
  return request<ListResponse>(Message::List, list);
}

InfoResponse Client::info(const std::string& handle) {
  InfoRequest info;
  info.set_handle(handle);
  return request<InfoResponse>(Message::Info, info);
}

std::string Client::echo(const std::string& message) {
  EchoRequest echo;
  echo.set_message(message);
  return request<EchoResponse>(Message::Echo, echo).message();
}

LimitMemoryResponse Client::limitMemory(const LimitMemoryRequest& limit) {
  return request<LimitMemoryResponse>(Message::LimitMemory, limit);
}

LimitCpuResponse Client::limitCpu(const LimitCpuRequest& limit) {
  return request<LimitCpuResponse>(Message::LimitCpu, limit);
}

LimitDiskResponse Client::limitDisk(const LimitDiskRequest& limit) {
  return request<LimitDiskResponse>(Message::LimitDisk, limit);
}

LimitBandwidthResponse Client::limitBandwidth(const LimitBandwidthRequest& limit) {
  return request<LimitBandwidthResponse>(Message::LimitBandwidth, limit);
}

NetInResponse Client::netIn(const NetInRequest& ports) {
  return request<NetInResponse>(Message::NetIn, ports);
}

void Client::netOut(const NetOutRequest& rule) {
  request<NetOutResponse>(Message::NetOut, rule);
}

WhoamiResponse Client::whoami() {
  return request<WhoamiResponse>(Message::Whoami, WhoamiRequest());
}

template <typename Response, typename Request>
void Client::copy(Message::Type type, Request request, const CopyWatcher& watcher) {
  if (watcher != nullptr) request.set_progress(true);
  requestSeries<Response>(type, request, [&watcher](const Response& response) {
    if (response.has_progress() && watcher != nullptr) watcher(response.progress());
    return !response.has_progress();
  });
}

void Client::copyIn(const CopyInRequest& request, const CopyWatcher& watcher) {
  copy<CopyInResponse>(Message::CopyIn, request, watcher);
}

void Client::copyOut(const CopyOutRequest& request, const CopyWatcher& watcher) {
  copy<CopyOutResponse>(Message::CopyOut, request, watcher);
}

}  // namespace warden::client
