#include "frontend/copy-answer.h"

#include "base/progress-pipe.h"

namespace warden::frontend {

namespace {

constexpr auto TELL_INTERVAL = 500 * kj::MILLISECONDS;

using Direction = decltype(CopyRequest::direction);

template <typename Response>
kj::Promise<void> send(Message::Type type, kj::Maybe<Progress> progress, ResponseWriter& out) {
  Response response;
  KJ_IF_MAYBE (p, progress) {
    response.mutable_progress()->set_bytes(p->bytes);
    response.mutable_progress()->set_entries(p->entries);
  }
  return out.send(type, response);
}

kj::Promise<void> send(Direction direction, kj::Maybe<Progress> progress, ResponseWriter& out) {
  if (direction == CopyRequest::IN) return send<CopyInResponse>(Message::CopyIn, progress, out);
  return send<CopyOutResponse>(Message::CopyOut, progress, out);
}

class MeteredCopy {
 public:
  MeteredCopy(kj::Timer& timer, kj::Own<Container> containerParam, Fd client, CopyRequest request,
              ResponseWriter& out)
      : timer(timer),
        container(kj::mv(containerParam)),
        direction(request.direction),
        out(out),
        // Forked, it goes on while a client does not read.
        ended(container->copy(kj::mv(client), kj::mv(request), meter).fork()) {}

  kj::Promise<void> run() {
    auto over = ended.addBranch().then([]() { return true; });
    auto tick = timer.afterDelay(TELL_INTERVAL).then([]() { return false; });
    return over.exclusiveJoin(kj::mv(tick)).then([this](bool isOver) {
      return tell().then(
          [this, isOver]() { return isOver ? send(direction, nullptr, out) : run(); });
    });
  }

 private:
  kj::Timer& timer;
  kj::Own<Container> container;
  Direction direction;
  ResponseWriter& out;
  Fd meter;
  Progress told;
  kj::ForkedPromise<void> ended;

  kj::Promise<void> tell() {
    auto progress = latestProgress(meter);
    KJ_IF_MAYBE (latest, progress) {
      if (*latest == told) return kj::READY_NOW;
      told = *latest;
      return send(direction, told, out);
    }
    return kj::READY_NOW;
  }
};

}  // namespace

kj::Promise<void> answerCopy(kj::Timer& timer, kj::Own<Container> container, Fd client,
                             CopyRequest request, bool withProgress, ResponseWriter& out) {
  if (withProgress) {
    auto copy =
        kj::heap<MeteredCopy>(timer, kj::mv(container), kj::mv(client), kj::mv(request), out);
    auto answered = copy->run();
    return answered.attach(kj::mv(copy));
  }
  auto direction = request.direction;
  auto copied = container->copy(kj::mv(client), kj::mv(request));
  return copied.attach(kj::mv(container)).then([direction, &out]() {
    return send(direction, nullptr, out);
  });
}

}  // namespace warden::frontend
