#pragma once
// What the helper's reply says when it did not do what it was asked for.

#include <kj/exception.h>

#include "schema/privhelper.capnp.h"

namespace warden::frontend {

kj::StringPtr adviceFor(int error);
// What whoever runs the server can do about this errno(3).

kj::Exception failureOf(kj::StringPtr operation, schema::HelperReply::Reader reply,
                        kj::StringPtr (*advice)(int error) = adviceFor);
// `operation` completes "could not". An error for the client where the system failed; another where
// the helper refused, or its reply is of another kind than the request has.

}  // namespace warden::frontend
