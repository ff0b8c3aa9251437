#include "frontend/wshd-watch.h"

#include "frontend/client-error.h"

namespace warden::frontend {

void WshdWatch::asked() {
  if (looking || silent) return;
  looking = true;
  askedForSign = false;
  task = timer.afterDelay(PATIENCE).then([this]() { return look(); }).eagerlyEvaluate(nullptr);
}

void WshdWatch::heard() {
  lastHeard = timer.now();
  askedForSign = false;
  if (!silent) return;
  silent = false;
  sound.fire();
  subject.answersAgain();
}

kj::Promise<void> WshdWatch::look() {
  if (!subject.owesAnswers()) {
    looking = false;
    return kj::READY_NOW;
  }
  if (lastHeard + PATIENCE <= timer.now()) {
    if (askedForSign) {
      looking = false;
      silent = true;
      silence.fire();
      subject.fellSilent();
      return kj::READY_NOW;
    }
    askedForSign = true;
    subject.askForSignOfLife();
  }
  return timer.afterDelay(PATIENCE).then([this]() { return look(); });
}

kj::Exception WshdWatch::error() const {
  return clientErrorOf(
      "the container's first process (wshd) does not answer: it is stopped, or has no processor "
      "time or memory; jobs that run go on: try again later, or destroy the container, which works "
      "without it");
}

kj::Promise<void> WshdWatch::whenSilent() {
  if (silent) return error();
  return silence.wait().then([this]() { kj::throwFatalException(error()); });
}

}  // namespace warden::frontend
