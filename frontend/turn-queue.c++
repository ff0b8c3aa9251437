#include "frontend/turn-queue.h"

#include "frontend/client-error.h"

namespace warden::frontend {

class TurnQueue::Waiter {
  // What kj::newAdaptedPromise makes for each promise.

 public:
  Waiter(kj::PromiseFulfiller<Turn>& fulfiller, TurnQueue& queue, uid_t user,
         std::optional<Place> place)
      : fulfiller(fulfiller), queue(queue), user(user), place(kj::mv(place)) {
    auto& waiters = queue.waiting[user];
    position = waiters.insert(waiters.end(), this);
  }

  ~Waiter() noexcept(false) {
    if (!served) leave();
  }

  void serve(Turn turn) {
    leave();
    served = true;
    place.reset();
    fulfiller.fulfill(kj::mv(turn));
  }

 private:
  kj::PromiseFulfiller<Turn>& fulfiller;
  TurnQueue& queue;
  uid_t user;
  std::optional<Place> place;
  Waiters::iterator position;
  bool served = false;

  void leave() {
    auto found = queue.waiting.find(user);
    found->second.erase(position);
    if (found->second.empty()) queue.waiting.erase(found);
  }
};

Turn::~Turn() {
  if (queue == nullptr) return;
  place.reset();
  queue->serve();
}

kj::Maybe<Turn> TurnQueue::takeAtOnce(uid_t user) {
  // Not past those of the same user. Others who wait have all the turns that they may have.
  if (waiting.count(user) > 0) return nullptr;
  KJ_IF_MAYBE (place, turns.take(user)) {
    return Turn(*this, kj::mv(*place));
  }
  return nullptr;
}

kj::Promise<Turn> TurnQueue::wait(uid_t user) {
  KJ_IF_MAYBE (place, places.take(user)) {
    return enqueue(user, kj::mv(*place));
  }
  return clientErrorOf(
      "the server is busy: as many of your creates and destroys wait for their turn as "
      "frontend.max_waiting lets one user have; nothing was done: try again when some of them are "
      "answered");
}

kj::Promise<Turn> TurnQueue::takeAlways(uid_t user) {
  KJ_IF_MAYBE (turn, takeAtOnce(user)) {
    return kj::mv(*turn);
  }
  return enqueue(user, std::nullopt);
}

kj::Promise<Turn> TurnQueue::enqueue(uid_t user, std::optional<Place> place) {
  return kj::newAdaptedPromise<Turn, Waiter>(*this, user, kj::mv(place));
}

size_t TurnQueue::waitingCount() const {
  size_t count = 0;
  for (auto& [user, waiters] : waiting)
    count += waiters.size();
  return count;
}

void TurnQueue::serve() {
  while (serveNext()) {
  }
}

bool TurnQueue::serveNext() {
  for (size_t i = 0, users = waiting.size(); i < users; ++i) {
    auto next = waiting.upper_bound(lastServed);
    if (next == waiting.end()) next = waiting.begin();
    lastServed = next->first;
    KJ_IF_MAYBE (place, turns.take(lastServed)) {
      next->second.front()->serve(Turn(*this, kj::mv(*place)));
      return true;
    }
  }
  return false;
}

}  // namespace warden::frontend
