#include "frontend/helper-failure.h"

#include <errno.h>
#include <kj/debug.h>

#include "frontend/client-error.h"

namespace warden::frontend {

kj::StringPtr adviceFor(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "free space or inodes where the depot is";
    case ENOMEM:
      return "free memory on the host";
    case EMFILE:
    case ENFILE:
      return "raise the server's limit on open files";
    case EAGAIN:
      return "raise the host's limit on processes";
    case ETIMEDOUT:
      return "look for a file system below image or depot that does not answer";
    default:
      return "try again, and look into the helper's log if it lasts";
  }
}

kj::Exception failureOf(kj::StringPtr operation, schema::HelperReply::Reader reply,
                        kj::StringPtr (*advice)(int error)) {
  switch (reply.which()) {
    case schema::HelperReply::FAILED: {
      auto failure = reply.getFailed();
      if (failure.getStep() == *schema::AUDIT_STEP) {
        return clientError(kj::str("could not ", operation, ": ", failure.getDetail(),
                                   "; what needs privilege is refused until it can: make room "
                                   "where the trail is"));
      }
      return clientError(kj::str("could not ", operation, ": ", failure.getDetail(), "; ",
                                 advice(failure.getErrno())));
    }
    case schema::HelperReply::REFUSED:
      return KJ_EXCEPTION(FAILED, "the helper refused a request", operation, reply.getRefused());
    default:
      return KJ_EXCEPTION(FAILED, "the helper's reply does not fit the request", operation);
  }
}

}  // namespace warden::frontend
