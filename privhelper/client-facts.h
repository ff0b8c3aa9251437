#pragma once
// What the audit trails say of clients, looked up by the helper itself, once for each connection:
// who connected, the program that it runs, and the unit of systemd that it belongs to.

#include <map>

#include "base/packet.h"
#include "privhelper/audit-log.h"
#include "privhelper/observer.h"
#include "privhelper/peer.h"

namespace warden::privhelper {

std::string unitOf(const std::string& cgroups);
// Of the text of /proc/PID/cgroup: the system unit, as sd_pid_get_unit(3) tells it. Empty: none.

class ClientFacts {
 public:
  ClientFacts(const ListenerIdentity& listener, Observer observer);
  // `listener` is borrowed.

  int observer() const { return looker.fd(); }

  const AuditPeer& of(int socket, const PeerCredentials& peer);
  // `socket`: of which `peer` was read. The process is looked at when its connection is first seen,
  // and only while it is certainly still the one that connected: by SO_PEERPIDFD (Linux 6.5), which
  // keeps its number from being given to another; on older kernels, a process that has its number
  // and its user is taken for it.

  void receive(Packet& packet, AuditLog& log);
  // One of the frontend's messages (schema/audit.capnp). Throws for one that cannot be walked, or
  // whose descriptor is no client's.

  void forget() { known.clear(); }

 private:
  const ListenerIdentity& listener;
  Observer looker;
  std::map<uint64_t, AuditPeer> known;  // by the number that the kernel gives a socket (SO_COOKIE)

  AuditPeer lookAt(int socket, const PeerCredentials& peer);
};

}  // namespace warden::privhelper
