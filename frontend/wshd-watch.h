#pragma once
// Whether the first process of a container answers.

#include <kj/exception.h>
#include <kj/timer.h>

#include "frontend/broadcast.h"

namespace warden::frontend {

class WshdWatch {
  // Costs no timer for a request: as long as answers are due, there is one for the container, and
  // one ping where nothing has come for a while. So a process that works on something long (a copy)
  // and answers pings is not taken for one that is stuck.

 public:
  class Subject {
   public:
    virtual bool owesAnswers() = 0;
    virtual void askForSignOfLife() = 0;
    // Sends something that is answered at once.
    virtual void fellSilent() = 0;
    virtual void answersAgain() = 0;
  };

  WshdWatch(kj::Timer& timer, Subject& subject) : timer(timer), subject(subject) {}
  KJ_DISALLOW_COPY(WshdWatch);

  static constexpr auto PATIENCE = 5 * kj::SECONDS;
  // Without a packet until it is asked for one, and then until it counts as silent.

  void asked();  // an answer is due
  void heard();  // a packet has come

  bool isSilent() const { return silent; }
  kj::Exception error() const;
  // For clients of a silent one.

  kj::Promise<void> whenSilent();
  // Rejects with error(), at once when it is silent already.

  kj::Promise<void> whenHeard() { return sound.wait(); }
  // Resolves with the next packet of one that is silent.

 private:
  kj::Timer& timer;
  Subject& subject;
  bool silent = false;
  bool looking = false;  // `task` will look
  bool askedForSign = false;
  kj::TimePoint lastHeard = kj::origin<kj::TimePoint>();
  Broadcast silence;
  Broadcast sound;
  kj::Promise<void> task = nullptr;

  kj::Promise<void> look();
};

}  // namespace warden::frontend
