#include "privhelper/frontend-service.h"

#include <errno.h>
#include <kj/debug.h>
#include <sys/socket.h>

#include "base/packet.h"
#include "base/socket-peer.h"
#include "schema/privhelper.capnp.h"

namespace warden::privhelper {

FrontendService::FrontendService(Fd listener, uid_t user, FrontendDescriptors descriptors,
                                 kj::String configName, AuditLog& log)
    : listener(kj::mv(listener)),
      user(user),
      descriptors(kj::mv(descriptors)),
      configName(kj::mv(configName)),
      log(log) {
  setNonblocking(this->listener);
}

bool FrontendService::start() {
  int raw = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (raw < 0) return false;
  Fd connection(raw);
  ucred peer = peerOf(connection);
  if (peer.uid != user) {
    log.record("connect", nullptr, Outcome::REFUSED,
               kj::str("uid ", peer.uid, " of process ", peer.pid,
                       " is not the user that the frontend runs as"));
    return false;
  }
  try {
    handOver(kj::mv(connection));
  } catch (const kj::Exception& e) {
    log.note(kj::str("the frontend has gone before it was served: ", e.getDescription()));
    return false;
  }
  this->peer = peer.pid;
  helloDueUs = monotonicUs() + HELLO_US;
  log.note(kj::str("frontend connected, pid ", peer.pid));
  return true;
}

void FrontendService::handOver(Fd connection) {
  allowLargestPacket(connection);
  SocketPair records = makePacketPair();
  setNonblocking(records.left);
  capnp::MallocMessageBuilder message;
  auto handover = message.initRoot<schema::Handover>();
  handover.setConfigName(configName);
  // In the order of the schema.
  int fds[7] = {descriptors.listener, descriptors.config, descriptors.image, descriptors.depot,
                records.right};
  size_t count = 5;
  KJ_IF_MAYBE (file, descriptors.log) {
    handover.setHasLog(true);
    fds[count++] = *file;
  }
  KJ_IF_MAYBE (health, descriptors.health) {
    handover.setHasHealth(true);
    fds[count++] = *health;
  }
  KJ_REQUIRE(sendPacket(connection, message, kj::arrayPtr(fds, count)), "its socket is full");
  socket = kj::mv(connection);
  audit = kj::mv(records.left);
  connected = true;
}

void FrontendService::forget() {
  log.note("the frontend's connection has ended");
  socket = nullptr;
  audit = nullptr;
  connected = false;
  helloDueUs = NEVER_US;
}

void FrontendService::end(int, uint64_t) {
  disconnect();
}

void FrontendService::kill() {
  log.record("connect", nullptr, Outcome::REFUSED,
             kj::str("process ", peer, " has connected as the frontend and said nothing for ",
                     HELLO_US / 1'000'000, " s"));
  helloDueUs = NEVER_US;
  disconnect();
}

}  // namespace warden::privhelper
