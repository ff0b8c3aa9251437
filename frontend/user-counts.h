#pragma once
// What each user has, to be held against quotas.

#include <kj/common.h>
#include <stdint.h>
#include <sys/types.h>

#include <map>
#include <optional>
#include <utility>

namespace warden::frontend {

struct UserUse {
  uint32_t containers = 0;
  uint32_t ports = 0;
  uint32_t places = 0;  // of a FairLimit

  bool operator==(const UserUse&) const = default;
};

class UserShare;

class UserCounts {
 public:
  UserCounts() = default;
  KJ_DISALLOW_COPY(UserCounts);

  kj::Maybe<UserShare> take(uid_t user, uint32_t UserUse::*what, std::optional<uint32_t> quota);
  // One more. None when the user has as many as the quota says. Must outlive the share.

 private:
  friend class UserShare;
  std::map<uid_t, UserUse> uses;  // of users who have something
};

class UserShare {
  // One of what is counted, until its destructor.

 public:
  UserShare(UserShare&& other)
      : counts(std::exchange(other.counts, nullptr)), user(other.user), what(other.what) {}
  UserShare& operator=(UserShare&&) = delete;
  ~UserShare() {
    if (counts == nullptr) return;
    auto use = counts->uses.find(user);
    use->second.*what -= 1;
    if (use->second == UserUse()) counts->uses.erase(use);
  }
  KJ_DISALLOW_COPY(UserShare);

 private:
  friend class UserCounts;
  UserShare(UserCounts& counts, uid_t user, uint32_t UserUse::*what)
      : counts(&counts), user(user), what(what) {}

  UserCounts* counts;
  uid_t user;
  uint32_t UserUse::*what;
};

inline kj::Maybe<UserShare> UserCounts::take(uid_t user, uint32_t UserUse::*what,
                                             std::optional<uint32_t> quota) {
  if (quota && *quota == 0) return nullptr;
  auto& count = uses[user].*what;
  if (quota && count >= *quota) return nullptr;
  count += 1;
  return UserShare(*this, user, what);
}

}  // namespace warden::frontend
