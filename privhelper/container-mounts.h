#pragma once
// The file systems of a container, made by the broker as detached mounts: they have no place in any
// mount namespace until the container's own first process attaches them.

#include "base/fd.h"
#include "privhelper/container-directory.h"
#include "privhelper/policy.h"

namespace warden::privhelper {

class IdMappedImage {
  // An image with its owners mapped into the container's range of ids, attached at LOWER_PATH for
  // as long as this lives. (overlayfs on kernel 6.1 takes a lower layer only by the path of an
  // attached mount; it keeps a clone of its own.)

 public:
  IdMappedImage(int tree, int userNamespace);
  // `tree`: a detached mount.
  ~IdMappedImage() noexcept(false);
  KJ_DISALLOW_COPY(IdMappedImage);
};

Fd cloneConfiguredImage();
// A detached mount of the image that the configuration names.

bool hasMountsBeneathImage();
// While there is an IdMappedImage: what is mounted in it. overlayfs does not see those mounts, and
// would show what they hide.

void mapBindMount(int tree, int userNamespace, bool writable, kj::StringPtr source);
// Read-only where it is not writable; with all that is mounted beneath it. `source` is for
// messages.

Fd mountOverlay(const ContainerDirectory& directory);
// The container's root: its own layer over the image at LOWER_PATH (Documentation/filesystems/
// overlayfs.rst). No device node of an image works (nodev).

Fd mountDevices(uint32_t rootUid);
// A tmpfs with /dev's nodes and links, owned by the container's root.

}  // namespace warden::privhelper
