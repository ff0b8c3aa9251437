#pragma once
// Why a tree of files could not be copied.

#include <kj/string.h>

namespace warden {

struct TreeFailure {
  kj::String step;  // printable; names the path: "read a/b"
  int error;        // errno(3). EPIPE: the other end of the stream has ended it.
};
// Thrown inside of base/; never by a function that says it returns one.

}  // namespace warden
