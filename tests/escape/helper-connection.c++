#include "tests/escape/helper-connection.h"

#include <capnp/serialize.h>
#include <errno.h>
#include <kj/debug.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/container-id.h"
#include "tests/support/process.h"

namespace warden::test {

namespace {

using std::chrono::milliseconds;

bool readable(int fd, milliseconds within) {
  pollfd polled{fd, POLLIN, 0};
  return poll(&polled, 1, within.count()) == 1;
}

struct Handed {
  Fd helper;
  Fd client;
  Fd records;
};

std::optional<Handed> receiveDescriptors(int connection) {
  int fds[3];
  union {
    cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(fds))];
  } control{};
  char byte;
  iovec vector{&byte, 1};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control.bytes;
  header.msg_controllen = sizeof(control.bytes);
  if (!readable(connection, milliseconds(2000))) return std::nullopt;
  if (recvmsg(connection, &header, MSG_CMSG_CLOEXEC) != 1) return std::nullopt;
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  if (c == nullptr || c->cmsg_type != SCM_RIGHTS) return std::nullopt;
  if (c->cmsg_len != CMSG_LEN(sizeof(fds))) return std::nullopt;
  memcpy(fds, CMSG_DATA(c), sizeof(fds));
  return Handed{Fd(fds[0]), Fd(fds[1]), Fd(fds[2])};
}

bool sendOne(int socket, kj::ArrayPtr<const kj::byte> bytes, kj::ArrayPtr<const int> fds,
             int flags) {
  iovec vector{const_cast<kj::byte*>(bytes.begin()), bytes.size()};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
  if (fds.size() > 0) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    memcpy(CMSG_DATA(c), fds.begin(), fds.size() * sizeof(int));
  }
  ssize_t n;
  do {
    n = sendmsg(socket, &header, MSG_NOSIGNAL | flags);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(bytes.size());
}

AdoptedReply readAdopted(schema::Adopted::Reader adopted) {
  AdoptedReply result{.slot = adopted.getSlot(),
                      .network = adopted.getNetwork(),
                      .owner = adopted.getOwnerUid(),
                      .privilegedJobs = adopted.getPrivilegedJobs(),
                      .ports = {},
                      .rate = adopted.getBandwidth().getRate(),
                      .burst = adopted.getBandwidth().getBurst()};
  for (auto port : adopted.getPorts())
    result.ports.emplace_back(port.getHostPort(), port.getContainerPort());
  return result;
}

Reply readReply(Packet& packet) {
  auto reply = packet.getRoot<schema::HelperReply>();
  Reply result{.which = reply.which(), .sequence = reply.getSequence()};
  if (reply.isImage()) result.image = reply.getImage().getImage();
  if (reply.isRefused()) result.text = reply.getRefused().cStr();
  if (reply.isFailed()) {
    result.text = kj::str(reply.getFailed().getStep(), ": ", reply.getFailed().getDetail()).cStr();
  }
  if (reply.isDisk()) {
    auto disk = reply.getDisk();
    auto limits = disk.getLimits();
    result.disk = DiskReply{limits.getBlocksHard(), limits.getInodesHard(), disk.getBytesUsed(),
                            disk.getInodesUsed()};
  }
  if (reply.isCreated()) result.wshd = reply.getCreated().getWshdPid();
  if (reply.isAdopted()) {
    result.wshd = reply.getAdopted().getCreated().getWshdPid();
    result.adopted = readAdopted(reply.getAdopted());
  }
  if (reply.isContainers()) {
    for (uint64_t number : reply.getContainers().getWhole())
      result.whole.push_back(ContainerId::fromNumber(number).text().cStr());
    std::sort(result.whole.begin(), result.whole.end());
    for (auto entry : reply.getContainers().getDying())
      result.dying.push_back(entry.getId().cStr());
    std::sort(result.dying.begin(), result.dying.end());
  }
  if (reply.isMemoryLimit()) result.number = reply.getMemoryLimit();
  if (reply.isCpuShares()) result.number = reply.getCpuShares();
  for (size_t i = 0; i < packet.fdCount(); ++i)
    result.fds.push_back(packet.takeFd(i));
  return result;
}

}  // namespace

HelperConnection HelperConnection::take(const TestServer& server, uid_t user) {
  std::optional<Handed> handed;
  kj::Own<TestClient> client;
  bool taken = waitUntil([&]() {
    try {
      client = kj::heap<TestClient>(server.connectAs(user));
      handed = receiveDescriptors(client->fd());
      return handed.has_value();
    } catch (const kj::Exception&) {
      return false;  // nobody listens yet
    }
  });
  KJ_REQUIRE(taken, "the hostile frontend does not answer", server.logs().c_str());
  return HelperConnection(kj::mv(handed->helper), kj::mv(handed->client), kj::mv(handed->records),
                          kj::mv(client));
}

