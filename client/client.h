#pragma once
// A blocking client of the server: one connection, one request at a time, in one thread at a time.
//
// Handles and output are bytes, of any value and in no particular encoding.

#include <functional>
#include <string>
#include <vector>

#include "client/connection.h"

namespace warden::client {

class ServerError : public std::runtime_error {
  // The server refused or failed a request. what(): its message as it came, meant for people; it
  // may contain any bytes. The connection can be used further.

 public:
  explicit ServerError(const ErrorResponse& response);
  const ErrorResponse& response() const { return error; }

 private:
  ErrorResponse error;
};

struct ClientOptions {
  Timeout connectTimeout = std::chrono::seconds(10);

  Timeout timeout;
  // How long sending a request, and then each response, may take. Link, Run and Stream wait for a
  // job, which may be silent for as long as it likes.

  size_t maxResponseBytes = 1024 * 1024 * 1024;
  // Payload of one frame. Link and Run answer with up to the server's `job_output_limit`.
};

class Client {
 public:
  static Client connect(const std::string& path, ClientOptions options = {});
  // `path`: the server's unix socket. Throws ConnectionError.

  explicit Client(Fd socket, ClientOptions options = {});
  // Takes a connected stream socket.

  // Each of these throws ServerError when the server answers with an error; ConnectionError or
  // ProtocolError (connection.h) when there is no valid answer, after which every call fails.

  void ping();
  std::string create(const CreateRequest& request = {});
  // The handle of the new container.
  uint32_t spawn(const SpawnRequest& request);
  // The id of a job that has been started.
  RunResponse run(const RunRequest& request);
  LinkResponse link(const std::string& handle, uint32_t jobId);
  StreamResponse stream(const std::string& handle, uint32_t jobId,
                        const std::function<void(const StreamResponse&)>& output);
  // Calls `output` for each piece of output, in order, and returns the last response, which carries
  // the exit status. An exception that `output` throws closes the connection and is passed on; the
  // job is not affected.
  void stop(const StopRequest& request);
  void destroy(const std::string& handle);
  std::vector<std::string> list();
  ListResponse listAll();
  // An older server answers with handles only.
  InfoResponse info(const std::string& handle);
  std::string echo(const std::string& message);

  LimitMemoryResponse limitMemory(const LimitMemoryRequest& request);
  LimitCpuResponse limitCpu(const LimitCpuRequest& request);
  LimitDiskResponse limitDisk(const LimitDiskRequest& request);
  LimitBandwidthResponse limitBandwidth(const LimitBandwidthRequest& request);
  // What is in force then. The first three change nothing where the request names no limit.
  NetInResponse netIn(const NetInRequest& request);
  void netOut(const NetOutRequest& request);
  WhoamiResponse whoami();
  using CopyWatcher = std::function<void(const CopyProgress&)>;
  void copyIn(const CopyInRequest& request, const CopyWatcher& watcher = nullptr);
  void copyOut(const CopyOutRequest& request, const CopyWatcher& watcher = nullptr);
  // Absolute paths on the host. Take as long as the copy does. `watcher` is called some times a
  // second with what the container says; never by an older server. An exception that it throws
  // closes the connection, which ends the copy, and is passed on.

  std::string call(Message::Type type, const std::string& request);
  // Any request that has one response, both in encoded form.

 private:
  Connection connection;
  ClientOptions options;

  std::string receive(Message::Type type);

  template <typename Response, typename Request>
  void copy(Message::Type type, Request request, const CopyWatcher& watcher);

  template <typename Response, typename Request>
  Response request(Message::Type type, const Request& request);

  template <typename Response, typename Request, typename Take>
  Response requestSeries(Message::Type type, const Request& request, Take&& take);
  // Of a request with several responses: hands each to take(), until that says that it is the last.
};

}  // namespace warden::client
