#pragma once
// Errors that a client may read. They travel through promises as kj::Exceptions with a mark; any
// other exception is a bug or a fact for the log, and reaches the client only as "internal error".

#include <kj/exception.h>
#include <kj/string.h>

namespace warden::frontend {

kj::Exception clientError(kj::String text, kj::Exception::Type type = kj::Exception::Type::FAILED);
// `text` says which step failed, why, and what to do; it may hold any bytes (a handle).

template <typename... Params>
kj::Exception clientErrorOf(Params&&... params) {
  return clientError(kj::str(kj::fwd<Params>(params)...));
}

constexpr kj::StringPtr PERMISSION_DENIED = "permission denied: "_kj;
// How the text begins when the access rules do not let the client do it. The audit trail tells such
// an end from others.

bool isClientError(const kj::Exception& exception);

kj::StringPtr errnoText(int error);
// "No space left on device".

}  // namespace warden::frontend
