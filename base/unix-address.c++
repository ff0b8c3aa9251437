#include "base/unix-address.h"

#include <kj/debug.h>
#include <stddef.h>
#include <string.h>

namespace warden {

bool UnixAddress::isPath(std::string_view path) {
  return !path.empty() && path.size() <= MAX_PATH_BYTES && path.find('\0') == path.npos;
}

UnixAddress::UnixAddress(std::string_view path)
    : length(offsetof(sockaddr_un, sun_path) + path.size() + 1) {
  KJ_REQUIRE(isPath(path), "a socket's path has 1 to 107 bytes, and no NUL", path.size());
  memcpy(address.sun_path, path.data(), path.size());
}

UnixAddress UnixAddress::notify(std::string_view text) {
  UnixAddress result(text);
  if (text[0] == '@') {
    // The name of an abstract socket is all bytes of the length, and ends with none.
    result.address.sun_path[0] = 0;
    result.length -= 1;
  }
  return result;
}

}  // namespace warden
