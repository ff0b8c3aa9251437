#include "client/frame.h"

#include <string.h>

#include <algorithm>

namespace warden::client {

namespace {

constexpr size_t READ_BYTES = 64 * 1024;
constexpr size_t INITIAL_BUFFER_BYTES = 4 * READ_BYTES;

// Digits of the largest size_t: a longer length line is no length.
constexpr size_t MAX_LENGTH_DIGITS = 19;

constexpr std::string_view LINE_END = "\r\n";

}  // namespace

std::string encodeFrame(Message::Type type, std::string_view payload) {
  Message message;
  message.set_type(type);
  message.set_payload(payload.data(), payload.size());
  std::string body = message.SerializeAsString();
  std::string frame = std::to_string(body.size());
  frame.reserve(frame.size() + body.size() + 2 * LINE_END.size());
  return frame.append(LINE_END).append(body).append(LINE_END);
}

FrameDecoder::FrameDecoder(size_t maxPayloadBytes)
    : maxPayloadBytes(maxPayloadBytes), buffer(kj::heapArray<char>(INITIAL_BUFFER_BYTES)) {}

kj::ArrayPtr<char> FrameDecoder::space() {
  if (begin == end) begin = end = 0;
  if (buffer.size() - end < READ_BYTES) {
    size_t held = end - begin;
    if (buffer.size() - held < buffer.size() / 2) {
      auto larger = kj::heapArray<char>(2 * buffer.size());
      memcpy(larger.begin(), buffer.begin() + begin, held);
      buffer = kj::mv(larger);
    } else {
      memmove(buffer.begin(), buffer.begin() + begin, held);
    }
    begin = 0;
    end = held;
  }
  return buffer.slice(end, buffer.size());
}

void FrameDecoder::commit(size_t count) {
  KJ_IREQUIRE(count <= buffer.size() - end);
  end += count;
}

std::optional<size_t> FrameDecoder::parseLengthLine(std::string_view bytes,
                                                    size_t& lineBytes) const {
  size_t digits = 0;
  size_t length = 0;
  while (digits < bytes.size() && bytes[digits] >= '0' && bytes[digits] <= '9') {
    if (digits == MAX_LENGTH_DIGITS) throw ProtocolError("response has an overlong length line");
    length = length * 10 + (bytes[digits] - '0');
    ++digits;
  }
  if (digits > 1 && bytes[0] == '0') throw ProtocolError("response's length has a leading zero");
  std::string_view terminator = bytes.substr(digits, LINE_END.size());
  if (terminator != LINE_END.substr(0, terminator.size()) || (digits == 0 && !bytes.empty())) {
    throw ProtocolError("response does not start with a length line");
  }
  // Said as soon as it is known, before the line is complete.
  if (length > maxPayloadBytes) {
    throw ProtocolError("response of at least " + std::to_string(length) +
                        " bytes is over the limit of " + std::to_string(maxPayloadBytes));
  }
  if (terminator.size() < LINE_END.size()) return std::nullopt;
  lineBytes = digits + LINE_END.size();
  return length;
}

std::optional<std::string_view> FrameDecoder::next() {
  std::string_view bytes(buffer.begin() + begin, end - begin);
  size_t lineBytes = 0;
  auto length = parseLengthLine(bytes, lineBytes);
  if (!length) return std::nullopt;
  bytes.remove_prefix(lineBytes);
  std::string_view payload = bytes.substr(0, *length);
  std::string_view terminator = bytes.substr(payload.size()).substr(0, LINE_END.size());
  if (terminator != LINE_END.substr(0, terminator.size())) {
    throw ProtocolError("response is not terminated by CR LF");
  }
  if (payload.size() < *length || terminator.size() < LINE_END.size()) return std::nullopt;
  begin += lineBytes + *length + LINE_END.size();
  return payload;
}

}  // namespace warden::client
