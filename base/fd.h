#pragma once
// Descriptors: owning, CLOEXEC from birth, never inherited by accident.

#include <kj/array.h>
#include <kj/io.h>
#include <kj/string.h>

namespace warden {

using Fd = kj::AutoCloseFd;
// Takes ownership when passed by value; a function that borrows takes an int.

Fd duplicate(int fd);
// A CLOEXEC duplicate (fcntl(2) F_DUPFD_CLOEXEC). The file description is shared.

void setNonblocking(int fd, bool nonblocking = true);

void closeAllExcept(kj::ArrayPtr<const int> keep);
// Closes every descriptor of the process from 3 up but these: for a forked child that goes on
// without exec.

struct Pipe {
  Fd readEnd;
  Fd writeEnd;
};
Pipe makePipe();
// Both ends CLOEXEC and blocking (pipe2(2)).

struct SocketPair {
  Fd left;
  Fd right;
};
SocketPair makePacketPair();
// A connected AF_UNIX SOCK_SEQPACKET pair, CLOEXEC, blocking, with send buffers that hold a packet
// of the largest size (base/packet.h).

kj::Array<kj::byte> readAll(int fd, size_t limit);
// Reads from the current position to the end. Fails when there are more than `limit` bytes, so that
// a file that grows without end cannot exhaust memory.

void discardInput(int socket);
// Throws away what has arrived at a socket, up to 256 KiB, without waiting. Closed with unread
// input, it would make the peer lose the answer before it (unix(7), ECONNRESET; RFC 9293, section
// 3.10.4).

void writeAll(int fd, kj::ArrayPtr<const kj::byte> data);

enum class MemfdUse { DATA, EXECUTABLE };
Fd makeMemfd(kj::StringPtr name, MemfdUse use = MemfdUse::DATA);
void fillAndSeal(int memfd, kj::ArrayPtr<const kj::byte> content);
// The two halves of the following: an empty file, and what is done to one.

Fd makeSealedMemfd(kj::StringPtr name, kj::ArrayPtr<const kj::byte> content,
                   MemfdUse use = MemfdUse::DATA);
// An anonymous file with this content, positioned at 0, sealed against writing, growing, shrinking
// and unsealing (memfd_create(2)): whoever receives it, or opens it again by /proc, can only read
// it.

}  // namespace warden
