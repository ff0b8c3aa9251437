#pragma once
// A tree of files as a stream, with the semantics of `rsync -r -p --links` (rsync(1)): permissions
// and links are kept as they are, hard links become files, times and owners are not kept, sparse
// files stay sparse. The stream is a tar archive in the pax format (libarchive-formats(5)) with the
// names' bytes as they are, in the order of a walk: a directory's entry, then all that is in it.

#include <kj/common.h>
#include <sys/types.h>

#include "base/copy-place.h"
#include "base/tree-failure.h"

namespace warden {

class TreeMeter {
  // Told how far a tree is, by way of packTree() or unpackTree().

 public:
  virtual void moved(uint64_t bytes, uint64_t entries) = 0;
  // That many more: bytes of files, without holes; files, directories and links. Called for each
  // entry and each block of some hundred KiB at most.
};

kj::Maybe<TreeFailure> packTree(const CopyPlace& source, int stream,
                                kj::Maybe<TreeMeter&> meter = nullptr);
// Writes the tree to `stream`, a connected and blocking stream socket, and its end only where all
// of it has been read. A file that shrinks meanwhile is filled up with zeros, one that grows is
// cut. A device, fifo or socket is refused (EINVAL). EPIPE: whoever reads has ended. ETIMEDOUT: the
// socket's own time (SO_SNDTIMEO).

constexpr mode_t ALL_PERMISSIONS = 07777;
constexpr mode_t NO_SET_ID_PERMISSIONS = 01777;

struct TreeOwner {
  uid_t uid;
  gid_t gid;
};

kj::Maybe<TreeFailure> unpackTree(const CopyPlace& target, int stream,
                                  kj::Maybe<TreeOwner> owner = nullptr,
                                  mode_t permissions = ALL_PERMISSIONS,
                                  kj::Maybe<TreeMeter&> meter = nullptr);
// Reads a tree from `stream` into the target: directories are merged, all else is replaced; a
// directory that has something in it makes way for nothing (ENOTEMPTY). Permissions of directories
// are set when they are full. `owner` gets what is made here, before its permissions are set; none:
// it belongs to the process. Permissions beyond `permissions` are taken from what the stream says.
//
// Whoever writes the stream is not trusted: nothing outside of the target is touched. EBADMSG: it
// is not what packTree() writes. EPIPE: it ends before the end of the tree; what had come is there.
// ETIMEDOUT: SO_RCVTIMEO.

}  // namespace warden
