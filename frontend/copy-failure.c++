#include "frontend/copy-failure.h"

#include <errno.h>

#include "frontend/client-error.h"

namespace warden::frontend {

namespace {

kj::StringPtr copyAdvice(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return "; name a path that is there";
    case EACCES:
    case EPERM:
      return "; on the host it is done with the rights of your own user, in the container with "
             "vcap's";
    case EXDEV:
    case ELOOP:
      return "; a link in it leads out of what the server's configuration grants: name where it "
             "leads";
    case EINVAL:
      return "; only directories, regular files and links are copied";
    case ENOTEMPTY:
    case EISDIR:
      return "; remove what is in the way";
    case ENOSPC:
    case EDQUOT:
      return "; free space or inodes, or raise the container's disk limit";
    case EAGAIN:
      return "; wait until another copy has ended";
    case ECANCELED:
      return "; something in the container ended it: try again";
    case EPIPE:
      return "; its other end ended it: try again";
    default:
      return "; try again, and look at the file system that it is on";
  }
}

}  // namespace

kj::Exception copyFailure(kj::StringPtr where, kj::StringPtr what, int error) {
  auto type = error == EPIPE ? kj::Exception::Type::DISCONNECTED : kj::Exception::Type::FAILED;
  return clientError(kj::str("could not copy: ", where, ": ", what, copyAdvice(error)), type);
}

}  // namespace warden::frontend
