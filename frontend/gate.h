#pragma once
// Lets a bounded number of things happen at a time.

#include <utility>

#include "frontend/broadcast.h"

namespace warden::frontend {

class Gate {
 public:
  explicit Gate(unsigned places) : places(places) {}
  KJ_DISALLOW_COPY(Gate);

  class Pass {
    // A place, until its destructor.

   public:
    explicit Pass(Gate& gate) : gate(&gate) { --gate.places; }
    Pass(Pass&& other) : gate(std::exchange(other.gate, nullptr)) {}
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (gate == nullptr) return;
      ++gate->places;
      gate->opened.fire();
    }
    KJ_DISALLOW_COPY(Pass);

   private:
    Gate* gate;  // null: moved from
  };

  kj::Maybe<Pass> enter() {
    // None: there is no place.
    if (places == 0) return nullptr;
    return Pass(*this);
  }

  kj::Promise<void> whenOpened() { return opened.wait(); }
  // Others wait, too: ask again then.

 private:
  unsigned places;
  Broadcast opened;
};

}  // namespace warden::frontend
