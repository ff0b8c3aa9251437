#pragma once
// Opening paths below a directory without being led out of it (openat2(2)).

#include <stdint.h>
#include <sys/types.h>

#include <string>

#include "base/fd.h"

namespace warden {

enum class Resolve {
  NO_LINKS,       // no component is a link
  BENEATH,        // nothing leads out: neither a link, which may stay beneath, nor ".."
  BENEATH_PLAIN,  // likewise, and no component is a link
  IN_ROOT,        // as for a process whose root directory it is: links are followed inside of it
};
// Magic links (proc(5)) are refused by all of them.

int openResolved(int directory, const char* path, int flags, Resolve resolve,
                 mode_t mode = 0) noexcept;
// openat2(2). CLOEXEC is added. -1 and errno: ELOOP for a link, EXDEV for an escape.

Fd openBeneath(int directory, kj::StringPtr path, int flags, mode_t mode = 0);
// `path` is relative; no component may leave `directory`, be a symbolic link or a magic link.
// CLOEXEC is added. Fails with the errno of openat2(2): ELOOP for a link, EXDEV for an escape.

Fd openInRoot(int root, kj::StringPtr path, int flags);
// Resolves as a process whose root directory is `root` would: symbolic links are followed inside of
// it (RESOLVE_IN_ROOT), magic links are refused.

kj::Maybe<Fd> tryOpenInRoot(int root, kj::StringPtr path, int flags);
// As openInRoot; none where the path leads nowhere (ENOENT, ENOTDIR, ELOOP).

size_t countComponents(const std::string& path);
// Names, "." and "..": what the slashes separate.

}  // namespace warden
