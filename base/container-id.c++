#include "base/container-id.h"

#include <time.h>

namespace warden {

namespace {

constexpr char DIGITS[] = "0123456789abcdefghijklmnopqrstuv";

int digitValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'v') return c - 'a' + 10;
  return -1;
}

}  // namespace

kj::Maybe<ContainerId> ContainerId::parse(kj::StringPtr text) {
  if (text.size() != LENGTH) return nullptr;
  ContainerId id;
  for (size_t i = 0; i < LENGTH; ++i) {
    if (digitValue(text[i]) < 0) return nullptr;
    id.characters[i] = text[i];
  }
  return id;
}

ContainerId ContainerId::fromNumber(uint64_t number) {
  ContainerId id;
  for (size_t i = LENGTH; i-- > 0;) {
    id.characters[i] = DIGITS[number & 31];
    number >>= 5;
  }
  return id;
}

uint64_t ContainerId::number() const {
  uint64_t number = 0;
  for (size_t i = 0; i < LENGTH; ++i)
    number = number << 5 | digitValue(characters[i]);
  return number;
}

ContainerId ContainerIdGenerator::next() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  uint64_t microseconds = uint64_t(now.tv_sec) * 1000000 + now.tv_nsec / 1000;
  last = kj::max(last + 1, microseconds);
  return ContainerId::fromNumber(last);
}

}  // namespace warden
