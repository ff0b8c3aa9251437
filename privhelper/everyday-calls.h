#pragma once
// What programs in a container call: files, processes, memory, time, messages and the network, as
// far as none of it reaches beyond the caller's own rights and namespaces.

#include "base/seccomp-filter.h"

namespace warden::privhelper {

void allowEverydayCalls(SeccompFilter& filter);

}  // namespace warden::privhelper
