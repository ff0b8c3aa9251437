#include "privhelper/fault-point.h"

#ifdef WARDEN_FAULTS

#include <fcntl.h>
#include <kj/string.h>
#include <stdlib.h>

#include "base/fd.h"
#include "privhelper/container-init.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr uint32_t FIRST_CHILD_STEP = 1001;

struct Faults {
  uint32_t failAt = 0;
  uint32_t passed = 0;
  bool active = false;
  bool spent = false;
  Fd countFile;
} faults;

void list(uint32_t number, kj::StringPtr name) {
  if (faults.countFile == nullptr) return;
  writeAll(faults.countFile, kj::str(number, " ", name, "\n").asBytes());
}

}  // namespace

void armFaults() {
  if (const char* number = getenv("WARDEN_FAULT_STEP"))
    faults.failAt = strtoul(number, nullptr, 10);
  if (const char* path = getenv("WARDEN_FAULT_COUNT_FILE")) {
    faults.countFile = Fd(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  }
}

void beginFaultyOperation() {
  faults.active = !faults.spent;
}

void endFaultyOperation() {
  if (!faults.active) return;
  uint32_t number = FIRST_CHILD_STEP;
  for (kj::StringPtr name : containerInitSteps())
    list(number++, name);
  faults.active = false;
  faults.spent = true;
}

void faultPoint(const char* name) {
  if (!faults.active) return;
  list(++faults.passed, name);
  if (faults.passed == faults.failAt) throw StepError(name, 0, "injected fault");
}

uint32_t childFault() {
  return faults.active && faults.failAt >= FIRST_CHILD_STEP ? faults.failAt - FIRST_CHILD_STEP + 1
                                                            : 0;
}

}  // namespace warden::privhelper

#endif
