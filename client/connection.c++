#include "client/connection.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/unix-address.h"

namespace warden::client {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How often a connect is tried again while the server's queue of connections is full: the kernel
// offers no way to wait for room in it (unix(7), EAGAIN).
constexpr int CONNECT_RETRY_MS = 10;

std::string errorText(const std::string& what, int error) {
  return what + ": " + strerror(error);
}

Fd makeSocket() {
  int raw = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (raw < 0) throw ConnectionError(errorText("cannot make a socket", errno));
  Fd socket(raw);
  // In a program that was started without standard output this would be it, and what a job writes
  // would be requests.
  if (raw <= STDERR_FILENO) socket = duplicate(raw);
  return socket;
}

UnixAddress addressOf(const std::string& path) {
  if (!UnixAddress::isPath(path)) {
    throw ConnectionError("cannot connect to '" + path + "': a socket's path has 1 to " +
                          std::to_string(UnixAddress::MAX_PATH_BYTES) + " bytes");
  }
  return UnixAddress(path);
}

}  // namespace

Connection Connection::open(const std::string& path, Timeout timeout, size_t maxResponseBytes) {
  UnixAddress address = addressOf(path);
  Fd socket = makeSocket();

  Deadline deadline = after(timeout);
  while (::connect(socket, address.get(), address.size()) < 0) {
    int error = errno;
    if (error == EINTR) continue;
    if (error == EISCONN) break;
    if (error != EAGAIN) {
      throw ConnectionError(errorText("cannot connect to " + path, error));
    }
    if (deadline && steady_clock::now() >= *deadline) {
      throw TimeoutError("cannot connect to " + path + ": the server accepts no connection");
    }
    poll(nullptr, 0, CONNECT_RETRY_MS);
  }
  setNonblocking(socket, false);
  return Connection(kj::mv(socket), maxResponseBytes);
}

Connection::Connection(Fd socket, size_t maxResponseBytes)
    : socket(kj::mv(socket)), decoder(maxResponseBytes) {}

void Connection::close() {
  socket = nullptr;
}

void Connection::requireOpen() const {
  if (socket.get() < 0) {
    throw ConnectionError("the connection was closed after an earlier failure; connect again");
  }
}

Connection::Deadline Connection::after(Timeout timeout) {
  if (!timeout) return std::nullopt;
  return steady_clock::now() + *timeout;
}

void Connection::await(short events, Deadline deadline) {
  int remaining = -1;
  if (deadline) {
    // Rounded up, so that the last wait is not a busy one.
    auto left = std::chrono::ceil<milliseconds>(*deadline - steady_clock::now()).count();
    if (left <= 0) throw TimeoutError("the server did not answer in time");
    remaining = static_cast<int>(std::min<long long>(left, INT_MAX));
  }
  pollfd p{socket.get(), events, 0};
  if (poll(&p, 1, remaining) < 0 && errno != EINTR) {
    throw ConnectionError(errorText("cannot wait for the server", errno));
  }
}

void Connection::send(Message::Type type, std::string_view payload, Timeout timeout) {
  requireOpen();
  try {
    // What comes unasked cannot be told from an answer.
    if (!decoder.empty()) throw ProtocolError("the server sent more than it was asked for");
    sendAll(encodeFrame(type, payload), after(timeout));
  } catch (...) {
    close();
    throw;
  }
}

void Connection::sendAll(std::string_view bytes, Deadline deadline) {
  // Without a deadline the kernel does the waiting, which saves a system call each time.
  int flags = MSG_NOSIGNAL | (deadline ? MSG_DONTWAIT : 0);
  while (!bytes.empty()) {
    ssize_t n = ::send(socket, bytes.data(), bytes.size(), flags);
    if (n >= 0) {
      bytes.remove_prefix(n);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      await(POLLOUT, deadline);
    } else if (errno == EPIPE || errno == ECONNRESET) {
      throw ConnectionError(
          "the server closed the connection before it had the whole request; is it larger than "
          "frontend.max_request_bytes of the server's configuration?");
    } else if (errno != EINTR) {
      throw ConnectionError(errorText("cannot send to the server", errno));
    }
  }
}

Message Connection::receive(Timeout timeout) {
  requireOpen();
  try {
    return receiveFrame(after(timeout));
  } catch (...) {
    close();
    throw;
  }
}

Message Connection::receiveFrame(Deadline deadline) {
  for (;;) {
    if (auto payload = decoder.next()) {
      Message message;
      // The runtime would print to stderr what it says of missing fields.
      if (payload->size() > INT_MAX ||
          !message.ParsePartialFromArray(payload->data(), static_cast<int>(payload->size())) ||
          !message.IsInitialized()) {
        throw ProtocolError("response is not a message of the protocol");
      }
      return message;
    }
    fill(deadline);
  }
}

void Connection::fill(Deadline deadline) {
  auto space = decoder.space();
  int flags = deadline ? MSG_DONTWAIT : 0;
  for (;;) {
    ssize_t n = recv(socket, space.begin(), space.size(), flags);
    if (n > 0) {
      decoder.commit(n);
      return;
    }
    if (n == 0 || errno == ECONNRESET) {
      throw ConnectionError(decoder.empty()
                                ? "the server closed the connection without an answer"
                                : "the server closed the connection in the middle of an answer");
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      await(POLLIN, deadline);
    } else if (errno != EINTR) {
      throw ConnectionError(errorText("cannot receive from the server", errno));
    }
  }
}

}  // namespace warden::client