kj::Array<kj::byte> encode(const HelperConnection::Fill& fill) {
  capnp::MallocMessageBuilder message;
  fill(message.initRoot<schema::HelperRequest>());
  return kj::heapArray(capnp::messageToFlatArray(message).asBytes());
}

kj::Array<kj::byte> encodeRecord(const std::function<void(schema::AuditMessage::Builder)>& fill) {
  capnp::MallocMessageBuilder message;
  fill(message.initRoot<schema::AuditMessage>());
  return kj::heapArray(capnp::messageToFlatArray(message).asBytes());
}

void fillCreate(schema::CreateContainer::Builder create, const std::string& id, uint32_t slot) {
  create.setId(id.c_str());
  create.setSlot(slot);
  create.setNetwork(slot);
  create.setImageVcapUid(0xffffffff);
  create.setImageVcapGid(0xffffffff);
  auto bytes = [](const char* text) {
    return kj::arrayPtr(reinterpret_cast<const kj::byte*>(text), strlen(text));
  };
  auto files = create.getEtcFiles();
  files.setPasswd(bytes("root:x:0:0::/root:/bin/sh\n"));
  files.setGroup(bytes("root:x:0:\n"));
  files.setHosts(bytes("127.0.0.1 localhost\n"));
  files.setResolvConf(bytes(""));
  files.setHostname(bytes("hostile\n"));
}

std::optional<Reply> HelperConnection::call(const Fill& fill) {
  int client = accepted;
  return callWith(
      [&](schema::HelperRequest::Builder request) {
        request.setHasClient(true);
        fill(request);
      },
      kj::arrayPtr(&client, 1));
}

std::optional<Reply> HelperConnection::callWith(const Fill& fill, kj::ArrayPtr<const int> fds) {
  uint64_t number = ++sequence;
  auto bytes = encode([&](schema::HelperRequest::Builder request) {
    request.setSequence(number);
    fill(request);
  });
  if (!sendBytes(bytes, fds)) return std::nullopt;
  for (;;) {
    auto reply = receive(milliseconds(10000));
    if (!reply || reply->sequence == number) return reply;
  }
}

std::optional<Reply> HelperConnection::hello(uint32_t version) {
  return call([&](auto request) { request.initHello().setVersion(version); });
}

std::optional<Reply> HelperConnection::create(const std::string& id, uint32_t slot) {
  return call([&](auto request) { fillCreate(request.initCreate(), id, slot); });
}

std::optional<Reply> HelperConnection::destroy(const std::string& id) {
  return call([&](auto request) { request.initDestroy().setId(id.c_str()); });
}

std::optional<Reply> HelperConnection::list() {
  return callWith([](auto request) { request.setListContainers(); }, nullptr);
}

std::optional<Reply> HelperConnection::adopt(const std::string& id) {
  return callWith([&](auto request) { request.initAdopt().setId(id.c_str()); }, nullptr);
}

bool HelperConnection::sendBytes(kj::ArrayPtr<const kj::byte> bytes, kj::ArrayPtr<const int> fds,
                                 int flags) {
  return sendOne(socket, bytes, fds, flags);
}

bool HelperConnection::sendRecord(kj::ArrayPtr<const kj::byte> bytes, kj::ArrayPtr<const int> fds) {
  return sendOne(records, bytes, fds, 0);
}

bool HelperConnection::sendBytes(const std::string& bytes) {
  return sendBytes(kj::arrayPtr(reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()));
}

std::optional<Reply> HelperConnection::receive(milliseconds within) {
  if (!readable(socket, within)) return std::nullopt;
  try {
    KJ_IF_MAYBE (packet, receivePacket(socket)) return readReply(*packet);
  } catch (const kj::Exception& e) {
    // A helper that answers with what is no message would be wrong; a closed connection is not.
    if (e.getType() != kj::Exception::Type::DISCONNECTED) throw;
  }
  return std::nullopt;
}

void HelperConnection::drain() {
  while (readable(socket, milliseconds(300)) && receive(milliseconds(0))) {
  }
}

bool HelperConnection::isClosed() {
  pollfd polled{socket, POLLIN, 0};
  return poll(&polled, 1, 0) == 1 && (polled.revents & POLLHUP) != 0;
}

}  // namespace warden::test
