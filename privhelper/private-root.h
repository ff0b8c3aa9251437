#pragma once
// Mount namespaces of our own that contain only what the process needs: after entering one, no file
// of the host has a name any more.

#include <kj/string.h>

namespace warden::privhelper {

// What the broker sees.
constexpr kj::StringPtr DEPOT_PATH = "/depot"_kj;
constexpr kj::StringPtr IMAGE_PATH = "/image"_kj;
constexpr kj::StringPtr LOWER_PATH = "/lower"_kj;  // empty; where an image is id-mapped

// What the launcher sees, and each container at its birth.
constexpr kj::StringPtr ROOT_PATH = "/root"_kj;  // empty; where a container's root is put together

void enterBrokerRoot(kj::StringPtr depot, kj::StringPtr image);
// A read-only tmpfs with depot and image (without what is mounted below them), and a /proc.

void enterLauncherRoot(kj::StringPtr mountPoint);
// A read-only tmpfs with /proc, /sys and an empty ROOT_PATH: the kernel lets a user namespace mount
// proc and sysfs only where full ones are visible already. `mountPoint` is any directory.

void enterPorterRoot();
// The host's files, as the host has them: what it mounts later is seen too, and nothing that is
// mounted here is seen there.

void enterObserverRoot(kj::StringPtr mountPoint);
// A read-only tmpfs with /proc. `mountPoint` is any directory.

void enterSweeperRoot(kj::StringPtr directory);
// `directory` alone.

}  // namespace warden::privhelper
