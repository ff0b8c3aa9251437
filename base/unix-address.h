#pragma once
// The address of a unix socket, for bind(2), connect(2) and sendmsg(2).

#include <sys/socket.h>
#include <sys/un.h>

#include <string_view>

namespace warden {

class UnixAddress {
 public:
  static constexpr size_t MAX_PATH_BYTES = sizeof(sockaddr_un::sun_path) - 1;

  static bool isPath(std::string_view path);
  // Whether it can be a socket file's: 1 to MAX_PATH_BYTES bytes without NUL (unix(7)).

  explicit UnixAddress(std::string_view path);
  // Of a socket file. Throws where isPath() is false.

  static UnixAddress notify(std::string_view text);
  // As sd_notify(3) writes it: "@" and the name of an abstract socket, or a path. Throws as above.

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
  socklen_t size() const { return length; }

 private:
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  socklen_t length;
};

}  // namespace warden
