#pragma once
// Which devices a container may open: one table, for the devices controller of version 1 and for
// the program that version 2 asks in its place.

#include <kj/array.h>
#include <kj/string.h>
#include <linux/bpf.h>
#include <stdint.h>

namespace warden::privhelper {

constexpr int32_t ANY_MINOR = -1;

struct DeviceRule {
  // A character device that may be read, written and made (which the user namespace refuses); no
  // block device is ever allowed.
  int32_t major;
  int32_t minor;  // or ANY_MINOR
};

// Documentation/admin-guide/devices.txt. None of them reaches hardware.
constexpr DeviceRule ALLOWED_DEVICES[] = {
    {1, 3},            // null
    {1, 5},            // zero
    {1, 7},            // full
    {1, 8},            // random
    {1, 9},            // urandom
    {5, 0},            // tty
    {5, 2},            // ptmx
    {136, ANY_MINOR},  // pts: each container has a devpts of its own
    {10, 229},         // fuse: gives nothing without the right to mount
};

kj::String deviceRuleText(const DeviceRule& rule);
// As devices.allow takes it and devices.list shows it.

kj::Array<bpf_insn> deviceProgram();
// Of type BPF_PROG_TYPE_CGROUP_DEVICE: answers 1 for what the table allows, 0 for all else.

void attachDeviceProgram(int cgroup);
// For the cgroup and all below it, which cannot override it. Replaces the program of a server that
// was killed; ends with the cgroup. Throws StepError.

}  // namespace warden::privhelper
