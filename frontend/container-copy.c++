// The part of a container that moves files: between the host, where the helper's porter acts as the
// client's user, and the container, where wshd acts as vcap. Neither side trusts the other, nor is
// this process in between.

#include <kj/debug.h>
#include <sys/socket.h>

#include "base/progress-pipe.h"
#include "frontend/client-error.h"
#include "frontend/container.h"

namespace warden::frontend {

namespace {

constexpr uint64_t COPY_DESCRIPTORS = 3;  // both ends, until they are sent, and the client's socket
constexpr uint64_t METER_DESCRIPTORS = 2;

struct Stream {
  Fd host;
  Fd inside;
};

Stream makeStream() {
  int ends[2];
  KJ_SYSCALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
  return {Fd(ends[0]), Fd(ends[1])};
}

using Outcome = kj::Maybe<kj::Exception>;

void throwCause(Outcome&& host, Outcome&& inside) {
  // A side that says that the stream was ended only names a consequence of what the other says.
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

// Rejects where the host's side has failed with the whole helper. Then there is no time to wait for
// the other side: this process ends.
kj::Promise<void> whenLost(kj::ForkedPromise<void>& host, HelperClient& helper) {
  return host.addBranch().then([]() -> kj::Promise<void> { return kj::NEVER_DONE; },
                               [&helper](kj::Exception&& reason) -> kj::Promise<void> {
                                 if (helper.isLost()) return kj::mv(reason);
                                 return kj::NEVER_DONE;
                               });
}

}  // namespace

kj::Promise<void> Container::copy(Fd client, CopyRequest request, kj::Maybe<Fd&> meter) {
  auto share =
      services.descriptors.take(COPY_DESCRIPTORS + (meter == nullptr ? 0 : METER_DESCRIPTORS));
  if (share == nullptr) {
    return clientErrorOf(
        "could not copy: the jobs and containers there are hold all descriptors that the server "
        "has for them; link jobs that have ended, or raise the server's limit on open files");
  }
  auto stream = makeStream();
  Fd told;
  KJ_IF_MAYBE (readEnd, meter) {
    auto pipe = makeProgressPipe();
    *readEnd = kj::mv(pipe.readEnd);
    told = kj::mv(pipe.writeEnd);
  }
  // The container unpacks what comes in, and packs what goes out.
  auto direction = request.direction == CopyRequest::IN ? CopyOrder::UNPACK : CopyOrder::PACK;
  auto host = services.helper.copy(client, containerId, request, kj::mv(stream.host)).fork();
  auto inside =
      wshd->copy(CopyOrder{vcap.uid, vcap.gid, vcap.groups, vcap.home, request.containerPath,
                           direction, kj::mv(stream.inside), kj::mv(told)});
  uint64_t number = inside.number;
  // A side that fails closes its end of the stream, which ends the other. But a process in the
  // container can be kept from noticing (stopped), so it is killed.
  auto cancel = [this, number]() { wshd->cancelCopy(number); };
  auto both = kj::heapArrayBuilder<kj::Promise<Outcome>>(2);
  both.add(host.addBranch().then([]() { return Outcome(); },
                                 [cancel](kj::Exception&& reason) {
                                   cancel();
                                   return Outcome(kj::mv(reason));
                                 }));
  both.add(inside.ended.then([]() { return Outcome(); },
                             [](kj::Exception&& reason) { return Outcome(kj::mv(reason)); }));
  return kj::joinPromises(both.finish())
      .then(
          [](kj::Array<Outcome> outcomes) { throwCause(kj::mv(outcomes[0]), kj::mv(outcomes[1])); })
      // The order waits for a first process that does not answer, and with it the side of the host.
      .exclusiveJoin(whenSilent())
      .exclusiveJoin(whenLost(host, services.helper))
      // Dropped when the client goes away, which ends the side inside, and that the host's.
      .attach(kj::defer([cancel]() { cancel(); }), kj::mv(share), kj::mv(client))
      .attach(kj::addRef(*this));
}

}  // namespace warden::frontend
