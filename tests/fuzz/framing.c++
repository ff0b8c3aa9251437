// The client framing and the requests in it. The input is a client's byte stream; its first byte
// says in which pieces the stream arrives.

#include <kj/debug.h>

#include "frontend/frame-codec.h"

using namespace warden;
using namespace warden::frontend;

namespace {

constexpr size_t LIMIT = 1 << 20;

template <typename Request>
void decode(const Frame& frame) {
  Request request;
  if (!request.ParsePartialFromArray(frame.payload.begin(), frame.payload.size())) return;
  if (!request.IsInitialized()) return;
  // What is decoded must encode, and decode to the same again.
  std::string first = request.SerializeAsString();
  Request again;
  KJ_ASSERT(again.ParseFromString(first) && again.SerializeAsString() == first);
}

void decodeRequest(const Frame& frame) {
  switch (frame.type) {
#define DECODE(name)  \
  case Message::name: \
    return decode<name##Request>(frame)
    DECODE(Create);
    DECODE(Stop);
    DECODE(Destroy);
    DECODE(Info);
    DECODE(Spawn);
    DECODE(Link);
    DECODE(Run);
    DECODE(Stream);
    DECODE(NetIn);
    DECODE(NetOut);
    DECODE(CopyIn);
    DECODE(CopyOut);
    DECODE(LimitMemory);
    DECODE(LimitDisk);
    DECODE(LimitBandwidth);
    DECODE(LimitCpu);
    DECODE(Ping);
    DECODE(List);
    DECODE(Echo);
    DECODE(Whoami);
#undef DECODE
    case Message::Error:
      return decode<ErrorResponse>(frame);
  }
  KJ_FAIL_ASSERT("a frame of an unknown type was decoded");
}

// False: the connection would be closed.
bool takeFrames(FrameDecoder& decoder) {
  for (;;) {
    auto decoded = decoder.next();
    if (decoded.is<IncompleteFrame>()) return true;
    if (decoded.is<MalformedFrame>()) return false;
    const Frame& frame = decoded.get<Frame>();
    decodeRequest(frame);
    // What was decoded, encoded again, decodes to the same.
    FrameDecoder second(2 * LIMIT);
    second.feed(encodeFrame(frame.type, frame.payload));
    auto again = second.next();
    KJ_ASSERT(again.is<Frame>() && again.get<Frame>().type == frame.type &&
              again.get<Frame>().payload == frame.payload);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  size_t piece = data[0] == 0 ? size : data[0];
  auto rest = kj::arrayPtr(data + 1, size - 1);
  FrameDecoder decoder(LIMIT);
  size_t fed = 0;
  while (rest.size() > 0) {
    size_t n = kj::min(piece, rest.size());
    decoder.feed(rest.slice(0, n));
    fed += n;
    if (!takeFrames(decoder)) break;
    KJ_ASSERT(decoder.heldBytes() <= 2 * fed + 64, "more memory than twice what was sent");
    rest = rest.slice(n, rest.size());
  }
  return 0;
}
