#pragma once
// The sweeper removes the trees of destroyed containers: hostile content of any size and depth, so
// it runs in a process of its own, with nothing in sight but these trees.

#include "base/fd.h"

namespace warden::privhelper {

[[noreturn]] void runSweeper(Fd wake);
// In a process of its own that has entered the sweeper's root. Removes everything in "/", again
// after each byte that arrives on `wake`; at its end removes what there is and ends.

void sweep(int directory);
// Removes everything in `directory`, on which nothing else works meanwhile. Subdirectories are
// moved up into it one by one: neither depth nor size of a tree costs memory or descriptors.
// Entries that cannot be removed are left for the next time.

}  // namespace warden::privhelper
