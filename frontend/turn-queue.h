#pragma once
// Creates and destroys wait here for their turn with the helper.

#include <kj/async.h>

#include <list>
#include <map>
#include <optional>

#include "frontend/fair-limit.h"

namespace warden::frontend {

class TurnQueue;

class Turn {
  // Until its destructor; then the next one has it.

 public:
  Turn(Turn&& other)
      : queue(std::exchange(other.queue, nullptr)),
        place(std::exchange(other.place, std::nullopt)) {}
  Turn& operator=(Turn&&) = delete;
  ~Turn();
  KJ_DISALLOW_COPY(Turn);

 private:
  friend class TurnQueue;
  Turn(TurnQueue& queue, Place place) : queue(&queue), place(kj::mv(place)) {}

  TurnQueue* queue;  // null: moved from
  std::optional<Place> place;
};

class TurnQueue {
  // The helper does one thing after another: more at once would not end sooner, but what is with
  // the helper cannot be taken back when its client goes, and a user of slow file systems would
  // hold up the others. Users take turns, and each user's requests keep their order.

 public:
  explicit TurnQueue(uint32_t maxWaiting) : places(maxWaiting) {}
  // Of all users together; each has its share of them, and of the turns (FairLimit).
  KJ_DISALLOW_COPY(TurnQueue);

  static constexpr uint32_t TURNS = 32;

  kj::Maybe<Turn> takeAtOnce(uid_t user);
  // None: it has to wait.

  kj::Promise<Turn> wait(uid_t user);
  // For whom takeAtOnce() has had none. Resolves when it is the request's turn. Rejects at once
  // with an error for the client where there is no room to wait. Dropping the promise leaves the
  // queue.

  size_t waitingCount() const;

  kj::Promise<Turn> takeAlways(uid_t user);
  // At once or later; of what the server does by itself, where there is nobody to be told that
  // there is no room.

 private:
  friend class Turn;
  class Waiter;
  using Waiters = std::list<Waiter*>;

  FairLimit turns{TURNS};
  FairLimit places;
  std::map<uid_t, Waiters> waiting;  // none of them is empty
  uid_t lastServed = 0;

  kj::Promise<Turn> enqueue(uid_t user, std::optional<Place> place);
  void serve();
  bool serveNext();
};

}  // namespace warden::frontend
