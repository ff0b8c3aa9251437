#pragma once
// Confinement by AppArmor, where the kernel has it: one more check, by a profile that the operator
// has loaded (apparmor(7)).

#include <kj/string.h>

#include <vector>

#include "base/profile.h"

namespace warden::privhelper {

void requireAppArmor(const std::vector<Profile>& profiles);
// Throws ConfigError when a profile names one of AppArmor that the kernel has not loaded, or has
// loaded so that it only complains; or when this process is confined itself. Needs the host's /sys
// and /proc.

int confineNextExec(kj::StringPtr profile);
// Of the calling thread, by its /proc. Answers an errno, 0: it will be. An exec that may not be
// confined so fails.

}  // namespace warden::privhelper
