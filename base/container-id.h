#pragma once
// Container ids: 11 characters of [0-9a-v], unique over restarts, increasing.

#include <kj/common.h>
#include <kj/string.h>
#include <stdint.h>

namespace warden {

class ContainerId {
  // A value that is known to be well formed: it is safe as a file name, a cgroup name and as part
  // of an interface name.

 public:
  static constexpr size_t LENGTH = 11;

  static kj::Maybe<ContainerId> parse(kj::StringPtr text);

  static ContainerId fromNumber(uint64_t number);
  // Base 32, most significant digit first; 55 bits are kept. Ids sort as their numbers do.

  kj::StringPtr text() const { return kj::StringPtr(characters, LENGTH); }
  uint64_t number() const;

  bool operator==(const ContainerId& other) const { return text() == other.text(); }
  bool operator<(const ContainerId& other) const { return text() < other.text(); }

 private:
  ContainerId() = default;
  char characters[LENGTH + 1] = {};
};

class ContainerIdGenerator {
  // The microseconds of the wall clock, or one more than the last id where the clock has not moved
  // on.

 public:
  explicit ContainerIdGenerator(uint64_t floor = 0) : last(floor) {}
  // `floor`: the number of the highest id known, so that ids increase over a clock that was set
  // back.

  ContainerId next();

 private:
  uint64_t last;
};

}  // namespace warden
