#pragma once
// What either side of a copy says when it could not do its part.

#include <kj/exception.h>
#include <kj/string.h>

namespace warden::frontend {

kj::Exception copyFailure(kj::StringPtr where, kj::StringPtr what, int error);
// `what`: step and cause. An error for the client; of type DISCONNECTED when `error` is EPIPE,
// which says that the other side has ended the stream, and so has the cause.

}  // namespace warden::frontend
