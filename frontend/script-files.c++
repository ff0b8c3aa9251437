#include "frontend/script-files.h"

#include <kj/exception.h>

namespace warden::frontend {

namespace {

constexpr kj::StringPtr NAME = "job-script"_kj;

}  // namespace

ScriptFiles::ScriptFiles() : empty(makeMemfd(NAME)) {}

Fd ScriptFiles::make(kj::ArrayPtr<const kj::byte> script) {
  Fd file = empty == nullptr ? makeMemfd(NAME) : kj::mv(empty);
  fillAndSeal(file, script);
  making = kj::evalLast([this]() {
             // Where there is no descriptor for it now, the next script is told of it.
             kj::runCatchingExceptions([this]() { empty = makeMemfd(NAME); });
           }).eagerlyEvaluate(nullptr);
  return file;
}

}  // namespace warden::frontend
