#pragma once
// Failure injection, compiled only into warden-privhelper-faults (WARDEN_FAULTS), which the tests
// use to fail each step of a create in turn. The real helper has none of it.

#include <stdint.h>

namespace warden::privhelper {

#ifdef WARDEN_FAULTS

void armFaults();
// Reads WARDEN_FAULT_STEP, the number of the step to fail in the first create, and
// WARDEN_FAULT_COUNT_FILE, where the numbered steps of the first create are listed.

void beginFaultyOperation();
void endFaultyOperation();
// Only steps between the two count; only the first pair has an effect.

void faultPoint(const char* name);
// Throws StepError when `name` is the step to fail.

uint32_t childFault();
// The step to fail in the process that becomes wshd, counted from 1; 0: none. Child steps are
// numbered from 1001.

#else

inline void armFaults() {}
inline void beginFaultyOperation() {}
inline void endFaultyOperation() {}
inline void faultPoint(const char*) {}
inline uint32_t childFault() {
  return 0;
}

#endif

}  // namespace warden::privhelper
