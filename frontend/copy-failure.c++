#include "frontend/copy-failure.h"

#include <errno.h>

#include "frontend/client-error.h"

namespace warden::frontend {

kj::Exception copyFailure(kj::StringPtr where, kj::StringPtr step, int error) {
  auto type = error == EPIPE ? kj::Exception::Type::DISCONNECTED : kj::Exception::Type::FAILED;
  auto cause = error == 0 ? kj::String() : kj::str(": ", errnoText(error));
  return clientError(kj::str("could not copy: ", where, ": ", step, cause), type);
}

}  // namespace warden::frontend
