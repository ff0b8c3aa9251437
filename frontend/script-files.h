#pragma once
// Files that hold the scripts of jobs.

#include <kj/async.h>

#include "base/fd.h"

namespace warden::frontend {

class ScriptFiles {
  // Has an empty file ready for the next script, made while the event loop had nothing else to do:
  // no client waits for that.

 public:
  ScriptFiles();
  KJ_DISALLOW_COPY(ScriptFiles);

  Fd make(kj::ArrayPtr<const kj::byte> script);
  // A sealed memfd with this content, positioned at its start.

 private:
  Fd empty;
  kj::Promise<void> making = nullptr;
};

}  // namespace warden::frontend
