#pragma once
// The porter opens files of the host on behalf of clients' users. It sees the host's mounts, and
// takes its orders from the broker alone; for each it forks a worker that becomes the user, for
// good, before it touches a path. What was opened travels on as a descriptor: no path is resolved
// twice, and none by a process that may more than the user.

#include "base/access.h"
#include "base/fd.h"
#include "base/packet.h"
#include "schema/porter.capnp.h"

#include <kj/function.h>

#include <deque>
#include <map>
#include <string>

namespace warden::privhelper {

// Workers at once, with those that cannot be ended because a file system hangs: of FUSE, whoever
// has mounted it decides how long.
constexpr size_t MOST_WORKERS = 1024;
constexpr size_t MOST_OF_USERS = 768;  // all but root

[[noreturn]] void runPorter(Fd broker);
// In a process of its own that has entered the porter's root. Gives up all capabilities but a few
// and installs the filter, then serves until the broker closes the connection; workers end with it.

class Porter {
  // The broker's side. Orders of one lane (the opens of one user, the copies of one container) are
  // carried out a few at a time, so that one that hangs delays its own lane only. As many are with
  // the porter as it allows workers: places that users cannot take are root's here, too.

 public:
  explicit Porter(Fd connection);

  int fd() const { return connection; }
  // -1: the porter has died.
  bool isBlocked() const { return blocked; }
  // Orders wait until the connection is writable: then call resume().
  void resume() { dispatch(); }

  using Fill = kj::Function<void(schema::PorterOrder::Builder)>;
  kj::Maybe<uint64_t> order(kj::StringPtr lane, const PeerCredentials& client,
                            const GrantedPath& path, Fill&& fill, Fd stream = nullptr);
  // The number that the answer will have. None: too many orders of the lane wait already.

  kj::Maybe<Packet> receive();
  // An answer; none: there is none now.

  void endAll();
  // Nothing that was ordered is answered any more.

 private:
  struct Order {
    uint64_t number;
    std::string lane;
    bool ofRoot;
    kj::Array<capnp::word> words;
    Fd stream;
  };
  struct Lane {
    uint32_t waiting = 0;
    uint32_t running = 0;
  };
  struct Running {
    std::string lane;
    bool ofRoot;
  };

  Fd connection;
  uint64_t lastNumber = 0;
  std::deque<Order> waiting;
  std::map<uint64_t, Running> running;
  size_t runningOfUsers = 0;
  std::map<std::string, Lane> lanes;
  bool blocked = false;

  void dispatch();
  bool mayRun(const Order& order);
  bool send(const Order& order);
  template <typename Action>
  void ifItLives(Action&& action);
  void forget(uint64_t number);
};

}  // namespace warden::privhelper
