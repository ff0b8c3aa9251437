#pragma once
// Whether the helper answers, and what it says of itself.

#include <kj/timer.h>

#include "frontend/broadcast.h"
#include "frontend/core-figures.h"
#include "frontend/helper-client.h"

namespace warden::frontend {

class HelperProbe {
 public:
  HelperProbe(kj::Timer& timer, HelperClient& helper) : timer(timer), helper(helper) {}
  KJ_DISALLOW_COPY(HelperProbe);

  static constexpr auto PATIENCE = 2 * kj::SECONDS;

  kj::Promise<HelperFigures> ask();
  // Resolves after PATIENCE at the latest. However often it is called, one question is under way: a
  // helper that is busy is not given more to do.

 private:
  kj::Timer& timer;
  HelperClient& helper;
  HelperFigures latest;
  bool asking = false;
  Broadcast answer;
  kj::Promise<void> question = nullptr;

  void heard(const HelperState& state);
};

}  // namespace warden::frontend
