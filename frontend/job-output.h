#pragma once
// Moves a job's output from its pipes to where it belongs, as it comes.

#include <optional>
#include <string>

#include "frontend/output-spool.h"
#include "frontend/services.h"
#include "frontend/wshd-client.h"

namespace warden::frontend {

struct OutputOptions {
  bool discard = false;               // keep nothing; then nothing is limited either
  std::optional<std::string> logTag;  // send each line to syslog, too
};

class JobOutput {
 public:
  class Owner {
    // None of these may call back into finish() or destroy the JobOutput.
   public:
    virtual void outputGrew() = 0;
    virtual void outputOverLimit() = 0;
    virtual void outputFailed(kj::Exception&& reason) = 0;
    // Over the limit, or not storable: the stream is read no more.
  };

  JobOutput(const Services& services, OutputSpool& spool, OutputOptions options, Owner& owner);
  KJ_DISALLOW_COPY(JobOutput);

  void resume();
  // Before take(), of a job that an earlier frontend has started: its lines go on in the middle of
  // the one that was begun.
  void prepareForSuccessor();
  // Sends what of a line is kept nowhere.

  void take(StartedJob pipes);
  void start();
  // Moves what comes from now on; left out for a shell that has ended.
  void finish();
  // The shell has ended: takes what is in the pipes now, and closes them, though others may still
  // hold their write ends.

 private:
  struct Pump {
    OutputStream stream;
    Fd pipe;
    kj::Maybe<SyslogLines> lines;
    bool enlarged = false;
    bool done = false;
    kj::Own<kj::UnixEventPort::FdObserver> observer;
    kj::Promise<void> task = nullptr;
  };

  const Services& services;
  OutputSpool& spool;
  bool discard;
  Owner& owner;
  Pump pumps[2];

  void startPump(Pump& pump);
  kj::Promise<void> watch(Pump& pump);
  kj::Promise<void> run(Pump& pump);
  OutputSpool::Progress move(Pump& pump, size_t maximum);
  OutputSpool::Progress moveToSyslog(Pump& pump, size_t maximum);
  void tellSyslog(Pump& pump, uint64_t from);
  kj::Array<char> unsentPiece(OutputStream stream) const;
  uint64_t startOfLastLine(OutputStream stream) const;
  OutputSpool::Progress moveToNowhere(Pump& pump, size_t maximum);
  OutputSpool::Progress moveTo(int target, Pump& pump, size_t maximum);
  void drain(Pump& pump);
  void close(Pump& pump);
};

}  // namespace warden::frontend
