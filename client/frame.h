#pragma once
// Framing of the client protocol, the client's side:
//
//     <decimal length of payload> CR LF <payload> CR LF
//
// docs/PROTOCOL.md describes it. The server is not trusted to be correct: whatever does not have
// exactly this form is refused, and memory grows with what has arrived, never with what was
// announced.

#include <kj/array.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "schema/warden.pb.h"

namespace warden::client {

class ProtocolError : public std::runtime_error {
  // The server sent what is not a response to the request. The connection is of no further use.

 public:
  using std::runtime_error::runtime_error;
};

std::string encodeFrame(Message::Type type, std::string_view payload);
// One whole frame around an encoded request.

class FrameDecoder {
  // Takes bytes as they arrive and gives back the payloads of frames.

 public:
  explicit FrameDecoder(size_t maxPayloadBytes);

  kj::ArrayPtr<char> space();
  // Where the next bytes from the socket go; never empty. Invalidates what next() returned.
  void commit(size_t count);
  // `count` bytes were put into space().

  std::optional<std::string_view> next();
  // The payload of the next complete frame, valid until space() is called. Throws ProtocolError
  // when the bytes cannot be a frame, or the payload is over the limit.

  bool empty() const { return begin == end; }
  // True between frames: no byte of a further one has arrived.

 private:
  size_t maxPayloadBytes;
  kj::Array<char> buffer;
  size_t begin = 0;  // of what has not been returned yet
  size_t end = 0;

  std::optional<size_t> parseLengthLine(std::string_view bytes, size_t& lineBytes) const;
};

}  // namespace warden::client
