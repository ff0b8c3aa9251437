#include "base/socket-peer.h"

#include <kj/debug.h>

namespace warden {

ucred peerOf(int socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  KJ_SYSCALL(getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size));
  KJ_REQUIRE(size == sizeof(peer), "the socket has no peer with an identity");
  return peer;
}

uint64_t cookieOf(int socket) {
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  KJ_SYSCALL(getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &size));
  return cookie;
}

}  // namespace warden
