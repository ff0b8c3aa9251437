#pragma once
// The helper's log: one JSON object a line, for what it did, refused, and failed to do.

#include <kj/string.h>
#include <kj/time.h>

#include "base/fd.h"

namespace warden::privhelper {

enum class Outcome { DONE, REFUSED, FAILED };

class AuditLog {
 public:
  explicit AuditLog(Fd output) : output(kj::mv(output)) {}
  // `output`: a file opened for appending, or stderr. A line is one write(2).

  void record(kj::StringPtr operation, kj::StringPtr container, Outcome outcome,
              kj::StringPtr cause = nullptr, uint64_t durationUs = 0);
  // `container`: the id as requested, which may be anything: it is escaped. Empty: none.

  void note(kj::StringPtr message);
  // What the operator should know: start, end, a frontend that died.

 private:
  Fd output;
};

}  // namespace warden::privhelper
