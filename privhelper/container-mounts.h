#pragma once
// The file systems of a container, made by the broker as detached mounts: they have no place in any
// mount namespace until the container's own first process attaches them.

#include "base/fd.h"
#include "privhelper/container-directory.h"
#include "privhelper/policy.h"

namespace warden::privhelper {

class IdMappedImage {
  // The image with its owners mapped into the container's range of ids, attached at LOWER_PATH for
  // as long as this lives. (overlayfs on kernel 6.1 takes a lower layer only by the path of an
  // attached mount; it keeps a clone of its own.)

 public:
  explicit IdMappedImage(int userNamespace);
  ~IdMappedImage() noexcept(false);
  KJ_DISALLOW_COPY(IdMappedImage);
};

Fd mountOverlay(const ContainerDirectory& directory);
// The container's root: its own layer over the image at LOWER_PATH (Documentation/filesystems/
// overlayfs.rst). No device node of an image works (nodev).

Fd mountDevices(uint32_t rootUid);
// A tmpfs with /dev's nodes and links, owned by the container's root.

}  // namespace warden::privhelper
