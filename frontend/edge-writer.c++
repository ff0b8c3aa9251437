#include "frontend/edge-writer.h"

#include <errno.h>
#include <kj/debug.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "frontend/frame-codec.h"
#include "frontend/serialize.h"

namespace warden::frontend {

namespace {

// After this much in a row the event loop gets to serve others, however fast this client reads.
constexpr uint64_t BYTES_PER_TURN = 1 << 20;

constexpr size_t MAX_IOVECS = 16;

}  // namespace

// One frame under way. It marks the writer broken when it goes away half sent.
struct EdgeWriter::Outgoing {
  EdgeWriter& writer;
  FrameHeader header;
  kj::Array<PayloadPart> payload;
  kj::Vector<Segment> segments;
  size_t current = 0;
  size_t held = 0;  // in memory
  bool started = false;

  Outgoing(EdgeWriter& writer, Message::Type type, uint64_t size, kj::Array<PayloadPart> parts)
      : writer(writer), header(type, size), payload(kj::mv(parts)) {
    segments.reserve(payload.size() + 2);
    addBytes(header.bytes());
    for (auto& part : payload) {
      KJ_SWITCH_ONEOF(part) {
        KJ_CASE_ONEOF(bytes, kj::Array<kj::byte>) {
          addBytes(bytes);
          held += bytes.size();
        }
        KJ_CASE_ONEOF(range, FileRange) {
          if (range.size > 0) segments.add(Segment{nullptr, range.fd, range.offset, range.size});
        }
      }
    }
    addBytes(kj::arrayPtr(FRAME_TRAILER, 2));
    writer.sending = true;
    writer.context.holdOutput(0, held);
  }

  ~Outgoing() {
    writer.context.holdOutput(held, 0);
    writer.sending = false;
    if (started && !done()) writer.broken = true;
  }

  KJ_DISALLOW_COPY(Outgoing);

  void addBytes(kj::ArrayPtr<const kj::byte> bytes) {
    if (bytes.size() > 0) segments.add(Segment{bytes.begin(), -1, 0, bytes.size()});
  }

  bool mayWait() const {
    return held <= EdgeContext::SMALL_BYTES || writer.context.holdOutput(held, held);
  }

  bool done() const { return current == segments.size(); }

  void advance(uint64_t sent) {
    started = started || sent > 0;
    while (sent > 0) {
      Segment& segment = segments[current];
      uint64_t n = kj::min(sent, segment.size);
      if (segment.bytes != nullptr) {
        segment.bytes += n;
      } else {
        segment.offset += n;
      }
      segment.size -= n;
      sent -= n;
      if (segment.size == 0) ++current;
    }
  }
};

EdgeWriter::EdgeWriter(EdgeContext& context, kj::UnixEventPort::FdObserver& observer, int socket)
    : context(context), observer(observer), socket(socket) {}

kj::Promise<void> EdgeWriter::send(Message::Type type, kj::Array<PayloadPart> payload) {
  KJ_REQUIRE(!sending, "a response is sent while another is under way");
  KJ_REQUIRE(!broken, "a response is sent after one that was sent in part");
  lastType = type;
  uint64_t size = 0;
  for (auto& part : payload) {
    KJ_SWITCH_ONEOF(part) {
      KJ_CASE_ONEOF(bytes, kj::Array<kj::byte>) {
        size += bytes.size();
      }
      KJ_CASE_ONEOF(range, FileRange) {
        size += range.size;
      }
    }
  }
  auto frame = kj::heap<Outgoing>(*this, type, size, kj::mv(payload));
  auto& reference = *frame;
  // evalNow turns what pump() throws at once into a rejection.
  auto promise = kj::evalNow([&]() { return pump(reference); });
  return promise.attach(kj::mv(frame));
}

kj::Promise<void> EdgeWriter::pump(Outgoing& frame) {
  uint64_t budget = BYTES_PER_TURN;
  while (!frame.done()) {
    if (budget == 0) return context.yield().then([this, &frame]() { return pump(frame); });
    ssize_t n = writeSome(frame);
    if (n < 0) {
      int error = errno;
      if (error == EINTR) continue;
      if (error == EAGAIN || error == EWOULDBLOCK) {
        if (!frame.mayWait()) {
          context.log().warn("connection closed: unread responses take too much memory");
          gone = true;
          return KJ_EXCEPTION(DISCONNECTED, "the client does not read its response");
        }
        return waitWritable().then([this, &frame]() { return pump(frame); });
      }
      if (error == EPIPE || error == ECONNRESET) {
        gone = true;
        return KJ_EXCEPTION(DISCONNECTED, "the client has gone");
      }
      KJ_FAIL_SYSCALL("write to client", error);
    }
    frame.advance(n);
    budget -= kj::min(budget, static_cast<uint64_t>(n));
  }
  return kj::READY_NOW;
}

ssize_t EdgeWriter::writeSome(Outgoing& frame) {
  Segment& segment = frame.segments[frame.current];
  return segment.bytes == nullptr ? writeFile(segment) : writeMemory(frame);
}

ssize_t EdgeWriter::writeMemory(Outgoing& frame) {
  iovec vectors[MAX_IOVECS];
  size_t count = 0;
  size_t i = frame.current;
  for (; i < frame.segments.size() && count < MAX_IOVECS; ++i) {
    Segment& segment = frame.segments[i];
    if (segment.bytes == nullptr) break;
    vectors[count++] = {const_cast<kj::byte*>(segment.bytes), segment.size};
  }
  msghdr message{};
  message.msg_iov = vectors;
  message.msg_iovlen = count;
  return sendmsg(socket, &message, MSG_NOSIGNAL | (i < frame.segments.size() ? MSG_MORE : 0));
}

ssize_t EdgeWriter::writeFile(Segment& segment) {
  off_t offset = segment.offset;
  ssize_t n = sendfile(socket, segment.fd, &offset, kj::min(segment.size, BYTES_PER_TURN));
  KJ_ASSERT(n != 0, "a file is shorter than the range that is sent", segment.offset, segment.size);
  return n;
}

kj::Promise<void> EdgeWriter::waitWritable() {
  return observer.whenBecomesWritable().exclusiveJoin(context.whenDrainTimesOut().then([this]() {
    gone = true;
    kj::throwFatalException(KJ_EXCEPTION(DISCONNECTED, "the client does not read its response"));
  }));
}

}  // namespace warden::frontend
