// A frontend that was taken over attacks the audit trail: by the connection on which it tells what
// clients have asked for. It may add lines; all else is what the helper sees for itself.

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <thread>

#include "base/audit-verify.h"
#include "base/socket-peer.h"
#include "tests/escape/hostile-test.h"

namespace warden::test {
namespace {

using Json = nlohmann::ordered_json;
using FillRecord = std::function<void(schema::RequestRecord::Builder)>;

constexpr uid_t ALICE = 60001;
constexpr uint64_t NOBODYS = 0xffffffffffffff00;  // a connection that no socket has
constexpr size_t MOST_GROWTH_KB = 48 << 10;

// The most connections that the helper remembers (privhelper/client-facts.c++).
constexpr size_t MOST_KNOWN = 16384;

capnp::Data::Reader bytesOf(const std::string& text) {
  return kj::arrayPtr(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

std::string fileEnd(const std::string& path, size_t most) {
  Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  KJ_REQUIRE(file != nullptr, path.c_str());
  size_t size = std::filesystem::file_size(path);
  std::string text(std::min(size, most), '\0');
  ssize_t n = pread(file, text.data(), text.size(), size - text.size());
  text.resize(std::max<ssize_t>(n, 0));
  return text;
}

class HostileRecordsTest : public HostileFrontendTest {
 protected:
  void configure(ServerOptions& options) override {
    options.config["server.unix_domain_permissions"] = "0777";
    // What a sanitizer keeps of freed memory is no growth.
    options.environment["ASAN_OPTIONS"] = "quarantine_size_mb=4:malloc_context_size=4";
  }

  void SetUp() override {
    HostileFrontendTest::SetUp();
    mark();
    descriptorsBefore = descriptorTable(server->brokerPid()).size();
    memoryBefore = residentKb();
  }

  void TearDown() override {
    if (!server) return;
    expectNoHarm();
    HostileFrontendTest::TearDown();
  }

  size_t residentKb() { return std::stoul(statusField(server->brokerPid(), "VmRSS")); }
  std::string requests() { return server->logPath() + ".requests"; }
  std::string operations() { return server->logPath() + ".audit"; }

  // As a hostile frontend would: without asking what the helper makes of it.
  void throwAt(kj::ArrayPtr<const kj::byte> bytes, kj::ArrayPtr<const int> fds = nullptr) {
    ASSERT_TRUE(helper->sendRecord(bytes, fds)) << "the connection is closed";
  }
  void throwAt(const std::string& bytes) { throwAt(bytesOf(bytes)); }

  void tell(const FillRecord& fill) {
    throwAt(encodeRecord([&](auto message) {
      auto record = message.initRequest();
      record.setRequest("hostile");
      record.setConnection(NOBODYS);
      fill(record);
    }));
  }

  void introduce(int socket) {
    throwAt(encodeRecord([](auto message) { message.setClient(); }), kj::arrayPtr(&socket, 1));
  }

  // Tells of one more request and waits for its line: then all that was sent before has been read.
  void mark() {
    std::string name = "mark " + std::to_string(++marks);
    tell([&](auto record) { record.setHandle(bytesOf(name)); });
    ASSERT_TRUE(waitUntil(
        [&]() { return fileEnd(requests(), 4096).find('"' + name + '"') != std::string::npos; },
        std::chrono::seconds(60)))
        << server->logs().substr(0, 10000);
  }

  std::vector<Json> records() {
    std::vector<Json> found;
    for (auto& line : splitLines(readFile(requests()))) {
      if (!line.empty()) found.push_back(Json::parse(line));
    }
    return found;
  }

  static bool isAttested(const Json& record) { return record["peer"].value("attested", true); }

  // The last record before the mark.
  Json recordOf(const FillRecord& fill) {
    tell(fill);
    mark();
    auto all = records();
    return all[all.size() - 2];
  }

  // Refusals in the helper's trail that are about this connection.
  size_t packetsRefused() {
    size_t count = 0;
    for (auto& line : splitLines(readFile(operations()))) {
      if (line.find("\"request\":\"record\",\"outcome\":\"refused\"") != std::string::npos) ++count;
    }
    return count;
  }

  void expectNoHarm() {
    ASSERT_TRUE(isAlive(server->brokerPid())) << server->logs();
    EXPECT_LE(residentKb(), memoryBefore + MOST_GROWTH_KB);
    for (auto& path : {requests(), operations()}) {
      auto report = verifyAuditTrail(path);
      EXPECT_GT(report.records, 0u);
      for (auto& finding : report.findings)
        ADD_FAILURE() << finding.file << ":" << finding.line << ": " << finding.what;
    }
    std::set<uid_t> users = {0, ALICE};
    for (auto& record : records()) {
      // Who has connected to this server: nobody but this process.
      if (!record.contains("peer") || !isAttested(record)) continue;
      EXPECT_EQ(record["peer"]["pid"], getpid()) << record;
      EXPECT_TRUE(users.count(record["peer"]["uid"])) << record;
    }
  }

  void expectDescriptorsAsBefore() {
    mark();
    EXPECT_EQ(descriptorTable(server->brokerPid()).size(), descriptorsBefore);
  }

  size_t marks = 0;
  size_t descriptorsBefore = 0;
  size_t memoryBefore = 0;
};

TEST_F(HostileRecordsTest, randomBytesAreRefused) {
  std::mt19937 random(4);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes(1 + random() % (i % 50 == 0 ? 131000 : 600), 0);
    for (char& byte : bytes)
      byte = static_cast<char>(random());
    throwAt(bytes);
  }
  mark();
  EXPECT_GT(packetsRefused(), 1000u);
}

TEST_F(HostileRecordsTest, truncatedAndOversizedPacketsAreRefused) {
  auto whole = encodeRecord([](auto message) {
    auto record = message.initRequest();
    record.setRequest("create");
    record.setHandle(bytesOf("a handle"));
    record.setCause(bytesOf("a cause"));
    record.setScriptSha256("0123");
  });
  for (size_t length = 1; length < whole.size(); ++length)
    throwAt(whole.slice(0, length));
  for (size_t size : {MAX_PACKET_BYTES + 1, MAX_PACKET_BYTES + 8, MAX_PACKET_BYTES + 4096}) {
    std::string large(size, '\0');
    memcpy(large.data(), whole.begin(), whole.size());
    throwAt(large);
  }
  mark();
  EXPECT_GE(packetsRefused(), whole.size() / 8 * 7 + 3);
}

TEST_F(HostileRecordsTest, recordsWithFlippedBitsAreRefusedOrHarmless) {
  std::mt19937 random(5);
  auto request = encodeRecord([](auto message) {
    auto record = message.initRequest();
    record.setRequest("create");
    record.setConnection(NOBODYS);
    record.setHandle(bytesOf("a handle"));
    record.setCause(bytesOf("a cause"));
    record.setOutcome(schema::RequestRecord::Outcome::FAILED);
  });
  auto client = encodeRecord([](auto message) { message.setClient(); });
  auto gone = encodeRecord([](auto message) { message.setGone(NOBODYS); });
  for (int i = 0; i < 3000; ++i) {
    auto bytes = kj::heapArray(i % 3 == 0   ? request.asPtr()
                               : i % 3 == 1 ? client.asPtr()
                                            : gone.asPtr());
    for (int flips = 1 + random() % 4; flips > 0; --flips)
      bytes[random() % bytes.size()] ^= static_cast<kj::byte>(1 << random() % 8);
    throwAt(bytes);
  }
  expectDescriptorsAsBefore();
}

TEST_F(HostileRecordsTest, surplusDescriptorsAreClosed) {
  Fd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
  int accepted = helper->client();
  auto client = encodeRecord([](auto message) { message.setClient(); });
  auto request = encodeRecord([](auto message) { message.initRequest().setRequest("hostile"); });
  size_t before = packetsRefused();
  for (size_t count : {2, 8, 9, 100, 253}) {
    std::vector<int> fds(count, file.get());
    for (int i = 0; i < 20; ++i) {
      throwAt(request, kj::arrayPtr(fds.data(), count));
      throwAt(client, kj::arrayPtr(fds.data(), count));
    }
    fds[0] = accepted;
    throwAt(client, kj::arrayPtr(fds.data(), count));
  }
  throwAt(client);  // none at all
  expectDescriptorsAsBefore();
  EXPECT_GT(packetsRefused(), before);
}

TEST_F(HostileRecordsTest, socketsThatAreNoClientsAreNotBelieved) {
  int pair[2], tubes[2];
  KJ_SYSCALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
  KJ_SYSCALL(pipe2(tubes, O_CLOEXEC));
  std::vector<Fd> fds;
  for (int fd : {pair[0], pair[1], tubes[0], tubes[1], eventfd(0, EFD_CLOEXEC),
                 socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                 socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
                 open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), open("/dev/null", O_RDONLY)})
    fds.emplace_back(fd);
  TestClient other = server->connect();
  std::vector<int> sent(fds.begin(), fds.end());
  sent.push_back(other.fd());  // the client's own end, whose peer is the server
  for (int fd : sent) {
    size_t before = packetsRefused();
    introduce(fd);
    mark();
    EXPECT_EQ(packetsRefused(), before + 1) << fd;
  }
  for (int fd : {pair[0], pair[1], other.fd()}) {
    uint64_t connection = cookieOf(fd);
    auto record = recordOf([&](auto r) { r.setConnection(connection); });
    EXPECT_FALSE(isAttested(record)) << record;
  }
  expectDescriptorsAsBefore();
}

TEST_F(HostileRecordsTest, whoAskedIsTheHelpersOwnWordOrMarkedAsHearsay) {
  HelperConnection alice = HelperConnection::take(*server, ALICE);
  uint64_t connection = cookieOf(alice.client());
  auto lie = [&](auto record) {
    record.setConnection(connection);
    record.setPid(1);
    record.setUid(0);
    record.setGid(0);
  };
  // Before it is introduced, it is the frontend's word.
  auto record = recordOf(lie);
  EXPECT_FALSE(isAttested(record));
  EXPECT_EQ(record["peer"]["pid"], 1);
  EXPECT_FALSE(record["peer"].contains("executable"));

  for (int i = 0; i < 3; ++i)
    introduce(alice.client());
  record = recordOf(lie);
  EXPECT_TRUE(isAttested(record));
  EXPECT_EQ(record["peer"]["pid"], getpid());
  EXPECT_EQ(record["peer"]["uid"], ALICE);
  EXPECT_EQ(record["peer"]["gid"], ALICE);

  for (int i = 0; i < 3; ++i)
    throwAt(encodeRecord([&](auto message) { message.setGone(connection); }));
  EXPECT_FALSE(isAttested(recordOf(lie)));

  // What one frontend has introduced, another cannot refer to.
  introduce(alice.client());
  EXPECT_TRUE(isAttested(recordOf(lie)));
  replaceFrontend();
  EXPECT_FALSE(isAttested(recordOf(lie)));
}

TEST_F(HostileRecordsTest, contentOfAnyKindIsOneLineThatCanBeRead) {
  std::string control;
  for (int i = 0; i < 256; ++i)
    control += static_cast<char>(i);
  std::string forged = "x\"}\n{\"time\":\"now\",\"seq\":1,\"prev\":\"\",\"from\":\"privhelper\"}\n";
  std::string odd = std::string("\0\xed\xa0\x80\xc0\xaf\xff\x1b[2J\xe2\x80\xae", 16);
  for (const std::string& text :
       {std::string(), control, forged, odd, std::string(4096, '\n'), std::string(40000, '\x01'),
        std::string(60000, '\xff'), std::string(100000, '"')}) {
    size_t before = records().size();
    auto record = recordOf([&](auto r) {
      if (text.size() < 40000) r.setCause(bytesOf(text));
      r.setHandle(bytesOf(text));
      r.setHandleBytes(0xffffffff);
      if (text.size() < 20000) r.setScriptSha256(kj::StringPtr(text.c_str(), strlen(text.c_str())));
      r.setScriptBytes(~0ull);
      r.setJobId(~0ull);
      r.setDurationUs(~0ull);
      r.setLost(~0ull);
    });
    EXPECT_EQ(records().size(), before + 2) << text.size();
    EXPECT_EQ(record["from"], "frontend");
    EXPECT_EQ(record["lost"], ~0ull);
    // Cut, whatever was sent.
    EXPECT_LE(record.dump(-1, ' ', true).size(), 32u << 10);
  }
}

TEST_F(HostileRecordsTest, namesOfRequestsAndOutcomesThatDoNotExistAreWrittenAsSuch) {
  for (uint16_t outcome : {3, 255, 65535}) {
    auto record = recordOf([&](auto r) {
      r.setOutcome(static_cast<schema::RequestRecord::Outcome>(outcome));
      r.setRequest(std::string(50000, 'r').c_str());
    });
    EXPECT_EQ(record["outcome"], "unknown");
    EXPECT_EQ(record["request"]["bytes"], 50000);
  }
  auto whole = encodeRecord([](auto message) { message.setGone(1); });
  // The union's member is the first number of the structure's data.
  for (uint16_t member : {3, 255, 65535}) {
    size_t before = packetsRefused();
    memcpy(&whole[16], &member, sizeof(member));
    throwAt(whole);
    mark();
    EXPECT_EQ(packetsRefused(), before + 1);
  }
}

TEST_F(HostileRecordsTest, onlySoManyConnectionsAreRemembered) {
  std::vector<uint64_t> connections;
  for (size_t i = 0; i < MOST_KNOWN + 600; ++i) {
    HelperConnection client = HelperConnection::take(*server);
    connections.push_back(cookieOf(client.client()));
    introduce(client.client());
    if (i % 64 == 0) mark();  // descriptors on their way are limited, too (unix(7))
  }
  size_t before = records().size();
  for (uint64_t connection : connections)
    tell([&](auto r) { r.setConnection(connection); });
  mark();
  auto all = records();
  ASSERT_EQ(all.size(), before + connections.size() + 1);
  size_t attested = 0;
  for (size_t i = before; i < all.size() - 1; ++i)
    attested += isAttested(all[i]);
  EXPECT_LE(attested, MOST_KNOWN);
  EXPECT_GT(attested, MOST_KNOWN / 2);
  EXPECT_TRUE(isAttested(all[all.size() - 2])) << "the newest is one of those remembered";
  expectDescriptorsAsBefore();
}

TEST_F(HostileRecordsTest, aFloodDelaysNoOtherRequest) {
  std::atomic<bool> enough = false;
  std::atomic<size_t> sent = 0;
  auto good = encodeRecord([](auto message) {
    message.initRequest().setHandle(bytesOf(std::string(4000, 'h')));
    message.getRequest().setConnection(NOBODYS);
  });
  std::thread flood([&]() {
    std::string bad(5, 'x');
    while (!enough) {
      if (!helper->sendRecord(good) || !helper->sendRecord(bytesOf(bad))) break;
      ++sent;
    }
  });
  auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 10; ++i)
    expectGoodService();
  auto took = std::chrono::steady_clock::now() - begin;
  enough = true;
  flood.join();
  EXPECT_LT(took, patient(std::chrono::seconds(20)));
  EXPECT_GT(sent, 100u);
  expectDescriptorsAsBefore();
}

TEST_F(HostileRecordsTest, anEmptyPacketEndsThisConnectionAlone) {
  throwAt(std::string());
  EXPECT_TRUE(waitUntil([&]() {
    return !helper->sendRecord(encodeRecord([](auto message) { message.setGone(1); }));
  }));
  expectGoodService();
  replaceFrontend();
  mark();
}

}  // namespace
}  // namespace warden::test
