#include "frontend/helper-probe.h"

namespace warden::frontend {

kj::Promise<HelperFigures> HelperProbe::ask() {
  auto late = timer.afterDelay(PATIENCE).then([this]() { latest.answers = false; });
  auto inTime = answer.wait().exclusiveJoin(kj::mv(late)).then([this]() { return latest; });
  if (!asking) {
    asking = true;
    question = helper.askState()
                   .then([this](HelperState state) { heard(state); },
                         // Its connection is lost, and this process about to end.
                         [this](kj::Exception&&) { latest.answers = false; })
                   .then([this]() {
                     asking = false;
                     answer.fire();
                   })
                   .eagerlyEvaluate(nullptr);
  }
  return inTime;
}

void HelperProbe::heard(const HelperState& state) {
  latest = HelperFigures{.trailError = state.trailError, .answers = true};
  for (auto& container : state.dying) {
    auto cause = static_cast<size_t>(container.cause);
    if (cause < HelperFigures::CAUSES) latest.dying[cause] += 1;
    latest.oldestSeconds = kj::max(latest.oldestSeconds, container.seconds);
  }
}

}  // namespace warden::frontend
