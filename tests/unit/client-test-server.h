#pragma once
// The other end of a client's connection: a real unix socket, whose answers the test writes.

#include <errno.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "base/fd.h"
#include "base/unix-address.h"
#include "client/frame.h"

namespace warden::client {

class Peer {
  // The server's side of one connection.

 public:
  explicit Peer(Fd socket) : socket(kj::mv(socket)), decoder(1 << 24) {}

  template <typename Request>
  Request take(Message::Type type) {
    // The next request, which must be of `type`.
    Message message = takeMessage();
    EXPECT_EQ(message.type(), type);
    Request request;
    EXPECT_TRUE(request.ParseFromString(message.payload()));
    return request;
  }

  Message takeMessage() {
    for (;;) {
      if (auto payload = decoder.next()) {
        Message message;
        EXPECT_TRUE(message.ParseFromArray(payload->data(), payload->size()));
        return message;
      }
      auto space = decoder.space();
      ssize_t n = read(socket, space.begin(), space.size());
      if (n <= 0) throw std::runtime_error("the client closed the connection");
      decoder.commit(n);
    }
  }

  template <typename Response>
  void answer(Message::Type type, const Response& response) {
    sendRaw(encodeFrame(type, response.SerializeAsString()));
  }

  void refuse(const std::string& text) {
    ErrorResponse error;
    error.set_message(text);
    answer(Message::Error, error);
  }

  void sendRaw(std::string_view bytes) {
    while (!bytes.empty()) {
      ssize_t n = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0) throw std::runtime_error("the client has gone");
      bytes.remove_prefix(n);
    }
  }

  size_t waitUntilClosed() {
    // Returns how many bytes came until then.
    char buffer[4096];
    size_t received = 0;
    for (ssize_t n; (n = read(socket, buffer, sizeof(buffer))) > 0;)
      received += n;
    return received;
  }

  void waitUntilClosedUnread() {
    // Without taking a byte; poll(2) reports the hangup unasked.
    pollfd p{socket.get(), 0, 0};
    while (poll(&p, 1, -1) < 0) {
    }
  }

 private:
  Fd socket;
  FrameDecoder decoder;
};

class TestServer {
  // Listens on a socket in a directory of its own and runs `script` once, on the first connection.

 public:
  explicit TestServer(std::function<void(Peer&)> script) {
    char pattern[] = "/tmp/warden-client-test.XXXXXX";
    directory = mkdtemp(pattern);
    UnixAddress address(path());
    listener = Fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(bind(listener, address.get(), address.size()), 0);
    EXPECT_EQ(listen(listener, 8), 0);
    thread = std::thread([this, script = std::move(script)] { serve(script); });
  }

  ~TestServer() {
    shutdown(listener, SHUT_RDWR);  // ends an accept() that nobody came for
    thread.join();
    unlink(path().c_str());
    rmdir(directory.c_str());
  }

  std::string path() const { return directory + "/sock"; }

 private:
  std::string directory;
  Fd listener;
  std::thread thread;

  void serve(const std::function<void(Peer&)>& script) {
    int raw;
    do {
      raw = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    } while (raw < 0 && errno == EINTR);
    if (raw < 0) return;
    Peer peer{Fd(raw)};
    try {
      script(peer);
    } catch (const std::exception&) {
      // The client went away; what the test expects of that, it checks on the client's side.
    }
  }
};

}  // namespace warden::client
