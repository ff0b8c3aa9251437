#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/exception.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base-testing.h"
#include "base/packet.h"

namespace warden {
namespace {

using test::inChild;
using test::openDescriptors;

kj::ArrayPtr<const kj::byte> bytesOf(kj::StringPtr text) {
  return text.asBytes();
}

std::string textOf(kj::ArrayPtr<const kj::byte> bytes) {
  return std::string(bytes.asChars().begin(), bytes.size());
}

bool isCloexec(int fd) {
  return (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
}

std::string procPath(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

TEST(FdTest, everyKindIsClosedOnExec) {
  Pipe pipe = makePipe();
  SocketPair pair = makePacketPair();
  Fd copy = duplicate(pipe.readEnd);
  Fd memfd = makeSealedMemfd("x", nullptr);
  for (int fd : {pipe.readEnd.get(), pipe.writeEnd.get(), pair.left.get(), pair.right.get(),
                 copy.get(), memfd.get()}) {
    EXPECT_TRUE(isCloexec(fd));
  }
}

TEST(FdTest, duplicateOfAClosedDescriptorFails) {
  EXPECT_ANY_THROW(duplicate(-1));
  EXPECT_ANY_THROW(duplicate(999999));
}

TEST(FdTest, duplicateIsNeverAStandardStream) {
  EXPECT_EQ(inChild([] {
              Pipe pipe = makePipe();
              close(0);
              CHILD_EXPECT(duplicate(pipe.readEnd).get() >= 3);
              return 0;
            }),
            0);
}

TEST(FdTest, nonblockingCanBeSetAndTakenBack) {
  Pipe pipe = makePipe();
  char c;
  setNonblocking(pipe.readEnd);
  EXPECT_EQ(read(pipe.readEnd, &c, 1), -1);
  EXPECT_EQ(errno, EAGAIN);
  setNonblocking(pipe.readEnd, false);
  EXPECT_EQ(fcntl(pipe.readEnd, F_GETFL) & O_NONBLOCK, 0);
}

TEST(FdTest, readAllTakesExactlyTheLimitAndNoByteMore) {
  Fd file = makeSealedMemfd("x", bytesOf("12345"));
  EXPECT_EQ(textOf(readAll(file, 5)), "12345");
  lseek(file, 0, SEEK_SET);
  EXPECT_ANY_THROW(readAll(file, 4));
  lseek(file, 3, SEEK_SET);
  EXPECT_EQ(textOf(readAll(file, 2)), "45");
  EXPECT_EQ(readAll(file, 0).size(), 0u);
}

TEST(FdTest, readAllEndsOnAnEndlessFile) {
  Fd zero(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  EXPECT_ANY_THROW(readAll(zero, 1 << 20));
}

TEST(FdTest, writeAllWritesMoreThanAPipeHolds) {
  Pipe pipe = makePipe();
  auto data = kj::heapArray<kj::byte>(1 << 20);
  for (size_t i = 0; i < data.size(); ++i)
    data[i] = i * 31;
  pid_t pid = fork();
  if (pid == 0) {
    pipe.readEnd = nullptr;
    writeAll(pipe.writeEnd, data);
    _exit(0);
  }
  pipe.writeEnd = nullptr;
  auto got = readAll(pipe.readEnd, data.size());
  waitpid(pid, nullptr, 0);
  EXPECT_TRUE(got == data.asPtr());
}

TEST(SealedMemfdTest, startsAtTheBeginningOfItsContent) {
  Fd fd = makeSealedMemfd("script", bytesOf("echo hello"));
  EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 0);
  EXPECT_EQ(textOf(readAll(fd, 100)), "echo hello");
}

TEST(SealedMemfdTest, cannotBeChangedByAnyMeans) {
  Fd fd = makeSealedMemfd("script", bytesOf("content"));
  EXPECT_LT(write(fd, "x", 1), 0);
  EXPECT_LT(pwrite(fd, "x", 1, 0), 0);
  EXPECT_LT(ftruncate(fd, 3), 0);
  EXPECT_LT(ftruncate(fd, 100), 0);
  EXPECT_LT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
  EXPECT_EQ(textOf(readAll(fd, 100)), "content");
}

TEST(SealedMemfdTest, cannotBeChangedWhenOpenedAgainByProc) {
  Fd fd = makeSealedMemfd("script", bytesOf("content"));
  Fd again(open(procPath(fd).c_str(), O_RDWR | O_CLOEXEC));
  if (again.get() >= 0) {
    EXPECT_LT(write(again, "x", 1), 0);
    EXPECT_LT(ftruncate(again, 0), 0);
  }
  Fd truncated(open(procPath(fd).c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
  EXPECT_LT(truncated.get(), 0);
  EXPECT_EQ(textOf(readAll(fd, 100)), "content");
}

TEST(SealedMemfdTest, keepsItsSeals) {
  Fd fd = makeSealedMemfd("script", bytesOf("content"));
  int seals = fcntl(fd, F_GET_SEALS);
  EXPECT_EQ(seals & (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL),
            F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
  EXPECT_LT(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
}

TEST(SealedMemfdTest, dataIsNotExecutableWhereTheKernelKnowsTheDifference) {
  Fd data = makeSealedMemfd("data", bytesOf("#!/bin/true\n"));
  Fd program = makeSealedMemfd("program", bytesOf("#!/bin/true\n"), MemfdUse::EXECUTABLE);
  struct stat dataStatus, programStatus;
  fstat(data, &dataStatus);
  fstat(program, &programStatus);
  EXPECT_NE(programStatus.st_mode & 0111, 0u);
  int probe = memfd_create("probe", 0x0008U /* MFD_NOEXEC_SEAL */);
  if (probe < 0) GTEST_SKIP() << "this kernel has no MFD_NOEXEC_SEAL (Linux 6.3)";
  close(probe);
  EXPECT_EQ(dataStatus.st_mode & 0111, 0u);
  EXPECT_LT(fchmod(data, 0777), 0);
}

TEST(SealedMemfdTest, takesContentOfSeveralMegabytes) {
  auto data = kj::heapArray<kj::byte>(5'000'001);
  for (size_t i = 0; i < data.size(); ++i)
    data[i] = i * 7;
  Fd fd = makeSealedMemfd("large", data);
  EXPECT_TRUE(readAll(fd, data.size()) == data.asPtr());
}

TEST(FdTest, nothingIsLeftOpenWhenOwnersGo) {
  int before = openDescriptors();
  for (int i = 0; i < 100; ++i) {
    Pipe pipe = makePipe();
    SocketPair pair = makePacketPair();
    Fd copy = duplicate(pair.left);
    Fd memfd = makeSealedMemfd("x", bytesOf("y"));
  }
  EXPECT_EQ(openDescriptors(), before);
}

}  // namespace
}  // namespace warden
