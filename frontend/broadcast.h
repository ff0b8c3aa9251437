#pragma once
// A condition that any number of promises wait for.

#include <kj/async.h>

namespace warden::frontend {

class Broadcast {
 public:
  kj::Promise<void> wait() {
    // Resolves at the next fire(). Rejects when the Broadcast is destroyed before.
    KJ_IF_MAYBE (f, forked) {
      return f->addBranch();
    }
    auto pair = kj::newPromiseAndFulfiller<void>();
    fulfiller = kj::mv(pair.fulfiller);
    return forked.emplace(pair.promise.fork()).addBranch();
  }

  void fire() {
    if (forked == nullptr) return;
    fulfiller->fulfill();
    forked = nullptr;
  }

 private:
  // Made by the first waiter, so that firing costs nothing where nobody waits.
  kj::Maybe<kj::ForkedPromise<void>> forked;
  kj::Own<kj::PromiseFulfiller<void>> fulfiller;
};

}  // namespace warden::frontend
