#include "privhelper/fault-point.h"

#ifdef WARDEN_FAULTS

#include <fcntl.h>
#include <kj/string.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>

#include <set>
#include <string>

#include "base/fd.h"
#include "privhelper/container-init.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr uint32_t FIRST_CHILD_STEP = 1001;

constexpr char DESTROY[] = "destroy";

constexpr int SLOW_MS = 10;

struct Faults {
  std::string operation = "create";
  std::string kind = "fail";
  std::set<std::string> ends;
  uint32_t failAt = 0;
  uint32_t passed = 0;
  bool active = false;
  bool spent = false;
  bool suspended = false;
  Fd countFile;
} faults;

void list(uint32_t number, kj::StringPtr name) {
  if (faults.countFile == nullptr) return;
  writeAll(faults.countFile, kj::str(number, " ", name, "\n").asBytes());
}

void pass(const char* name) {
  list(++faults.passed, name);
  if (faults.kind == "slow") poll(nullptr, 0, SLOW_MS);
  if (faults.passed != faults.failAt) return;
  if (faults.kind == "kill") raise(SIGKILL);
  if (faults.kind == "stop") raise(SIGSTOP);
  if (faults.kind == "fail") throw StepError(name, 0, "injected fault");
}

}  // namespace

void armFaults() {
  if (const char* operation = getenv("WARDEN_FAULT_OPERATION")) faults.operation = operation;
  if (const char* kind = getenv("WARDEN_FAULT_KIND")) faults.kind = kind;
  if (const char* number = getenv("WARDEN_FAULT_STEP"))
    faults.failAt = strtoul(number, nullptr, 10);
  if (const char* path = getenv("WARDEN_FAULT_COUNT_FILE")) {
    faults.countFile = Fd(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  }
}

void beginFaultyOperation(const char* operation) {
  faults.active = !faults.spent && faults.operation == operation;
}

void endFaultyOperation() {
  if (!faults.active) return;
  uint32_t number = FIRST_CHILD_STEP;
  if (faults.operation == "create") {
    for (kj::StringPtr name : containerInitSteps())
      list(number++, name);
  }
  faults.active = false;
  faults.spent = true;
}

void suspendFaults(bool suspended) {
  faults.suspended = suspended;
}

void faultPoint(const char* name) {
  if (!faults.active || faults.suspended) return;
  if (faults.operation == DESTROY) return endPoint(name);
  pass(name);
}

void endPoint(const char* name) {
  if (!faults.active || faults.operation != DESTROY || faults.kind == "fail") return;
  if (faults.ends.insert(name).second) pass(name);
}

bool childHangs() {
  return faults.kind == "stop";
}

uint32_t childFault() {
  return faults.active && faults.failAt >= FIRST_CHILD_STEP ? faults.failAt - FIRST_CHILD_STEP + 1
                                                            : 0;
}

}  // namespace warden::privhelper

#endif
