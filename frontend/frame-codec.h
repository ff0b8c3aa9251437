#pragma once
// The client framing (docs/PROTOCOL.md): "<decimal length> CR LF <encoded Message> CR LF". Knows no
// socket.

#include <kj/array.h>
#include <kj/one-of.h>
#include <kj/string.h>
#include <stdint.h>

#include <vector>

#include "schema/warden.pb.h"

namespace warden::frontend {

struct Frame {
  Message::Type type;
  kj::Array<kj::byte> payload;  // the encoded request
};

struct IncompleteFrame {};

struct MalformedFrame {
  kj::StringPtr reason;  // for the log
};

using DecodedFrame = kj::OneOf<Frame, IncompleteFrame, MalformedFrame>;

class FrameDecoder {
  // Incremental. Memory follows the bytes that have arrived, never the length that was announced:
  // at most twice what was fed and not yet taken. Without a partial frame it holds none.

 public:
  explicit FrameDecoder(size_t maxPayload) : maxPayload(maxPayload) {}
  // `maxPayload`: bytes between the two CR LF of one frame.

  void feed(kj::ArrayPtr<const kj::byte> bytes);

  DecodedFrame next();
  // The next frame, in order. Malformed is final, and is found at the first byte that cannot belong
  // to an acceptable frame: the length is 1 to 10 decimal digits and nothing else, and at most
  // `maxPayload`; the payload is a complete Message of a known type.

  size_t heldBytes() const { return buffer.capacity(); }

 private:
  size_t maxPayload;
  std::vector<kj::byte> buffer;
  size_t begin = 0;  // what stands before was taken

  kj::ArrayPtr<const kj::byte> pending() const {
    return kj::arrayPtr(buffer.data() + begin, buffer.size() - begin);
  }
  void take(size_t size);
};

class FrameHeader {
  // What precedes the payload of a response on the wire: the length line and the beginning of the
  // Message, up to and including the length of its `payload` field.

 public:
  FrameHeader(Message::Type type, uint64_t payloadSize);

  kj::ArrayPtr<const kj::byte> bytes() const { return kj::arrayPtr(storage, size); }

 private:
  kj::byte storage[48];
  size_t size;
};

inline constexpr kj::byte FRAME_TRAILER[] = {'\r', '\n'};

kj::Array<kj::byte> encodeFrame(Message::Type type, kj::ArrayPtr<const kj::byte> payload);
// A whole frame in memory, for small responses.

kj::Array<kj::byte> encodeError(kj::StringPtr text);
// An encoded ErrorResponse with this message.

}  // namespace warden::frontend
