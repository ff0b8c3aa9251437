#include "tests/support/test-client.h"

#include <errno.h>
#include <kj/debug.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/unix-address.h"
#include "tests/support/process.h"

namespace warden::test {

namespace {

Fd connectTo(const std::string& path) {
  int raw;
  KJ_SYSCALL(raw = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Fd fd(raw);
  UnixAddress address(path);
  KJ_SYSCALL(connect(fd, address.get(), address.size()), path.c_str());
  return fd;
}

bool waitReadable(int fd, std::chrono::milliseconds timeout) {
  pollfd polled{fd, POLLIN, 0};
  int n;
  KJ_SYSCALL(n = poll(&polled, 1, patient(timeout).count()));
  return n == 1;
}

std::string messageOf(const std::string& payload) {
  ErrorResponse error;
  KJ_REQUIRE(error.ParseFromString(payload), "the server sent an Error that does not parse");
  return error.message();
}

}  // namespace

std::string frame(Message::Type type, const std::string& payload) {
  Message message;
  message.set_type(type);
  message.set_payload(payload);
  std::string bytes = message.SerializeAsString();
  return std::to_string(bytes.size()) + "\r\n" + bytes + "\r\n";
}

TestClient::TestClient(const std::string& socketPath) : socket(connectTo(socketPath)) {}

void TestClient::sendRaw(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw ConnectionClosed(std::string("send: ") + strerror(errno));
    bytes.remove_prefix(n);
  }
}

void TestClient::sendFrame(Message::Type type, const std::string& payload) {
  sendRaw(frame(type, payload));
}

void TestClient::fill() {
  KJ_REQUIRE(waitReadable(socket, timeout), "the server did not answer in time");
  char buffer[256 * 1024];
  ssize_t n;
  do {
    n = recv(socket, buffer, sizeof(buffer), 0);
  } while (n < 0 && errno == EINTR);
  // A server that closes with bytes unread resets the connection.
  if (n < 0 && errno != ECONNRESET) KJ_FAIL_SYSCALL("recv", errno);
  if (n <= 0) throw ConnectionClosed("the server closed the connection");
  buffered.append(buffer, n);
}

Frame TestClient::receiveFrame() {
  size_t end;
  while ((end = buffered.find("\r\n")) == std::string::npos)
    fill();
  std::string digits = buffered.substr(0, end);
  KJ_REQUIRE(!digits.empty() && digits.size() < 12 &&
                 digits.find_first_not_of("0123456789") == std::string::npos,
             "the server sent a bad length line", digits.c_str());
  size_t length = std::stoull(digits);
  size_t start = end + 2;
  while (buffered.size() < start + length + 2)
    fill();
  Message message;
  KJ_REQUIRE(message.ParseFromArray(buffered.data() + start, length),
             "the server sent a Message that does not parse");
  KJ_REQUIRE(buffered.compare(start + length, 2, "\r\n") == 0, "no CRLF behind the payload");
  buffered.erase(0, start + length + 2);
  return {message.type(), message.payload()};
}

bool TestClient::closedByServer(std::chrono::milliseconds within) {
  if (!buffered.empty() || !waitReadable(socket, within)) return false;
  char byte;
  ssize_t n = recv(socket, &byte, 1, MSG_PEEK);
  return n == 0 || (n < 0 && errno == ECONNRESET);
}

bool TestClient::hasInput(std::chrono::milliseconds within) {
  return !buffered.empty() || waitReadable(socket, within);
}

void TestClient::shutdownWriting() {
  KJ_SYSCALL(shutdown(socket, SHUT_WR));
}

std::string TestClient::receiveAnswer(Message::Type expected) {
  Frame answer = receiveFrame();
  if (answer.type == Message::Error) throw ServerError(messageOf(answer.payload));
  KJ_REQUIRE(answer.type == expected, "answer of another type", static_cast<int>(answer.type),
             static_cast<int>(expected));
  return answer.payload;
}

void TestClient::parse(const std::string& payload, google::protobuf::MessageLite& response) {
  KJ_REQUIRE(response.ParseFromString(payload), "the server's response does not parse");
}

std::string TestClient::receiveError() {
  Frame answer = receiveFrame();
  KJ_REQUIRE(answer.type == Message::Error, "an Error was expected", static_cast<int>(answer.type));
  return messageOf(answer.payload);
}

void TestClient::ping() {
  call(PingRequest());
}

ListResponse TestClient::listAll() {
  ListRequest request;
  request.set_all(true);
  return call(request);
}

std::vector<std::string> TestClient::list() {
  auto response = call(ListRequest());
  return {response.handles().begin(), response.handles().end()};
}

std::string TestClient::create() {
  return call(CreateRequest()).handle();
}
std::string TestClient::create(const std::string& handle) {
  return call(createRequest(handle)).handle();
}
void TestClient::destroy(const std::string& handle) {
  call(destroyRequest(handle));
}
void TestClient::stop(const std::string& handle, bool background, bool kill) {
  call(stopRequest(handle, background, kill));
}
InfoResponse TestClient::info(const std::string& handle) {
  return call(infoRequest(handle));
}

uint32_t TestClient::spawn(const std::string& handle, const std::string& script, bool privileged) {
  return call(spawnRequest(handle, script, privileged)).job_id();
}
LinkResponse TestClient::link(const std::string& handle, uint32_t job) {
  return call(linkRequest(handle, job));
}
RunResponse TestClient::run(const std::string& handle, const std::string& script, bool privileged) {
  return call(runRequest(handle, script, privileged));
}

std::string TestClient::output(const std::string& handle, const std::string& script,
                               bool privileged) {
  auto response = run(handle, script, privileged);
  if (!response.has_exit_status() || response.exit_status() != 0) {
    throw std::runtime_error("script failed with " + std::to_string(response.exit_status()) + ": " +
                             script + "\nstdout: " + response.stdout() +
                             "\nstderr: " + response.stderr());
  }
  return response.stdout();
}

void TestClient::startStream(const std::string& handle, uint32_t job) {
  StreamRequest request;
  request.set_handle(handle);
  request.set_job_id(job);
  send(request);
}

JobOutput TestClient::finishStream() {
  JobOutput result;
  for (;;) {
    auto response = receive<StreamResponse>();
    ++result.responses;
    if (response.has_exit_status()) {
      result.exitStatus = response.exit_status();
      result.lastCarriedData = !response.data().empty();
      if (response.has_info()) result.info = response.info();
      return result;
    }
    KJ_REQUIRE(response.name() == "stdout" || response.name() == "stderr",
               "a chunk of neither stdout nor stderr", response.name().c_str());
    (response.name() == "stdout" ? result.out : result.err) += response.data();
  }
}

JobOutput TestClient::stream(const std::string& handle, uint32_t job) {
  startStream(handle, job);
  return finishStream();
}

LinkRequest linkRequest(const std::string& handle, uint32_t job) {
  LinkRequest request;
  request.set_handle(handle);
  request.set_job_id(job);
  return request;
}

RunRequest runRequest(const std::string& handle, const std::string& script, bool privileged) {
  RunRequest request;
  request.set_handle(handle);
  request.set_script(script);
  if (privileged) request.set_privileged(true);
  return request;
}

SpawnRequest spawnRequest(const std::string& handle, const std::string& script, bool privileged) {
  SpawnRequest request;
  request.set_handle(handle);
  request.set_script(script);
  if (privileged) request.set_privileged(true);
  return request;
}

StopRequest stopRequest(const std::string& handle, bool background, bool kill) {
  StopRequest request;
  request.set_handle(handle);
  if (background) request.set_background(true);
  if (kill) request.set_kill(true);
  return request;
}

CreateRequest createRequest(const std::string& handle) {
  CreateRequest request;
  request.set_handle(handle);
  return request;
}

InfoRequest infoRequest(const std::string& handle) {
  InfoRequest request;
  request.set_handle(handle);
  return request;
}

DestroyRequest destroyRequest(const std::string& handle) {
  DestroyRequest request;
  request.set_handle(handle);
  return request;
}

EchoRequest echoRequest(const std::string& message) {
  EchoRequest request;
  request.set_message(message);
  return request;
}

}  // namespace warden::test
