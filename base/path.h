#pragma once
// Opening paths below a directory without being led out of it (openat2(2)).

#include <stdint.h>
#include <sys/types.h>

#include "base/fd.h"

namespace warden {

Fd openBeneath(int directory, kj::StringPtr path, int flags, mode_t mode = 0);
// `path` is relative; no component may leave `directory`, be a symbolic link or a magic link.
// CLOEXEC is added. Fails with the errno of openat2(2): ELOOP for a link, EXDEV for an escape.

Fd openInRoot(int root, kj::StringPtr path, int flags);
// Resolves as a process whose root directory is `root` would: symbolic links are followed inside of
// it (RESOLVE_IN_ROOT), magic links are refused.

kj::Maybe<Fd> tryOpenInRoot(int root, kj::StringPtr path, int flags);
// As openInRoot; none where the path leads nowhere (ENOENT, ENOTDIR, ELOOP).

}  // namespace warden
