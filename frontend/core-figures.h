#pragma once
// What the core knows of itself and of the helper, in numbers.

#include <array>

#include "frontend/container.h"
#include "frontend/event-counts.h"

namespace warden::frontend {

struct RegistryFigures {
  std::array<size_t, Container::STATES> containers{};  // by state
  size_t jobs = 0;                                     // unfinished ones
  size_t silent = 0;                                   // containers whose wshd does not answer
  size_t waiting = 0;                                  // creates and destroys, for their turn
  bool recovering = false;
  bool shuttingDown = false;
};

struct HelperFigures {
  // As of its last answer.
  static constexpr size_t CAUSES = 4;
  std::array<size_t, CAUSES> dying{};  // containers that are being removed, by schema::Dying::Cause
  uint32_t oldestSeconds = 0;          // for how long the first of them has been
  int trailError = 0;                  // HelperState::trailError
  bool answers = false;                // within HelperProbe::PATIENCE
};

struct CoreFigures {
  RegistryFigures registry;
  HelperFigures helper;
  const EventCounts& events;
};

}  // namespace warden::frontend
