#include "privhelper/peer.h"

#include <errno.h>
#include <kj/debug.h>
#include <linux/sockios.h>
#include <linux/un.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fd.h"

namespace warden::privhelper {

namespace {

// The file that a unix socket is bound to; an accepted one is bound to its listener's. Takes
// CAP_NET_ADMIN (SIOCUNIXFILE, net/unix/af_unix.c).
kj::Maybe<struct stat> boundFile(int socket) {
  int raw = ioctl(socket, SIOCUNIXFILE);
  if (raw < 0) return nullptr;
  Fd file(raw);
  struct stat status;
  KJ_SYSCALL(fstat(file, &status));
  return status;
}

int option(int socket, int name) {
  int value = -1;
  socklen_t size = sizeof(value);
  if (getsockopt(socket, SOL_SOCKET, name, &value, &size) < 0) return -1;
  return value;
}

}  // namespace

ListenerIdentity::ListenerIdentity(int listener) {
  auto status = KJ_REQUIRE_NONNULL(boundFile(listener), "the listener is bound to no file");
  device = status.st_dev;
  inode = status.st_ino;
}

bool ListenerIdentity::accepted(int socket) const {
  if (option(socket, SO_DOMAIN) != AF_UNIX || option(socket, SO_TYPE) != SOCK_STREAM ||
      option(socket, SO_ACCEPTCONN) != 0) {
    return false;
  }
  KJ_IF_MAYBE (status, boundFile(socket)) {
    return status->st_dev == device && status->st_ino == inode;
  }
  return false;
}

kj::OneOf<PeerCredentials, Refusal> attest(int socket, const ListenerIdentity& listener) {
  if (!listener.accepted(socket)) {
    return Refusal{kj::str("the socket was not accepted from the server's listener")};
  }
  // One that has only ended what it sends still reads.
  pollfd p{socket, 0, 0};
  if (poll(&p, 1, 0) != 0) return Refusal{kj::str("the client has closed its socket")};
  return readPeerCredentials(socket);
}

}  // namespace warden::privhelper
