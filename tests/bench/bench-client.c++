#include "tests/bench/bench-client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <stdexcept>
#include <string_view>

namespace warden::bench {

namespace {

constexpr size_t READ_SIZE = 256 * 1024;
constexpr size_t MAX_LENGTH_LINE = 24;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what);
}

[[noreturn]] void failErrno(const std::string& what) {
  fail(what + ": " + strerror(errno));
}

}  // namespace

Client::Client(const std::string& socketPath) : fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  if (fd < 0) failErrno("socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socketPath.size() >= sizeof(address.sun_path)) fail("socket path is too long");
  memcpy(address.sun_path, socketPath.data(), socketPath.size());
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) < 0) {
    close(fd);
    failErrno(socketPath);
  }
}

Client::~Client() {
  close(fd);
}

void Client::send(Message::Type type, const google::protobuf::MessageLite& request) {
  Message message;
  message.set_type(type);
  message.set_payload(request.SerializeAsString());
  std::string payload = message.SerializeAsString();
  std::string frame = std::to_string(payload.size()) + "\r\n" + payload + "\r\n";
  std::string_view rest = frame;
  while (!rest.empty()) {
    ssize_t n = ::send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) failErrno("send");
    rest.remove_prefix(static_cast<size_t>(n));
  }
}

void Client::fill(size_t bytes) {
  while (input.size() - consumed < bytes) {
    if (consumed > 0) {
      input.erase(0, consumed);
      consumed = 0;
    }
    size_t before = input.size();
    input.resize(before + READ_SIZE);
    ssize_t n = read(fd, input.data() + before, READ_SIZE);
    input.resize(before + static_cast<size_t>(n > 0 ? n : 0));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) failErrno("read");
    if (n == 0) fail("the server closed the connection");
  }
}

std::string Client::receiveFrame() {
  size_t end;
  for (size_t wanted = 1; (end = input.find("\r\n", consumed)) == std::string::npos; ++wanted) {
    if (input.size() - consumed > MAX_LENGTH_LINE) fail("malformed frame");
    fill(input.size() - consumed + 1);
  }
  size_t length = 0;
  auto parsed = std::from_chars(input.data() + consumed, input.data() + end, length);
  if (parsed.ec != std::errc() || parsed.ptr != input.data() + end) fail("malformed frame");
  consumed = end + 2;
  fill(length + 2);
  std::string payload = input.substr(consumed, length);
  consumed += length + 2;
  return payload;
}

void Client::receive(Message::Type type, google::protobuf::MessageLite& response) {
  Message message;
  if (!message.ParseFromString(receiveFrame())) fail("malformed message");
  if (message.type() == Message::Error) {
    ErrorResponse error;
    error.ParseFromString(message.payload());
    fail("server: " + error.message());
  }
  if (message.type() != type) fail("response of another type");
  if (!response.ParseFromString(message.payload())) fail("malformed response");
}

void Client::ping() {
  PingResponse response;
  send(Message::Ping, PingRequest());
  receive(Message::Ping, response);
}

std::string Client::create() {
  CreateResponse response;
  send(Message::Create, CreateRequest());
  receive(Message::Create, response);
  return response.handle();
}

void Client::destroy(const std::string& handle) {
  DestroyRequest request;
  request.set_handle(handle);
  DestroyResponse response;
  send(Message::Destroy, request);
  receive(Message::Destroy, response);
}

std::string Client::containerPath(const std::string& handle) {
  InfoRequest request;
  request.set_handle(handle);
  InfoResponse response;
  send(Message::Info, request);
  receive(Message::Info, response);
  return response.container_path();
}

uint32_t Client::run(const std::string& handle, const std::string& script) {
  RunRequest request;
  request.set_handle(handle);
  request.set_script(script);
  RunResponse response;
  send(Message::Run, request);
  receive(Message::Run, response);
  return response.exit_status();
}

uint32_t Client::spawn(const std::string& handle, const std::string& script, bool privileged) {
  SpawnRequest request;
  request.set_handle(handle);
  request.set_script(script);
  request.set_privileged(privileged);
  SpawnResponse response;
  send(Message::Spawn, request);
  receive(Message::Spawn, response);
  return response.job_id();
}

uint32_t Client::link(const std::string& handle, uint32_t job) {
  LinkRequest request;
  request.set_handle(handle);
  request.set_job_id(job);
  LinkResponse response;
  send(Message::Link, request);
  receive(Message::Link, response);
  return response.exit_status();
}

uint64_t Client::stream(const std::string& handle, uint32_t job) {
  StreamRequest request;
  request.set_handle(handle);
  request.set_job_id(job);
  send(Message::Stream, request);
  uint64_t bytes = 0;
  for (;;) {
    StreamResponse response;
    receive(Message::Stream, response);
    bytes += response.data().size();
    if (response.has_exit_status()) return bytes;
  }
}

void Client::stop(const std::string& handle) {
  StopRequest request;
  request.set_handle(handle);
  request.set_kill(true);
  StopResponse response;
  send(Message::Stop, request);
  receive(Message::Stop, response);
}

void Client::info(const std::string& handle) {
  InfoRequest request;
  request.set_handle(handle);
  InfoResponse response;
  send(Message::Info, request);
  receive(Message::Info, response);
}

void Client::limitMemory(const std::string& handle, uint64_t bytes) {
  LimitMemoryRequest request;
  request.set_handle(handle);
  request.set_limit_in_bytes(bytes);
  LimitMemoryResponse response;
  send(Message::LimitMemory, request);
  receive(Message::LimitMemory, response);
}

void Client::netIn(const std::string& handle) {
  NetInRequest request;
  request.set_handle(handle);
  NetInResponse response;
  send(Message::NetIn, request);
  receive(Message::NetIn, response);
}

void Client::netOut(const std::string& handle, const std::string& network) {
  NetOutRequest request;
  request.set_handle(handle);
  request.set_network(network);
  NetOutResponse response;
  send(Message::NetOut, request);
  receive(Message::NetOut, response);
}

void Client::copyIn(const std::string& handle, const std::string& source,
                    const std::string& target) {
  CopyInRequest request;
  request.set_handle(handle);
  request.set_src_path(source);
  request.set_dst_path(target);
  CopyInResponse response;
  send(Message::CopyIn, request);
  receive(Message::CopyIn, response);
}

}  // namespace warden::bench
