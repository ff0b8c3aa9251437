#pragma once
// The frontend's end of the connection with the helper, in the hands of a test.

#include <capnp/message.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/packet.h"
#include "schema/audit.capnp.h"
#include "schema/privhelper.capnp.h"
#include "tests/support/test-server.h"

namespace warden::test {

struct DiskReply {
  uint64_t blocksHard;
  uint64_t inodesHard;
  uint64_t bytesUsed;
  uint64_t inodesUsed;
};

struct AdoptedReply {
  uint32_t slot;
  uint32_t network;
  uid_t owner;
  bool privilegedJobs;
  std::vector<std::pair<uint16_t, uint16_t>> ports;  // of the host, of the container
  uint64_t rate;                                     // 0: unlimited
  uint64_t burst;
};

struct Reply {
  schema::HelperReply::Which which;
  uint64_t sequence;
  std::string text;  // of a refusal; "STEP: DETAIL" of a failure
  std::vector<Fd> fds;
  std::optional<DiskReply> disk;
  uint32_t image = 0;
  pid_t wshd = 0;                         // of created and adopted
  std::optional<AdoptedReply> adopted;    //
  std::vector<std::string> whole, dying;  // of containers, sorted
  uint64_t number = 0;                    // of a limit
};

class HelperConnection {
 public:
  static HelperConnection take(const TestServer& server, uid_t user = 0);
  // From the hostile frontend that runs now, with this process as its client, which is that user
  // of the host. Waits for it.

  using Fill = std::function<void(schema::HelperRequest::Builder)>;

  std::optional<Reply> call(const Fill& fill);
  // Sends a request for the client and waits up to 10 s for its reply. None: the helper closed the
  // connection.

  std::optional<Reply> callWith(const Fill& fill, kj::ArrayPtr<const int> fds);
  // Likewise with these descriptors alone; whether there is a client, `fill` says.

  int client() const { return accepted; }
  // The server's end of the client's connection.

  void closeClient() { ownEnd = nullptr; }

  std::optional<Reply> hello(uint32_t version = schema::PROTOCOL_VERSION);
  std::optional<Reply> create(const std::string& id, uint32_t slot);
  std::optional<Reply> destroy(const std::string& id);
  std::optional<Reply> list();
  std::optional<Reply> adopt(const std::string& id);
  // As the server itself: without a client.

  bool sendBytes(kj::ArrayPtr<const kj::byte> bytes, kj::ArrayPtr<const int> fds = nullptr,
                 int flags = 0);
  // One packet of any content. False: not sent.

  bool sendBytes(const std::string& bytes);

  std::optional<Reply> receive(std::chrono::milliseconds within);
  // None: nothing came, or the connection is closed.

  void drain();
  // Reads replies until none comes for 300 ms.

  bool sendRecord(kj::ArrayPtr<const kj::byte> bytes, kj::ArrayPtr<const int> fds = nullptr);
  // One packet of any content on the connection for the audit trail, which has no replies; waits
  // where it is full. False: the helper has closed it.

  bool isClosed();

 private:
  Fd socket;
  Fd accepted;
  Fd records;
  kj::Own<TestClient> ownEnd;
  uint64_t sequence = 0;

  HelperConnection(Fd socket, Fd accepted, Fd records, kj::Own<TestClient> ownEnd)
      : socket(kj::mv(socket)),
        accepted(kj::mv(accepted)),
        records(kj::mv(records)),
        ownEnd(kj::mv(ownEnd)) {}
};

void fillCreate(schema::CreateContainer::Builder create, const std::string& id, uint32_t slot);
// As a good frontend would.

kj::Array<kj::byte> encode(const HelperConnection::Fill& fill);
// The bytes of a request's packet.

kj::Array<kj::byte> encodeRecord(const std::function<void(schema::AuditMessage::Builder)>& fill);
// Likewise of a message for the audit trail.

}  // namespace warden::test
