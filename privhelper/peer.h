#pragma once
// Who a client is, from its own socket: what the frontend says about it counts for nothing.

#include <kj/one-of.h>
#include <sys/types.h>

#include "base/access.h"
#include "privhelper/request-check.h"

namespace warden::privhelper {

class ListenerIdentity {
  // Tells sockets that were accepted from one listener from all others: by the file that it is
  // bound to. A name would not do, as other mount namespaces have the same names.

 public:
  explicit ListenerIdentity(int listener);
  // Throws where it is not bound to a file.

  bool accepted(int socket) const;

 private:
  dev_t device;
  ino_t inode;
};

kj::OneOf<PeerCredentials, Refusal> attest(int socket, const ListenerIdentity& listener);
// Refused: it is not the server's end of a connection to the listener, or the peer has closed its
// end, so that nobody asks for anything by it any more.
//
// A socket that the frontend itself, or whoever works with it, has connected to a service of root
// has root as its peer; hence the listener.

}  // namespace warden::privhelper
