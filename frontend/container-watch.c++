// The part of a container that concerns a first process that does not answer.

#include <spdlog/spdlog.h>

#include "frontend/container.h"

namespace warden::frontend {

void Container::askForSignOfLife() {
  if (current != State::ACTIVE && current != State::STOPPED) return;
  if (!wshd->isSilent()) wshd->ask();
}

kj::Promise<void> Container::whenSilent() {
  if (wshd.get() == nullptr) return kj::NEVER_DONE;
  return wshd->whenSilent();
}

void Container::wshdFellSilent() {
  if (current == State::DESTROYED) return;
  spdlog::warn("container {}: its first process does not answer", containerId.text().cStr());
  addEvent(SILENT);
}

void Container::wshdAnswersAgain() {
  if (current == State::DESTROYED) return;
  spdlog::info("container {}: its first process answers again", containerId.text().cStr());
  addEvent("the container's first process answers again");
}

}  // namespace warden::frontend
