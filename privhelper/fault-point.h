#pragma once
// Failure injection, compiled only into warden-privhelper-faults (WARDEN_FAULTS), which the tests
// use to fail each step of an operation in turn, or to end or stop the helper there. The real
// helper has none of it.

#include <stdint.h>

namespace warden::privhelper {

#ifdef WARDEN_FAULTS

void armFaults();
// Reads WARDEN_FAULT_OPERATION, by default "create"; WARDEN_FAULT_STEP, the number of the step of
// the first such operation at which something happens; WARDEN_FAULT_KIND, which is "fail" (the
// default), "kill" or "stop", of the process itself, or "slow": a step of the child fails, and all
// of the helper's take long enough for that to come first; and WARDEN_FAULT_COUNT_FILE, where the
// numbered steps of that operation are listed.

void beginFaultyOperation(const char* operation);
void endFaultyOperation();
// Only steps between the two count; only the first pair of the operation has an effect.

void faultPoint(const char* name);
// Throws StepError when `name` is the step to fail.

void suspendFaults(bool suspended);
// While steps are repeated, as often as others happen to be in the way, so that the numbers of
// those that follow are the same each time.

void endPoint(const char* name);
// A step of the removal of a container, which cannot fail: it is counted when it comes first.

bool childHangs();
// In the process that becomes wshd: for some seconds, instead of failing ("stop").

uint32_t childFault();
// The step to fail in the process that becomes wshd, counted from 1; 0: none. Child steps are
// numbered from 1001.

#else

inline void armFaults() {}
inline void beginFaultyOperation(const char*) {}
inline void endFaultyOperation() {}
inline void faultPoint(const char*) {}
inline void suspendFaults(bool) {}
inline void endPoint(const char*) {}
inline uint32_t childFault() {
  return 0;
}

#endif

}  // namespace warden::privhelper
