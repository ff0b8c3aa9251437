#include "privhelper/step.h"

#include <string.h>

namespace warden::privhelper {

StepError::StepError(kj::StringPtr step, int error, kj::StringPtr detail)
    : stepName(kj::heapString(step)), errorNumber(error) {
  if (error != 0) {
    text = kj::str(step, ": ", strerrordesc_np(error), detail == nullptr ? "" : ": ", detail);
  } else {
    text = kj::str(step, ": ", detail);
  }
}

StepError StepError::reported(kj::StringPtr step, int error, kj::StringPtr text) {
  StepError result(step, error);
  result.text = kj::heapString(text);
  return result;
}

}  // namespace warden::privhelper
