#include "base/packet.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <kj/exception.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base-testing.h"
#include "schema/wshd.capnp.h"

namespace warden {
namespace {

using test::openDescriptors;

// A packet as a hostile peer would send it.
void sendRaw(int socket, kj::ArrayPtr<const kj::byte> bytes, kj::ArrayPtr<const int> fds = nullptr,
             int controls = 1) {
  char control[4096] = {};
  iovec vector{const_cast<kj::byte*>(bytes.begin()), bytes.size()};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  if (fds.size() > 0) {
    header.msg_control = control;
    header.msg_controllen = controls * CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    for (int i = 0; i < controls; ++i, c = CMSG_NXTHDR(&header, c)) {
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      memcpy(CMSG_DATA(c), fds.begin(), fds.size() * sizeof(int));
    }
  }
  ASSERT_EQ(sendmsg(socket, &header, MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()))
      << strerror(errno);
}

kj::Array<capnp::word> pingMessage(uint64_t sequence) {
  capnp::MallocMessageBuilder message;
  auto request = message.initRoot<schema::WshdRequest>();
  request.setSequence(sequence);
  request.setPing();
  return capnp::messageToFlatArray(message);
}

void sendPing(int socket, uint64_t sequence, kj::ArrayPtr<const int> fds = nullptr) {
  capnp::MallocMessageBuilder message;
  auto request = message.initRoot<schema::WshdRequest>();
  request.setSequence(sequence);
  request.setPing();
  ASSERT_TRUE(sendPacket(socket, message, fds));
}

Packet receiveOne(int socket) {
  auto packet = receivePacket(socket);
  return kj::mv(KJ_REQUIRE_NONNULL(packet));
}

uint64_t receiveSequence(int socket) {
  auto packet = receivePacket(socket);
  KJ_IF_MAYBE (p, packet) return p->getRoot<schema::WshdRequest>().getSequence();
  return 0;
}

std::vector<Fd> someDescriptors(size_t count) {
  std::vector<Fd> fds;
  for (size_t i = 0; i < count; ++i)
    fds.emplace_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
  return fds;
}

kj::Array<int> numbersOf(const std::vector<Fd>& fds) {
  auto numbers = kj::heapArray<int>(fds.size());
  for (size_t i = 0; i < fds.size(); ++i)
    numbers[i] = fds[i].get();
  return numbers;
}

kj::Exception::Type failureOf(int socket) {
  KJ_IF_MAYBE (e, kj::runCatchingExceptions([&] { receivePacket(socket); })) return e->getType();
  ADD_FAILURE() << "the packet was accepted";
  return kj::Exception::Type::UNIMPLEMENTED;
}

TEST(PacketTest, carriesAMessageAndDescriptors) {
  auto pair = makePacketPair();
  Pipe pipe = makePipe();
  int fds[] = {pipe.writeEnd.get()};
  sendPing(pair.left, 42, fds);
  auto packet = receiveOne(pair.right);
  EXPECT_EQ(packet.getRoot<schema::WshdRequest>().getSequence(), 42u);
  ASSERT_EQ(packet.fdCount(), 1u);
  Fd got = packet.takeFd(0);
  EXPECT_NE(fcntl(got, F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(write(got, "x", 1), 1);
  char c;
  EXPECT_EQ(read(pipe.readEnd, &c, 1), 1);
}

TEST(PacketTest, aDescriptorCanBeTakenOnceOnly) {
  auto pair = makePacketPair();
  auto fds = someDescriptors(1);
  sendPing(pair.left, 1, numbersOf(fds));
  auto packet = receiveOne(pair.right);
  packet.takeFd(0);
  EXPECT_ANY_THROW(packet.takeFd(0));
  EXPECT_ANY_THROW(packet.takeFd(1));
  EXPECT_ANY_THROW(packet.takeFd(SIZE_MAX));
}

TEST(PacketTest, descriptorsNobodyTookAreClosed) {
  auto pair = makePacketPair();
  auto fds = someDescriptors(MAX_PACKET_FDS);
  int before = openDescriptors();
  for (int i = 0; i < 20; ++i) {
    sendPing(pair.left, 1, numbersOf(fds));
    auto packet = receivePacket(pair.right);
    EXPECT_EQ(KJ_ASSERT_NONNULL(packet).fdCount(), MAX_PACKET_FDS);
  }
  EXPECT_EQ(openDescriptors(), before);
}

TEST(PacketTest, surplusDescriptorsAreRefusedAndDoNotLeak) {
  auto pair = makePacketPair();
  auto message = pingMessage(1);
  int before = openDescriptors();
  for (size_t count : {MAX_PACKET_FDS + 1, size_t(64), size_t(253)}) {
    auto fds = someDescriptors(count);
    sendRaw(pair.left, message.asBytes(), numbersOf(fds));
    EXPECT_EQ(failureOf(pair.right), kj::Exception::Type::FAILED) << count;
  }
  EXPECT_EQ(openDescriptors(), before);
  sendPing(pair.left, 7);
  EXPECT_EQ(receiveSequence(pair.right), 7u);
}

TEST(PacketTest, descriptorsInSeveralControlMessagesAreCountedTogether) {
  auto pair = makePacketPair();
  auto message = pingMessage(1);
  int before = openDescriptors();
  {
    auto fds = someDescriptors(MAX_PACKET_FDS / 2 + 1);
    sendRaw(pair.left, message.asBytes(), numbersOf(fds), 2);
    EXPECT_EQ(failureOf(pair.right), kj::Exception::Type::FAILED);
  }
  EXPECT_EQ(openDescriptors(), before);
}

TEST(PacketTest, doesNotLeakWhenTheProcessRunsOutOfDescriptors) {
  // The kernel then installs some of them and sets MSG_CTRUNC.
  EXPECT_EQ(test::inChild([] {
              auto pair = makePacketPair();
              auto fds = someDescriptors(MAX_PACKET_FDS);
              auto numbers = numbersOf(fds);
              int before = openDescriptors();
              sendPing(pair.left, 1, numbers);
              int highest = dup(0);
              close(highest);
              rlimit limit{static_cast<rlim_t>(highest + 3), static_cast<rlim_t>(highest + 3)};
              CHILD_EXPECT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
              bool refused = false;
              KJ_IF_MAYBE (e, kj::runCatchingExceptions([&] { receivePacket(pair.right); }))
                refused = true;
              CHILD_EXPECT(refused);
              CHILD_EXPECT(openDescriptors() == before);
              sendPing(pair.left, 2);
              CHILD_EXPECT(receiveSequence(pair.right) == 2);
              return 0;
            }),
            0);
}

TEST(PacketTest, descriptorsOfAMalformedPacketDoNotLeak) {
  auto pair = makePacketPair();
  auto fds = someDescriptors(4);
  int before = openDescriptors();
  kj::byte garbage[] = {0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  sendRaw(pair.left, garbage, numbersOf(fds));
  EXPECT_EQ(failureOf(pair.right), kj::Exception::Type::FAILED);
  sendRaw(pair.left, kj::arrayPtr(garbage, 3), numbersOf(fds));  // no whole word
  EXPECT_EQ(failureOf(pair.right), kj::Exception::Type::FAILED);
  EXPECT_EQ(openDescriptors(), before);
}

TEST(PacketTest, anEmptyPacketWithDescriptorsDoesNotLeak) {
  auto pair = makePacketPair();
  auto fds = someDescriptors(4);
  int before = openDescriptors();
  sendRaw(pair.left, nullptr, numbersOf(fds));
  EXPECT_EQ(failureOf(pair.right), kj::Exception::Type::DISCONNECTED);
  EXPECT_EQ(openDescriptors(), before);
}

TEST(PacketTest, everyTruncationOfAMessageIsRefusedOrHarmless) {
  capnp::MallocMessageBuilder message;
  auto spawn = message.initRoot<schema::WshdRequest>().initSpawn();
  spawn.initEnvironment(3).set(1, kj::StringPtr("A=b").asBytes());
  spawn.setHome(kj::StringPtr("/home/vcap").asBytes());
  auto words = capnp::messageToFlatArray(message);
  auto pair = makePacketPair();
  for (size_t size = 1; size < words.asBytes().size(); ++size) {
    sendRaw(pair.left, words.asBytes().slice(0, size));
    EXPECT_EQ(failureOf(pair.right), kj::Exception::Type::FAILED) << size;
  }
}

TEST(PacketTest, takesTheLargestPacketAndRefusesALargerOne) {
  auto pair = makePacketPair();
  auto words = kj::heapArray<capnp::word>(MAX_PACKET_BYTES / sizeof(capnp::word));
  memset(words.begin(), 0, words.asBytes().size());
  auto segment = reinterpret_cast<uint32_t*>(words.begin());
  segment[1] = words.size() - 1;  // one segment with all the rest
  sendRaw(pair.left, words.asBytes());
  EXPECT_EQ(receiveSequence(pair.right), 0u);

  for (size_t surplus : {size_t(1), sizeof(capnp::word), size_t(64 * 1024)}) {
    auto bytes = kj::heapArray<kj::byte>(MAX_PACKET_BYTES + surplus);
    memset(bytes.begin(), 0, bytes.size());
    memcpy(bytes.begin(), words.begin(), MAX_PACKET_BYTES);
    auto fds = someDescriptors(2);
    int before = openDescriptors();
    sendRaw(pair.left, bytes, numbersOf(fds));
    EXPECT_EQ(failureOf(pair.right), kj::Exception::Type::FAILED) << surplus;
    EXPECT_EQ(openDescriptors(), before);
  }
  sendPing(pair.left, 9);
  EXPECT_EQ(receiveSequence(pair.right), 9u);
}

TEST(PacketTest, doesNotSendMoreThanTheLimits) {
  auto pair = makePacketPair();
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::WshdRequest>().initSpawn().initHome(MAX_PACKET_BYTES);
  EXPECT_ANY_THROW(sendPacket(pair.left, message));
  auto fds = someDescriptors(MAX_PACKET_FDS + 1);
  capnp::MallocMessageBuilder small;
  small.initRoot<schema::WshdRequest>();
  EXPECT_ANY_THROW(sendPacket(pair.left, small, numbersOf(fds)));
}

TEST(PacketTest, aPointerBombIsNotWalked) {
  // A list of 2^29 - 1 elements of no size, claimed in one word: walking it must cost nothing.
  capnp::word words[3];
  memset(words, 0, sizeof(words));
  auto raw = reinterpret_cast<uint32_t*>(words);
  raw[1] = 2;
  raw[2] = 1;                      // list pointer, offset 0
  raw[3] = ((1u << 29) - 1) << 3;  // void elements
  auto packet = decodePacket(kj::arrayPtr(words, 3).asBytes());
  EXPECT_ANY_THROW(packet.getRoot<schema::WshdRequest>().getSequence());
}

TEST(PacketTest, aPointerToItselfIsNotFollowedForEver) {
  // A struct whose only pointer points back to the struct: reading ends by the nesting limit.
  capnp::word words[3];
  memset(words, 0, sizeof(words));
  auto raw = reinterpret_cast<uint32_t*>(words);
  raw[1] = 2;
  raw[3] = 1u << 16;                        // root: struct with one pointer
  raw[4] = static_cast<uint32_t>(-1) << 2;  // that pointer: a struct, at itself
  raw[5] = 1u << 16;
  auto packet = decodePacket(kj::arrayPtr(words, 3).asBytes());
  auto walk = [&] {
    auto any = packet.getRoot<capnp::AnyPointer>();
    for (int depth = 0; depth < 1000; ++depth) {
      any = any.getAs<capnp::AnyStruct>().getPointerSection()[0];
    }
  };
  EXPECT_ANY_THROW(walk());
}

TEST(PacketTest, tellsAClosedPeerFromAnEmptySocket) {
  auto pair = makePacketPair();
  setNonblocking(pair.right);
  EXPECT_TRUE(receivePacket(pair.right) == nullptr);
  pair.left = nullptr;
  EXPECT_EQ(failureOf(pair.right), kj::Exception::Type::DISCONNECTED);
}

TEST(PacketTest, whatAPeerSentIsReadAlthoughItClosedWithoutReading) {
  SocketPair pair = makePacketPair();
  sendPing(pair.left, 1);
  sendPing(pair.right, 2);
  sendPing(pair.right, 3);
  pair.right = nullptr;
  for (uint64_t sequence : {2, 3}) {
    EXPECT_EQ(receiveOne(pair.left).getRoot<schema::WshdRequest>().getSequence(), sequence);
  }
  KJ_IF_MAYBE (e, kj::runCatchingExceptions([&] { receivePacket(pair.left); })) {
    EXPECT_EQ(e->getType(), kj::Exception::Type::DISCONNECTED);
  } else {
    ADD_FAILURE() << "the end is not told";
  }
}

TEST(PacketTest, sendingToAClosedPeerIsADisconnectionAndNoSignal) {
  auto pair = makePacketPair();
  pair.right = nullptr;
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::WshdRequest>();
  auto failure = kj::runCatchingExceptions([&] { sendPacket(pair.left, message); });
  EXPECT_EQ(KJ_ASSERT_NONNULL(failure).getType(), kj::Exception::Type::DISCONNECTED);
}

TEST(PacketTest, aFullSocketTakesNothingAndSaysSo) {
  auto pair = makePacketPair();
  setNonblocking(pair.left);
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::WshdRequest>().initSpawn().initHome(100 * 1024);
  int sent = 0;
  while (sendPacket(pair.left, message))
    ASSERT_LT(++sent, 10000);
  EXPECT_GE(sent, 1);
  setNonblocking(pair.right);
  for (int i = 0; i < sent; ++i)
    EXPECT_TRUE(receivePacket(pair.right) != nullptr);
  EXPECT_TRUE(receivePacket(pair.right) == nullptr);
}

}  // namespace
}  // namespace warden
