#pragma once
// The frontend's end of the connection to the privileged helper (schema/privhelper.capnp).

#include <kj/string.h>

#include "base/container-id.h"
#include "base/pidfd.h"
#include "frontend/packet-link.h"
#include "frontend/reply-table.h"

namespace warden::frontend {

struct EtcFiles {
  // What the container has as /etc/passwd and so on; each at most
  // CreateContainer::MAX_ETC_FILE_BYTES.
  kj::String passwd;
  kj::String group;
  kj::String hosts;
  kj::String resolvConf;
  kj::String hostname;
};

struct ImageOwner {
  // The ids that own vcap's files in the image on disk, 1..65535.
  uint32_t uid;
  uint32_t gid;
};

struct CreatedContainer {
  Pidfd wshd;         // readable when the container's last process has ended
  Fd wshdSocket;      // schema/wshd.capnp
  Fd stateDirectory;  // <depot>/<id>/state
  uint32_t rootUid;   // on the host
  uint32_t vcapUid;
};

class HelperClient {
 public:
  HelperClient(kj::UnixEventPort& port, kj::Timer& timer, Fd socket);
  // Sends the greeting, so that it precedes every other request.

  kj::Promise<void> run();
  // Serves replies. Never resolves; rejects when the helper refuses the greeting or is gone. By
  // then every pending promise has been rejected with an error for the client, as are later
  // requests.

  kj::Promise<CreatedContainer> create(const ContainerId& id, uint32_t slot,
                                       const kj::Maybe<ImageOwner>& imageVcap,
                                       const EtcFiles& files);
  // Rejects with an error for the client when the system failed, then nothing is left of the
  // container, and of type OVERLOADED when the slot is lost to a container of an earlier frontend;
  // with another error when the helper refused, which a correct frontend never sees.

  kj::Promise<void> destroy(const ContainerId& id);

 private:
  PacketLink link;
  ReplyTable replies;
  kj::Maybe<kj::Exception> lost;
  kj::Promise<Packet> greeting;

  kj::Promise<Packet> greet();
  kj::Promise<Packet> request(kj::Own<capnp::MallocMessageBuilder> message, uint64_t sequence);
  void dispatch(Packet packet);
};

}  // namespace warden::frontend
