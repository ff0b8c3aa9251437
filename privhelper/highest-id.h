#pragma once
// The highest id that a container of this depot has had, so that ids go on increasing although the
// clock that they are made from was set back, no container is left, and the server has started
// anew.

#include "base/container-id.h"
#include "base/fd.h"

namespace warden::privhelper {

class HighestId {
 public:
  static constexpr kj::StringPtr FILE = ".highest-id"_kj;  // in the depot, root only

  explicit HighestId(int depot);
  // Where the file cannot be had (a read-only depot), it is known for as long as the process lives.

  uint64_t number() const { return highest; }
  void saw(const ContainerId& id) noexcept;
  // Written at once (one write of 11 bytes), and not flushed: a loss of power may lose it.

 private:
  Fd file;
  uint64_t highest = 0;
};

}  // namespace warden::privhelper
