#pragma once
// One connection to the server: bytes and frames, without knowledge of single requests.

#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>

#include "base/fd.h"
#include "client/frame.h"

namespace warden::client {

class ConnectionError : public std::runtime_error {
  // The server cannot be reached, has gone, or did not answer in time.

 public:
  using std::runtime_error::runtime_error;
};

class TimeoutError : public ConnectionError {
 public:
  using ConnectionError::ConnectionError;
};

using Timeout = std::optional<std::chrono::milliseconds>;
// None: wait for ever.

class Connection {
 public:
  static Connection open(const std::string& path, Timeout timeout, size_t maxResponseBytes);
  // Connects to the unix socket at `path`. Throws ConnectionError, whose text names path and cause.

  Connection(Fd socket, size_t maxResponseBytes);
  // Takes a connected stream socket.

  void send(Message::Type type, std::string_view payload, Timeout timeout);
  // Writes one frame. Throws ConnectionError.

  Message receive(Timeout timeout);
  // Waits for one frame. Throws ConnectionError when the server closes the connection, TimeoutError
  // when no complete frame has come within `timeout`, ProtocolError when what comes is no frame.
  //
  // After any exception the connection is closed: a late response would be taken for the answer to
  // the next request. send() and receive() then throw ConnectionError.

  void close();

 private:
  Fd socket;
  FrameDecoder decoder;

  using Deadline = std::optional<std::chrono::steady_clock::time_point>;
  static Deadline after(Timeout timeout);

  void requireOpen() const;
  void sendAll(std::string_view bytes, Deadline deadline);
  Message receiveFrame(Deadline deadline);
  void fill(Deadline deadline);
  void await(short events, Deadline deadline);
};

}  // namespace warden::client
