// Bytes that no frontend sends: random ones, cut off ones, and good requests with flipped bits.
// Seeded, so that a failure can be had again.

#include <string.h>

#include <random>
#include <set>
#include <thread>

#include "tests/escape/hostile-test.h"

namespace warden::test {
namespace {

std::string toString(kj::ArrayPtr<const kj::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
}

capnp::Data::Reader bytesOf(const char* text) {
  return kj::arrayPtr(reinterpret_cast<const kj::byte*>(text), strlen(text));
}

class HostileBytesTest : public HostileFrontendTest {
 protected:
  // Sends, reads what comes back without waiting for it, and goes on with a new frontend where the
  // helper has closed the connection.
  void throwAt(const std::string& bytes) {
    if (!helper->sendBytes(bytes)) {
      replaceFrontend();
      return;
    }
    while (helper->receive(std::chrono::milliseconds(0))) {
    }
    if (helper->isClosed()) replaceFrontend();
    ASSERT_TRUE(isAlive(server->brokerPid())) << server->logs();
  }
};

TEST_F(HostileBytesTest, randomBytesAreRefused) {
  std::mt19937 random(1);
  size_t before = refusalsLogged();
  for (int i = 0; i < 2000; ++i) {
    std::string bytes(1 + random() % (i % 50 == 0 ? 140000 : 600), 0);
    for (char& byte : bytes)
      byte = static_cast<char>(random());
    throwAt(bytes);
  }
  helper->drain();
  EXPECT_GT(refusalsLogged(), before);
}

TEST_F(HostileBytesTest, randomWordsBehindAPlausibleHeaderAreRefused) {
  std::mt19937 random(2);
  for (int i = 0; i < 2000; ++i) {
    uint32_t words = 1 + random() % 64;
    std::string bytes(8 + words * 8, 0);
    // One segment of this many words (capnproto.org, "Serialization Over a Stream").
    memcpy(&bytes[4], &words, 4);
    for (size_t j = 8; j < bytes.size(); ++j) {
      bytes[j] = static_cast<char>(random() % 4 == 0 ? random() : 0);
    }
    throwAt(bytes);
  }
}

TEST_F(HostileBytesTest, truncatedRequestsAreRefused) {
  std::string whole =
      toString(encode([](auto request) { fillCreate(request.initCreate(), "0123456789b", 1); }));
  size_t before = refusalsLogged();
  for (size_t length = 1; length < whole.size(); ++length)
    throwAt(whole.substr(0, length));
  helper->drain();
  EXPECT_GT(refusalsLogged(), before);
}

// One of each kind, as a good frontend would send it.
std::vector<std::string> requestsOfAllKinds() {
  static constexpr char ID[] = "0123456789b";
  static constexpr char PATH[] = "/var/tmp/of-no-user";
  std::vector<HelperConnection::Fill> fills = {
      [](auto request) { request.initHello().setVersion(schema::PROTOCOL_VERSION); },
      [](auto request) { fillCreate(request.initCreate(), ID, 1); },
      [](auto request) { request.initDestroy().setId(ID); },
      [](auto request) { request.setListContainers(); },
      [](auto request) { request.initAdopt().setId(ID); },
      [](auto request) { request.initOpenImage().setPath(bytesOf(PATH)); },
      [](auto request) {
        request.initCopyIn().setId(ID);
        request.getCopyIn().setPath(bytesOf(PATH));
      },
      [](auto request) {
        request.initCopyOut().setId(ID);
        request.getCopyOut().setPath(bytesOf(PATH));
      },
  };
  for (auto fill : CONTAINER_REQUESTS)
    fills.push_back([fill](auto request) { fill(request, ID); });
  std::vector<std::string> requests;
  std::set<schema::HelperRequest::Which> kinds;
  for (auto& fill : fills) {
    requests.push_back(toString(encode([&](auto request) {
      fill(request);
      kinds.insert(request.which());
    })));
  }
  // The last of the union.
  EXPECT_EQ(kinds.size(), size_t(schema::HelperRequest::ADOPT) + 1);
  return requests;
}

TEST_F(HostileBytesTest, requestsWithFlippedBitsAreRefusedOrHarmless) {
  std::mt19937 random(3);
  auto requests = requestsOfAllKinds();
  for (size_t i = 0; i < 600 * requests.size(); ++i) {
    std::string bytes = requests[i % requests.size()];
    for (int flips = 1 + random() % 4; flips > 0; --flips) {
      bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
    }
    throwAt(bytes);
  }
  // Some of them were good requests: what they made ends with this frontend.
  replaceFrontend();
  EXPECT_TRUE(waitUntil([&]() { return server->depotEntries().empty(); }));
}

TEST_F(HostileBytesTest, messagesThatPointIntoThemselvesAreRefused) {
  // A text of 512 MiB in a message of a few words, and pointers that lead out of the segment.
  std::string whole =
      toString(encode([](auto request) { request.initDestroy().setId("0123456789b"); }));
  for (size_t word = 8; word + 8 <= whole.size(); word += 8) {
    for (uint64_t pointer : {0xffffffff00000001ull, 0xffffffffffffffffull, 0xfffffffaffffff01ull,
                             0x00000000fffffffcull, 0xffff0000fffffffcull, 0x0000000000000002ull}) {
      std::string bytes = whole;
      memcpy(&bytes[word], &pointer, 8);
      throwAt(bytes);
    }
  }
}

TEST_F(HostileBytesTest, anEmptyPacketIsHarmless) {
  helper->sendBytes(std::string());
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  ASSERT_TRUE(isAlive(server->brokerPid()));
  replaceFrontend();
}

}  // namespace
}  // namespace warden::test
