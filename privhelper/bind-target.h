#pragma once
// Where a bind mount goes, inside of a container.

#include <string>

namespace warden::privhelper {

int attachBindMount(int root, int mount, const std::string& target, bool isDirectory);
// In a container's first process, whose root directory `root` is. Makes what is missing of
// `target`, an absolute path, and attaches the mount there. Links of the image are followed as for
// any process in the container, so that none leads out; where they have led is looked at before
// anything is attached. 0, or an errno(3): EPERM where the mount would cover the container's own
// /proc, /sys or /dev; ELOOP, beside what openat2(2) says, when the process has used a second of
// the processor.

}  // namespace warden::privhelper
