#pragma once
// Faults that are planted behind the server's back, one at a time, for the checker to find: what
// it overlooks here it would overlook in a run as well.

#include "tests/chaos/model.h"
#include "tests/support/test-server.h"

namespace warden::chaos {

std::vector<std::string> plantNames();
// "nothing" and "wshd-as-known" among them, which nobody must find.

RoundPlan makePlantPlan();
// A round of one client, without trouble, after which there is something to break of each kind.

void plant(const std::string& name, test::TestServer& server, Model& model);
// After that round. Throws when there is nothing to break.

}  // namespace warden::chaos
