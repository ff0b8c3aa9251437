#pragma once
// What this process takes of the machine.

#include <kj/string.h>
#include <stdint.h>
#include <sys/resource.h>

#include "base/fd.h"

namespace warden::frontend {

struct ProcessFigures {
  uint64_t residentBytes = 0;
  uint64_t virtualBytes = 0;
  uint64_t openDescriptors = 0;
  uint64_t mostDescriptors = 0;  // the limit
  double cpuSeconds = 0;
};

class ProcessWatch {
 public:
  explicit ProcessWatch(rlim_t mostDescriptors);
  // Opens files of /proc/self, so it is made before the sandbox closes.

  ProcessFigures look() const;
  // What cannot be read is 0.

 private:
  Fd memory;       // /proc/self/statm (proc(5))
  Fd descriptors;  // /proc/self/fd
  uint64_t mostDescriptors;
};

}  // namespace warden::frontend
