#pragma once
// A number of places that users share, so that who asks for much leaves room for others.

#include "frontend/user-counts.h"

namespace warden::frontend {

class FairLimit;

class Place {
  // One of them, until its destructor.

 public:
  Place(Place&& other) : limit(std::exchange(other.limit, nullptr)), share(kj::mv(other.share)) {}
  Place& operator=(Place&&) = delete;
  ~Place();
  KJ_DISALLOW_COPY(Place);

 private:
  friend class FairLimit;
  Place(FairLimit& limit, UserShare share) : limit(&limit), share(kj::mv(share)) {}

  FairLimit* limit;  // null: moved from
  UserShare share;
};

class FairLimit {
  // A user gets another place only while it has fewer than are free. So one alone gets half of
  // them, a second one half of what is left, and so on: who comes with nothing finds a place until
  // as many users as the number of places has bits hold all they can.

 public:
  explicit FairLimit(uint32_t most) : free(most) {}
  KJ_DISALLOW_COPY(FairLimit);

  kj::Maybe<Place> take(uid_t user) {
    // None: all are taken, or the user has its share. Must outlive the place.
    KJ_IF_MAYBE (share, counts.take(user, &UserUse::places, free)) {
      free -= 1;
      return Place(*this, kj::mv(*share));
    }
    return nullptr;
  }

 private:
  friend class Place;
  UserCounts counts;
  uint32_t free;
};

inline Place::~Place() {
  if (limit != nullptr) limit->free += 1;
}

}  // namespace warden::frontend
