#pragma once
// A blocking client of warden.sock that is made for tests: it can also send what no good client
// sends. Independent of client/, so that a mistake there does not hide the same mistake in the
// server.

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "schema/warden.pb.h"

namespace warden::test {

class ServerError : public std::runtime_error {
  // The server answered with Error; what() is its message.
 public:
  using std::runtime_error::runtime_error;
};

class ConnectionClosed : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename T>
struct RequestTraits;
#define WARDEN_TEST_REQUEST(name)                        \
  template <>                                            \
  struct RequestTraits<name##Request> {                  \
    using Response = name##Response;                     \
    static constexpr Message::Type TYPE = Message::name; \
  };                                                     \
  template <>                                            \
  struct RequestTraits<name##Response> {                 \
    static constexpr Message::Type TYPE = Message::name; \
  };
WARDEN_TEST_REQUEST(Create)
WARDEN_TEST_REQUEST(Stop)
WARDEN_TEST_REQUEST(Destroy)
WARDEN_TEST_REQUEST(Info)
WARDEN_TEST_REQUEST(Spawn)
WARDEN_TEST_REQUEST(Link)
WARDEN_TEST_REQUEST(Run)
WARDEN_TEST_REQUEST(Stream)
WARDEN_TEST_REQUEST(NetIn)
WARDEN_TEST_REQUEST(NetOut)
WARDEN_TEST_REQUEST(CopyIn)
WARDEN_TEST_REQUEST(CopyOut)
WARDEN_TEST_REQUEST(LimitMemory)
WARDEN_TEST_REQUEST(LimitDisk)
WARDEN_TEST_REQUEST(LimitBandwidth)
WARDEN_TEST_REQUEST(LimitCpu)
WARDEN_TEST_REQUEST(Ping)
WARDEN_TEST_REQUEST(List)
WARDEN_TEST_REQUEST(Echo)
WARDEN_TEST_REQUEST(Whoami)
#undef WARDEN_TEST_REQUEST

struct JobOutput {
  std::string out;
  std::string err;
  uint32_t exitStatus = 0;
  std::optional<InfoResponse> info;
  bool lastCarriedData = false;  // against the protocol
  int responses = 0;
};

struct Frame {
  Message::Type type;
  std::string payload;
};

class TestClient {
 public:
  explicit TestClient(const std::string& socketPath);

  void setTimeout(std::chrono::milliseconds value) { timeout = value; }
  // For each wait for the server; 30 s at first. When it passes, the call throws.

  // --- frames
  void sendRaw(std::string_view bytes);
  void sendFrame(Message::Type type, const std::string& payload);
  Frame receiveFrame();
  // Throws ConnectionClosed at the end of the stream.
  bool closedByServer(std::chrono::milliseconds within);
  // True: the stream ended, with no byte before its end.
  bool hasInput(std::chrono::milliseconds within);
  void shutdownWriting();
  int fd() const { return socket.get(); }

  // --- requests and responses
  template <typename Request>
  void send(const Request& request) {
    sendFrame(RequestTraits<Request>::TYPE, request.SerializeAsString());
  }
  template <typename Response>
  Response receive() {
    Response response;
    parse(receiveAnswer(RequestTraits<Response>::TYPE), response);
    return response;
  }
  template <typename Request>
  typename RequestTraits<Request>::Response call(const Request& request) {
    send(request);
    return receive<typename RequestTraits<Request>::Response>();
  }
  template <typename Request>
  std::string expectError(const Request& request) {
    // The Error's message; throws when the request succeeds.
    send(request);
    return receiveError();
  }
  std::string receiveError();

  // --- the requests that tests need most
  void ping();
  std::vector<std::string> list();
  ListResponse listAll();
  std::string create();
  std::string create(const std::string& handle);
  void destroy(const std::string& handle);
  void stop(const std::string& handle, bool background = false, bool kill = false);
  InfoResponse info(const std::string& handle);
  uint32_t spawn(const std::string& handle, const std::string& script, bool privileged = false);
  LinkResponse link(const std::string& handle, uint32_t job);
  RunResponse run(const std::string& handle, const std::string& script, bool privileged = false);
  std::string output(const std::string& handle, const std::string& script, bool privileged = false);
  // stdout of a script that must succeed; throws with its stderr when it does not.
  void startStream(const std::string& handle, uint32_t job);
  JobOutput finishStream();
  JobOutput stream(const std::string& handle, uint32_t job);

 private:
  Fd socket;
  std::string buffered;  // received, not yet consumed
  std::chrono::milliseconds timeout = std::chrono::seconds(30);

  void fill();
  std::string receiveAnswer(Message::Type expected);
  void parse(const std::string& payload, google::protobuf::MessageLite& response);
};

LinkRequest linkRequest(const std::string& handle, uint32_t job);
RunRequest runRequest(const std::string& handle, const std::string& script,
                      bool privileged = false);
SpawnRequest spawnRequest(const std::string& handle, const std::string& script,
                          bool privileged = false);
StopRequest stopRequest(const std::string& handle, bool background = false, bool kill = false);
CreateRequest createRequest(const std::string& handle);
InfoRequest infoRequest(const std::string& handle);
DestroyRequest destroyRequest(const std::string& handle);
EchoRequest echoRequest(const std::string& message);

std::string frame(Message::Type type, const std::string& payload);
// As it goes over the wire.

}  // namespace warden::test
