#include "frontend/handover.h"

#include <errno.h>
#include <kj/debug.h>
#include <sys/socket.h>

#include "base/packet.h"
#include "base/socket-peer.h"
#include "base/unix-address.h"
#include "schema/privhelper.capnp.h"

namespace warden::frontend {

namespace {

Fd connectToHelper(const std::string& path) {
  UnixAddress address(path);
  int raw;
  KJ_SYSCALL(raw = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  Fd connection(raw);
  KJ_SYSCALL(connect(connection, address.get(), address.size()), path.c_str());
  uid_t listener = peerOf(connection).uid;
  KJ_REQUIRE(listener == 0, "whoever listens there is not root", path.c_str(), listener);
  allowLargestPacket(connection);
  return connection;
}

HandedOver take(Packet& packet) {
  auto handover = packet.getRoot<schema::Handover>();
  HandedOver result;
  result.configName = handover.getConfigName().cStr();
  int* places[] = {&result.listenFd, &result.configFd, &result.imageFd, &result.depotFd,
                   &result.auditFd};
  size_t next = 0;
  for (int* place : places)
    *place = packet.takeFd(next++).release();
  if (handover.getHasLog()) result.logFd = packet.takeFd(next++).release();
  if (handover.getHasHealth()) result.healthFd = packet.takeFd(next++).release();
  return result;
}

}  // namespace

void HandedOver::requireAll() const {
  for (int fd : {helperFd, listenFd, configFd, imageFd, depotFd, auditFd})
    KJ_REQUIRE(fd >= 0, "a descriptor is missing; or give --connect");
}

HandedOver receiveHandover(const std::string& path) {
  Fd connection = connectToHelper(path);
  KJ_IF_MAYBE (packet, receivePacket(connection)) {
    HandedOver result = take(*packet);
    result.helperFd = connection.release();
    return result;
  }
  KJ_FAIL_ASSERT("the socket is blocking");
}

}  // namespace warden::frontend
