#pragma once
// A blocking client of warden.sock, small enough that what it measures is the server's.

#include <cstdint>
#include <string>

#include "schema/warden.pb.h"

namespace warden::bench {

class Client {
  // One connection. Every function throws std::runtime_error on an Error response, with its text,
  // and when the connection ends.

 public:
  explicit Client(const std::string& socketPath);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void ping();
  std::string create();
  void destroy(const std::string& handle);
  std::string containerPath(const std::string& handle);
  uint32_t run(const std::string& handle, const std::string& script);
  // The exit status.
  uint32_t spawn(const std::string& handle, const std::string& script, bool privileged = false);
  uint32_t link(const std::string& handle, uint32_t job);
  uint64_t stream(const std::string& handle, uint32_t job);
  // Reads to the end; the number of bytes of both outputs.
  void stop(const std::string& handle);
  // With KILL.
  void info(const std::string& handle);
  void limitMemory(const std::string& handle, uint64_t bytes);
  void netIn(const std::string& handle);
  // A port of the pool, to the same one of the container.
  void netOut(const std::string& handle, const std::string& network);
  // Any tcp port.
  void copyIn(const std::string& handle, const std::string& source, const std::string& target);

 private:
  int fd;
  std::string input;  // received and not yet consumed, from `consumed` on
  size_t consumed = 0;

  void send(Message::Type type, const google::protobuf::MessageLite& request);
  void receive(Message::Type type, google::protobuf::MessageLite& response);
  std::string receiveFrame();
  void fill(size_t bytes);
};

}  // namespace warden::bench
