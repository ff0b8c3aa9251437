#pragma once
// The frontend's end of the connection to the privileged helper (schema/privhelper.capnp).

#include <kj/string.h>

#include "base/container-id.h"
#include "base/pidfd.h"
#include "frontend/disk-limits.h"
#include "frontend/host-files.h"
#include "frontend/network-request.h"
#include "frontend/packet-link.h"
#include "frontend/reply-table.h"
#include "frontend/statistics.h"
#include "schema/privhelper.capnp.h"

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

struct OpenedImage {
  uint32_t number;  // for one create
  Fd passwd;        // regular files, or none
  Fd group;
  bool hasRootHome;  // /root is a directory in it
};

struct ContainerImage {
  uint32_t number = 0;         // of OpenedImage; 0: the configured image
  kj::Maybe<ImageOwner> vcap;  // where it has one
};

struct CreatedContainer {
  Pidfd wshd;         // readable when the container's last process has ended
  Fd wshdSocket;      // schema/wshd.capnp
  Fd stateDirectory;  // <depot>/<id>/state
  uint32_t rootUid;   // on the host
  uint32_t vcapUid;
  kj::Array<StatisticsFile> statistics;
};

struct Bandwidth {
  uint64_t rate;   // bytes a second
  uint64_t burst;  // bytes
};

struct DiskState {
  DiskLimits limits;  // in force
  uint64_t bytesUsed;
  uint64_t inodesUsed;
};

struct PortMapping {
  uint16_t hostPort;
  uint16_t containerPort;
};

struct AdoptedContainer {
  // By the helper's own record.
  CreatedContainer created;
  uint32_t slot;
  uint32_t network;
  uid_t owner;
  kj::Array<PortMapping> ports;
  kj::Maybe<Bandwidth> bandwidth;
  kj::Array<OutRule> rules;
};

struct DyingContainer {
  // Of the helper's list of those that are being ended or removed.
  ContainerId id;
  kj::Maybe<uid_t> owner;  // none: not known
  uint32_t seconds;
  schema::Dying::Cause cause;
  kj::StringPtr heldUpBy;  // the cause in words
};

struct WholeContainers {
  kj::Array<ContainerId> ids;
  uint64_t highestId;  // of all that there have been
};

struct HelperState {
  kj::Array<DyingContainer> dying;
  int trailError;  // errno with which the audit trail cannot be written; 0: it can
};

struct CopyRequest {
  // Paths as the client wrote them; a slash at their end has a meaning.
  enum { IN, OUT } direction;
  kj::Array<kj::byte> hostPath;
  kj::Array<kj::byte> containerPath;
  kj::String owner;  // USER:GROUP, only of OUT; empty: the client
};

class HelperClient {
 public:
  HelperClient(kj::UnixEventPort& port, kj::Timer& timer, Fd socket);
  // Sends the greeting, so that it precedes every other request.

  kj::Promise<void> run();
  // Serves replies. Never resolves; rejects when the helper refuses the greeting or is gone. By
  // then every pending promise has been rejected with an error for the client, as are later
  // requests.

  bool isLost() const { return lost != nullptr; }
  // Nothing reaches the helper any more.

  // Each of these rejects with an error for the client when the system failed, and then nothing has
  // changed; with another error when the helper refused, which a correct frontend never sees.

  // `client` is the socket of whom it is done for, borrowed for the call; NO_CLIENT: nobody.
  static constexpr int NO_CLIENT = -1;

  kj::Promise<OpenedImage> openImage(int client, const std::string& path);

  kj::Promise<CreatedContainer> create(int client, const ContainerId& id, uint32_t slot,
                                       uint32_t network, const ContainerImage& image,
                                       const EtcFiles& files,
                                       const kj::Vector<BindMount>& bindMounts);
  // `bindMounts` outlives the promise. Of type OVERLOADED when slot or network are lost to a
  // container of an earlier frontend.

  kj::Promise<void> destroy(const ContainerId& id);

  kj::Promise<WholeContainers> listContainers();
  // Those that are whole, whoever has made them.
  kj::Promise<HelperState> askState();
  kj::Promise<AdoptedContainer> adopt(const ContainerId& id);

  kj::Promise<uint64_t> limitMemory(int client, const ContainerId& id, kj::Maybe<uint64_t> bytes);
  kj::Promise<uint64_t> limitCpu(int client, const ContainerId& id, kj::Maybe<uint64_t> shares);
  kj::Promise<DiskState> limitDisk(int client, const ContainerId& id, kj::Maybe<DiskLimits> limits);
  // Set the limit, or with none ask for it; what resolves is in force.

  kj::Promise<void> limitBandwidth(int client, const ContainerId& id, Bandwidth bandwidth);

  kj::Promise<bool> mapPort(int client, const ContainerId& id, uint16_t hostPort,
                            uint16_t containerPort);
  // False: the host's port is mapped already.

  kj::Promise<void> allowOut(int client, const ContainerId& id, const OutRule& rule);

  kj::Promise<void> copy(int client, const ContainerId& id, const CopyRequest& request, Fd stream);
  // The host's side of a copy. Resolves when it has ended. Of type DISCONNECTED when it is the
  // other end of the stream that has ended it.

 private:
  PacketLink link;
  ReplyTable replies;
  kj::Maybe<kj::Exception> lost;
  kj::Promise<Packet> greeting;

  kj::Promise<Packet> greet();
  template <typename Fill>
  kj::Promise<Packet> ask(int client, Fill&& fill, kj::Maybe<int> descriptor = nullptr);
  // Sends the request that fill(schema::HelperRequest::Builder) makes; resolves to the reply.

  kj::Promise<Packet> request(kj::Own<capnp::MallocMessageBuilder> message, uint64_t sequence,
                              kj::ArrayPtr<const int> fds);
  void dispatch(Packet packet);
  kj::Exception lose();
};

// In helper-images.c++, for create().
void fillBindMounts(schema::CreateContainer::Builder create,
                    const kj::Vector<BindMount>& bindMounts);
void throwBindMountFailure(schema::Failure::Reader failure,
                           const kj::Vector<BindMount>& bindMounts);
// Throws an error for the client where the failure is about one of them.

template <typename Fill>
kj::Promise<Packet> HelperClient::ask(int client, Fill&& fill, kj::Maybe<int> descriptor) {
  auto message = kj::heap<capnp::MallocMessageBuilder>();
  auto root = message->initRoot<schema::HelperRequest>();
  auto sequence = replies.nextSequence();
  root.setSequence(sequence);
  fill(root);
  int fds[2];
  size_t count = 0;
  if (client != NO_CLIENT) {
    root.setHasClient(true);
    fds[count++] = client;
  }
  KJ_IF_MAYBE (fd, descriptor) {
    fds[count++] = *fd;
  }
  return request(kj::mv(message), sequence, kj::arrayPtr(fds, count));
}

}  // namespace warden::frontend
