// The part of a container that moves files: between the host, where the helper acts as the client's
// user, and the container, where wshd acts as vcap. Neither side trusts the other, nor is this
// process in between.

#include <kj/debug.h>
#include <sys/socket.h>

#include "frontend/client-error.h"
#include "frontend/container.h"

namespace warden::frontend {

namespace {

constexpr uint64_t COPY_DESCRIPTORS = 4;  // both ends, one of them twice, and the client's socket

struct Stream {
  Fd host;
  Fd inside;
  Fd control;  // of one of them: by which both can be told to end
};

Stream makeStream() {
  int ends[2];
  KJ_SYSCALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
  Fd host(ends[0]);
  Fd inside(ends[1]);
  Fd control = duplicate(host);
  return {kj::mv(host), kj::mv(inside), kj::mv(control)};
}

using Outcome = kj::Maybe<kj::Exception>;

// What one side answered. A side that fails ends the other.
kj::Promise<Outcome> outcomeOf(kj::Promise<void>&& side, int control) {
  return side.then([]() { return Outcome(); },
                   [control](kj::Exception&& reason) {
                     shutdown(control, SHUT_RDWR);
                     return Outcome(kj::mv(reason));
                   });
}

void throwCause(Outcome&& host, Outcome&& inside) {
  auto isConsequence = [](const kj::Exception& reason) {
    return reason.getType() == kj::Exception::Type::DISCONNECTED;
  };
  for (bool consequences : {false, true}) {
    for (auto* outcome : {&host, &inside}) {
      KJ_IF_MAYBE (reason, *outcome) {
        if (isConsequence(*reason) == consequences) kj::throwFatalException(kj::mv(*reason));
      }
    }
  }
}

}  // namespace

kj::Promise<void> Container::copy(Fd client, CopyRequest request) {
  auto share = services.descriptors.take(COPY_DESCRIPTORS);
  if (share == nullptr) {
    return clientErrorOf(
        "could not copy: the jobs and containers there are hold all descriptors that the server "
        "has "
        "for them; link jobs that have ended, or raise the server's limit on open files");
  }
  auto stream = makeStream();
  int control = stream.control;
  // The container unpacks what comes in, and packs what goes out.
  auto direction = request.direction == CopyRequest::IN ? CopyOrder::UNPACK : CopyOrder::PACK;
  auto host = services.helper.copy(client, containerId, request, kj::mv(stream.host));
  auto inside = wshd->copy(CopyOrder{vcap.uid, vcap.gid, vcap.groups, vcap.home,
                                     request.containerPath, direction, kj::mv(stream.inside)});
  auto both = kj::heapArrayBuilder<kj::Promise<Outcome>>(2);
  both.add(outcomeOf(kj::mv(host), control));
  both.add(outcomeOf(kj::mv(inside), control));
  return kj::joinPromises(both.finish())
      .then(
          [](kj::Array<Outcome> outcomes) { throwCause(kj::mv(outcomes[0]), kj::mv(outcomes[1])); })
      // Dropped when the client goes away, which ends both sides.
      .attach(kj::defer([control = kj::mv(stream.control)]() { shutdown(control, SHUT_RDWR); }),
              kj::mv(share), kj::addRef(*this));
}

}  // namespace warden::frontend
