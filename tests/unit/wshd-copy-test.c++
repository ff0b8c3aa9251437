// Copies, and what they tell of themselves.

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "base/progress-pipe.h"
#include "tests/unit/base-tree-testing.h"
#include "tests/unit/wshd-harness.h"

namespace warden::test {
namespace {

class WshdCopyTest : public TreeTest {
 protected:
  void SetUp() override {
    if (!canRunWshd()) GTEST_SKIP() << "needs root";
    TreeTest::SetUp();
    KJ_SYSCALL(chown(base.c_str(), TEST_USER, TEST_USER));
    wshd = std::make_unique<Wshd>();
    makeDirectory("src");
    write("src/file", std::string(4 << 20, 'x'));
    write("src/other", "12345");
  }
  void TearDown() override {
    if (wshd == nullptr) return;
    EXPECT_TRUE(wshd->isAlive());
    TreeTest::TearDown();
  }
  Frontend& frontend() { return wshd->frontend; }

  Message meter(int fd) { return frontend().meterCopy(kj::arrayPtr(&fd, 1)); }

  // Out of the container; somebody takes what comes.
  Message packAll() {
    StreamPair stream;
    std::thread reader([fd = stream.right.get()] { readToEnd(fd); });
    int fd = stream.left;
    auto message = frontend().copy({.path = base + "/src"}, kj::arrayPtr(&fd, 1));
    stream.left = nullptr;
    reader.join();
    return message;
  }

  std::unique_ptr<Wshd> wshd;
};

void expectFailure(const Message& message, const char* step, int error) {
  EXPECT_EQ(message.which, schema::WshdMessage::FAILED);
  EXPECT_EQ(message.step, step);
  EXPECT_EQ(message.error, error);
}

TEST_F(WshdCopyTest, tellsHowFarItIs) {
  auto pipe = makeProgressPipe();
  EXPECT_EQ(meter(pipe.writeEnd).which, schema::WshdMessage::DONE);
  EXPECT_EQ(packAll().which, schema::WshdMessage::DONE);
  EXPECT_EQ(KJ_ASSERT_NONNULL(latestProgress(pipe.readEnd)), (Progress{(4 << 20) + 5, 3}));
}

TEST_F(WshdCopyTest, tellsOfWhatItUnpacks) {
  auto pipe = makeProgressPipe();
  EXPECT_EQ(meter(pipe.writeEnd).which, schema::WshdMessage::DONE);
  StreamPair stream;
  CopyPlace from = source("src/");
  std::thread packer([&] { packTree(from, stream.left); });
  int fd = stream.right;
  auto message = frontend().copy({.path = base + "/dst", .pack = false}, kj::arrayPtr(&fd, 1));
  packer.join();
  EXPECT_EQ(message.which, schema::WshdMessage::DONE) << message.step;
  EXPECT_EQ(KJ_ASSERT_NONNULL(latestProgress(pipe.readEnd)), (Progress{(4 << 20) + 5, 3}));
  EXPECT_EQ(read("dst/other"), "12345");
}

TEST_F(WshdCopyTest, metersOneCopyOnlyAndKeepsNothingOfIt) {
  auto pipe = makeProgressPipe();
  meter(pipe.writeEnd);
  pipe.writeEnd = nullptr;
  packAll();
  latestProgress(pipe.readEnd);
  char byte;
  EXPECT_EQ(::read(pipe.readEnd, &byte, 1), 0) << "somebody has the other end";
  EXPECT_EQ(packAll().which, schema::WshdMessage::DONE);

  // Nor of one that was not begun, or whose frontend has gone.
  pipe = makeProgressPipe();
  meter(pipe.writeEnd);
  pipe.writeEnd = nullptr;
  frontend().copy({.path = base + "/src", .uid = 0}, nullptr);
  EXPECT_EQ(packAll().which, schema::WshdMessage::DONE);
  EXPECT_TRUE(latestProgress(pipe.readEnd) == nullptr);
  pipe = makeProgressPipe();
  meter(pipe.writeEnd);
  pipe.writeEnd = nullptr;
  frontend().replace(wshd->connect());
  EXPECT_EQ(frontend().ping().which, schema::WshdMessage::DONE);
  EXPECT_EQ(::read(pipe.readEnd, &byte, 1), 0) << "somebody has the other end";
}

TEST_F(WshdCopyTest, isNotHeldUpByAPipeThatNobodyReads) {
  auto pipe = makeProgressPipe();
  Progress any;
  while (::write(pipe.writeEnd, &any, sizeof(any)) > 0) {
  }
  meter(pipe.writeEnd);
  EXPECT_EQ(packAll().which, schema::WshdMessage::DONE);
  pipe.readEnd = nullptr;
  meter(pipe.writeEnd);
  EXPECT_EQ(packAll().which, schema::WshdMessage::DONE);
}

TEST_F(WshdCopyTest, refusesAMeterThatIsNoneOrMayWait) {
  auto pipe = makeProgressPipe();
  expectFailure(frontend().meterCopy(nullptr), "take the pipe's descriptor", EBADF);
  int two[] = {pipe.writeEnd, pipe.writeEnd};
  expectFailure(frontend().meterCopy(two), "take the pipe's descriptor", EBADF);
  expectFailure(meter(pipe.readEnd), "check the pipe's descriptor", EINVAL);
  auto blocking = makePipe();
  expectFailure(meter(blocking.writeEnd), "check the pipe's descriptor", EINVAL);
  StreamPair stream;
  expectFailure(meter(stream.left), "check the pipe's descriptor", EINVAL);
}

TEST_F(WshdCopyTest, refusesOtherDescriptorsThanOneStream) {
  auto pipe = makeProgressPipe();
  StreamPair stream;
  CopySpec spec{.path = base + "/src"};
  expectFailure(frontend().copy(spec, nullptr), "take the stream's descriptor", EBADF);
  int two[] = {stream.left, pipe.writeEnd};
  expectFailure(frontend().copy(spec, two), "take the stream's descriptor", EBADF);
  int one[] = {pipe.writeEnd};
  expectFailure(frontend().copy(spec, one), "check the stream's descriptor", EINVAL);
}

}  // namespace
}  // namespace warden::test
