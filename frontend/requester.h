#pragma once
// On whose behalf requests are carried out: the client of one connection.

#include "base/access.h"
#include "base/fd.h"

namespace warden::frontend {

class Requester {
 public:
  Requester(int socket, const AccessPolicy& policy)
      : socket(socket),
        credentials(readPeerCredentials(socket)),
        policy(policy),
        allowed(policy.grantOf(credentials)) {}
  // `socket` and `policy` are borrowed.

  const PeerCredentials& peer() const { return credentials; }
  const Grant& grant() const { return allowed; }
  bool mayTouch(uid_t owner) const { return policy.mayTouch(credentials, owner); }
  bool isAdministrator() const { return policy.isAdministrator(credentials); }

  Fd forHelper() const { return duplicate(socket); }
  // By which the helper is told on whose behalf it acts. A request that outlives the connection
  // keeps it.

 private:
  int socket;
  PeerCredentials credentials;
  const AccessPolicy& policy;
  const Grant& allowed;
};

}  // namespace warden::frontend
