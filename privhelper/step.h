#pragma once
// Named steps: what a privileged operation is made of. A step that fails is reported with its name
// and errno, and everything that the steps before it made undoes itself.

#include <errno.h>
#include <kj/string.h>

#include <exception>

#include "privhelper/fault-point.h"

namespace warden::privhelper {

class StepError final : public std::exception {
 public:
  StepError(kj::StringPtr step, int error, kj::StringPtr detail = nullptr);

  static StepError reported(kj::StringPtr step, int error, kj::StringPtr text);
  // By another process of the helper; `text` is its detail().

  kj::StringPtr step() const { return stepName; }
  int error() const { return errorNumber; }      // errno(3); 0: no system call failed
  kj::StringPtr detail() const { return text; }  // "mount overlay: No space left on device"
  const char* what() const noexcept override { return text.cStr(); }

 private:
  kj::String stepName;
  int errorNumber;
  kj::String text;
};

template <typename Call>
auto step(const char* name, Call&& call) -> decltype(call()) {
  // Runs a system call that answers -1 and errno; throws StepError when it does. Interrupted calls
  // are made again.
  faultPoint(name);
  for (;;) {
    auto result = call();
    if (result >= 0) return result;
    if (errno != EINTR) throw StepError(name, errno);
  }
}

}  // namespace warden::privhelper
