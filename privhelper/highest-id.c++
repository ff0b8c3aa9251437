#include "privhelper/highest-id.h"

#include <fcntl.h>
#include <unistd.h>

namespace warden::privhelper {

namespace {

// Of the year 2540: a frontend in an attacker's hands must not use up all ids by one of the last.
constexpr uint64_t MOST = uint64_t{1} << 54;

}  // namespace

HighestId::HighestId(int depot)
    : file(openat(depot, FILE.cStr(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)) {
  char text[ContainerId::LENGTH + 1] = {};
  if (file.get() < 0 || pread(file, text, ContainerId::LENGTH, 0) != ContainerId::LENGTH) return;
  KJ_IF_MAYBE (id, ContainerId::parse(text)) {
    if (id->number() < MOST) highest = id->number();
  }
}

void HighestId::saw(const ContainerId& id) noexcept {
  uint64_t number = id.number();
  if (number <= highest || number >= MOST) return;
  highest = number;
  if (file.get() < 0) return;
  // What a full disk does not take, the next id may bring.
  [[maybe_unused]] ssize_t written = pwrite(file, id.text().begin(), ContainerId::LENGTH, 0);
}

}  // namespace warden::privhelper
