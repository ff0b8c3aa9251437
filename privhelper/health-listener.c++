#include "privhelper/health-listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <kj/debug.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

namespace warden::privhelper {

namespace {

constexpr int BACKLOG = 128;

// How long the frontend of a server that was killed a moment ago may take to end.
constexpr int ATTEMPTS = 100;
constexpr timespec PAUSE{.tv_sec = 0, .tv_nsec = 20'000'000};

// Of a TCP header, where a filter of a stream socket begins to read (RFC 9293, section 3.1).
constexpr uint32_t FLAGS_OFFSET = 13;
constexpr uint32_t SYN_AND_ACK = 0x12;

void refuseToConnect(int socket) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FLAGS_OFFSET),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, SYN_AND_ACK),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYN_AND_ACK, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
  };
  sock_fprog filter{.len = sizeof(program) / sizeof(program[0]), .filter = program};
  KJ_SYSCALL(setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)));
  int locked = 1;
  KJ_SYSCALL(setsockopt(socket, SOL_SOCKET, SO_LOCK_FILTER, &locked, sizeof(locked)));
}

Fd makeSocket() {
  int raw;
  KJ_SYSCALL(raw = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  Fd made(raw);
  // Connections of the server before this one may still be winding up.
  int reuse = 1;
  KJ_SYSCALL(setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse)));
  return made;
}

bool bindTo(int socket, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
}

int listenOn(int socket, uint16_t port) {
  // errno, or 0.
  for (int attempt = 1;; ++attempt) {
    if (bindTo(socket, port) && listen(socket, BACKLOG) == 0) return 0;
    if (errno != EADDRINUSE || attempt == ATTEMPTS) return errno;
    nanosleep(&PAUSE, nullptr);
  }
}

const char* whatToDo(int error) {
  switch (error) {
    case EADDRINUSE:
      return ": another program listens there (ss -ltnp): end it, or configure another port";
    case EACCES:
      return ": configure a port that may be bound, from 1024 on, or give the helper "
             "CAP_NET_BIND_SERVICE";
    default:
      return ": configure another port, or none";
  }
}

}  // namespace

int tryHealthPort(uint16_t port) {
  return bindTo(makeSocket(), port) ? 0 : errno;
}

ConfigError healthPortError(uint16_t port, int error) {
  return ConfigError("health_check_server.port: cannot listen on 127.0.0.1:" +
                     std::to_string(port) + ": " + strerror(error) + whatToDo(error));
}

kj::Maybe<Fd> openHealthListener(const Config& config, const std::string& configName) {
  if (!config.healthCheckPort.has_value()) return nullptr;
  uint16_t port = *config.healthCheckPort;
  Fd listener = makeSocket();
  refuseToConnect(listener);
  if (int error = listenOn(listener, port)) {
    throw ConfigError(configName + ": " + healthPortError(port, error).what());
  }
  return kj::mv(listener);
}

}  // namespace warden::privhelper
