// How far a copy is: what the library hears of it, and what the command shows.

#include "client/progress-line.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "client-test-server.h"
#include "client/client.h"

namespace warden::client {
namespace {

using std::chrono::seconds;

CopyProgress progressOf(uint64_t bytes, uint64_t entries) {
  CopyProgress progress;
  progress.set_bytes(bytes);
  progress.set_entries(entries);
  return progress;
}

std::string readSome(int fd) {
  char text[4096];
  ssize_t n;
  KJ_SYSCALL(n = read(fd, text, sizeof(text)));
  return std::string(text, n);
}

TEST(ProgressLineTest, namesBytesEntriesAndRate) {
  EXPECT_EQ(progressText(progressOf(0, 0), seconds(0)), "0 bytes, 0 entries, 0 bytes/s");
  EXPECT_EQ(progressText(progressOf(1023, 1), seconds(1)), "1023 bytes, 1 entry, 1023 bytes/s");
  EXPECT_EQ(progressText(progressOf(25 << 19, 45), seconds(2)), "12.5 MiB, 45 entries, 6.2 MiB/s");
  EXPECT_EQ(progressText(progressOf(UINT64_MAX, UINT64_MAX), seconds(1)),
            "16.0 EiB, 18446744073709551615 entries, 16.0 EiB/s");
}

TEST(ProgressLineTest, isALineASecondAndTheLastWhereThereIsNoTerminal) {
  auto pipe = makePipe();
  ProgressLine line(pipe.writeEnd);
  EXPECT_FALSE(line.isOnTerminal());
  for (int i = 1; i <= 5; ++i)
    line.show(progressOf(0, i));
  EXPECT_EQ(readSome(pipe.readEnd), "0 bytes, 1 entry, 0 bytes/s\n");
  line.finish();
  EXPECT_EQ(readSome(pipe.readEnd), "0 bytes, 5 entries, 0 bytes/s\n");
  line.finish();
  pipe.writeEnd = nullptr;
  EXPECT_EQ(readSome(pipe.readEnd), "");
}

TEST(ProgressLineTest, isWrittenOverOnATerminal) {
  Fd terminal(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_EQ(grantpt(terminal), 0);
  ASSERT_EQ(unlockpt(terminal), 0);
  Fd shown(open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(shown != nullptr);
  {
    ProgressLine line(shown);
    EXPECT_TRUE(line.isOnTerminal());
    line.show(progressOf(0, 10));
    line.show(progressOf(0, 1));
  }
  // The terminal adds CR to what ends the line.
  EXPECT_EQ(readSome(terminal),
            "\r0 bytes, 10 entries, 0 bytes/s\r0 bytes, 1 entry, 0 bytes/s   \r\n");
}

CopyInRequest copyOf(const std::string& path) {
  CopyInRequest request;
  request.set_handle("h");
  request.set_src_path(path);
  request.set_dst_path(path);
  return request;
}

CopyInResponse copied(uint64_t bytes) {
  CopyInResponse response;
  response.mutable_progress()->set_bytes(bytes);
  return response;
}

TEST(CopyWatcherTest, hearsHowFarACopyIs) {
  TestServer server([](Peer& peer) {
    EXPECT_TRUE(peer.take<CopyInRequest>(Message::CopyIn).progress());
    for (uint64_t bytes : {5, 7, 3})
      peer.answer(Message::CopyIn, copied(bytes));
    peer.answer(Message::CopyIn, CopyInResponse());
    // Of another kind of server: it does not know the field.
    EXPECT_TRUE(peer.take<CopyInRequest>(Message::CopyIn).progress());
    peer.answer(Message::CopyIn, CopyInResponse());
    EXPECT_FALSE(peer.take<CopyInRequest>(Message::CopyIn).has_progress());
    peer.answer(Message::CopyIn, CopyInResponse());
    peer.take<CopyInRequest>(Message::CopyIn);
    peer.answer(Message::CopyIn, copied(1));
    peer.refuse("could not copy");
    peer.take<PingRequest>(Message::Ping);
    peer.answer(Message::Ping, PingResponse());
  });
  Client client = Client::connect(server.path());
  std::vector<uint64_t> seen;
  auto watch = [&](const CopyProgress& progress) { seen.push_back(progress.bytes()); };
  client.copyIn(copyOf("/a"), watch);
  EXPECT_EQ(seen, (std::vector<uint64_t>{5, 7, 3}));
  client.copyIn(copyOf("/a"), watch);
  client.copyIn(copyOf("/a"));
  EXPECT_THROW(client.copyIn(copyOf("/a"), watch), ServerError);
  EXPECT_EQ(seen.size(), 4u);
  client.ping();
}

TEST(CopyWatcherTest, closesTheConnectionWhenItThrows) {
  TestServer server([](Peer& peer) {
    peer.take<CopyInRequest>(Message::CopyIn);
    peer.answer(Message::CopyIn, copied(1));
    peer.waitUntilClosed();
  });
  Client client = Client::connect(server.path());
  struct Mine {};
  EXPECT_THROW(client.copyIn(copyOf("/a"), [](const auto&) { throw Mine(); }), Mine);
  EXPECT_THROW(client.ping(), ConnectionError);
}

}  // namespace
}  // namespace warden::client
