#pragma once
// The jobs that wshd knows: running, or ended and not yet forgotten.

#include <kj/vector.h>
#include <sys/types.h>

#include "base/fd.h"

namespace warden {

struct JobRecord {
  uint32_t id;
  pid_t pid;
  Fd output;  // read ends of the job's pipes
  Fd errors;
  bool running = true;
  bool announced = false;  // the connection in use has been told of the end
  int status = 0;          // as waitpid(2) gives it, once it has ended
};

class JobTable {
 public:
  explicit JobTable(size_t limit) : limit(limit) {}

  bool reserve();
  // Makes room for one more, so that `add` allocates nothing. False: the table is full.

  JobRecord& add(uint32_t id, pid_t pid, Fd output, Fd errors);
  kj::Maybe<JobRecord&> find(uint32_t id);
  void forget(uint32_t id);

  void childEnded(pid_t pid, int status);
  // Does nothing for a process that is not the shell of a job: an orphan of the container.

  kj::Maybe<JobRecord&> nextEnded();
  // A job that has ended and is not announced.
  void announced(JobRecord& job);
  void announceNothing();
  // For a new connection, which learns of what has ended before by `list`.

  kj::ArrayPtr<const JobRecord> all() const { return jobs.asPtr(); }

 private:
  size_t limit;
  kj::Vector<JobRecord> jobs;
  size_t toAnnounce = 0;
};

}  // namespace warden
