#pragma once
// What the kernel says of a connected unix socket.

#include <stdint.h>
#include <sys/socket.h>

namespace warden {

ucred peerOf(int socket);
// Who has connected it or, at the other end, called listen(2), at that time (unix(7), SO_PEERCRED).
// Throws when it is no socket.

uint64_t cookieOf(int socket);
// The number that the kernel gives the socket, and no other until it restarts (SO_COOKIE). Throws
// as above.

}  // namespace warden
