#pragma once
// Copies: each in a process of its own, which has become the user of the files.

#include <kj/vector.h>

#include "base/fd.h"
#include "base/tree-failure.h"
#include "wshd/init.h"
#include "wshd/request.h"

namespace warden {

struct CopyRecord {
  uint64_t sequence;
  pid_t pid;
  Fd report;  // read end; the process writes why it failed
  bool running = true;
  kj::Maybe<TreeFailure> failure;
};

class CopyTable {
 public:
  static constexpr size_t MAX_COPIES = 8;

  kj::Maybe<Failure> start(uint64_t sequence, const CopyPlan& plan, Fd stream, Fd meter,
                           const InitState& init);
  // `meter`: where it says how far it is (base/progress-pipe.h); null: nowhere.
  // Fails with EAGAIN when there are too many, EINVAL when the stream is not a stream socket, or
  // with fork(2)'s error.

  bool childEnded(pid_t pid, int status);
  // `status` as waitpid(2) gives it. False: it is not the process of a copy.

  kj::Maybe<CopyRecord&> nextEnded();
  void forget(CopyRecord& copy);

  void cancel(uint64_t sequence);
  void abandon();
  // Nobody waits for them: kills all, and forgets them.

 private:
  kj::Vector<CopyRecord> copies;
};

}  // namespace warden
