#include "frontend/frame-codec.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <string.h>

#include <charconv>

#include "frontend/serialize.h"

namespace warden::frontend {

namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;

constexpr size_t MAX_LENGTH_DIGITS = 10;

struct LengthLine {
  size_t size;  // of the line with its CR LF
  uint64_t length;
};

kj::OneOf<LengthLine, IncompleteFrame, MalformedFrame> parseLengthLine(
    kj::ArrayPtr<const kj::byte> bytes, size_t maxPayload) {
  uint64_t length = 0;
  size_t digits = 0;
  while (digits < bytes.size() && bytes[digits] >= '0' && bytes[digits] <= '9') {
    if (digits == MAX_LENGTH_DIGITS) return MalformedFrame{"the length has too many digits"};
    length = length * 10 + (bytes[digits] - '0');
    ++digits;
  }
  if (digits > 0 && length > maxPayload)
    return MalformedFrame{"the length is over frontend.max_request_bytes"};
  if (digits == bytes.size()) return IncompleteFrame{};
  if (digits == 0 || bytes[digits] != '\r') return MalformedFrame{"the length is no number"};
  if (digits + 1 == bytes.size()) return IncompleteFrame{};
  if (bytes[digits + 1] != '\n') return MalformedFrame{"the length does not end in CR LF"};
  return LengthLine{digits + 2, length};
}

DecodedFrame decodeMessage(kj::ArrayPtr<const kj::byte> bytes) {
  Message message;
  // Partial: what is missing is no news for protobuf's own log.
  if (!message.ParsePartialFromArray(bytes.begin(), bytes.size()) || !message.IsInitialized()) {
    return MalformedFrame{"the payload is no message of a known type"};
  }
  const std::string& payload = message.payload();
  return Frame{
      message.type(),
      kj::heapArray<kj::byte>(reinterpret_cast<const kj::byte*>(payload.data()), payload.size())};
}

}  // namespace

void FrameDecoder::feed(kj::ArrayPtr<const kj::byte> bytes) {
  // What was taken is dropped here and not in next(), so that pipelined frames are moved once.
  if (begin > 0) {
    buffer.erase(buffer.begin(), buffer.begin() + begin);
    begin = 0;
  }
  buffer.insert(buffer.end(), bytes.begin(), bytes.end());
}

void FrameDecoder::take(size_t size) {
  begin += size;
  if (begin == buffer.size()) {
    std::vector<kj::byte>().swap(buffer);
    begin = 0;
  }
}

DecodedFrame FrameDecoder::next() {
  auto bytes = pending();
  auto line = parseLengthLine(bytes, maxPayload);
  if (line.is<IncompleteFrame>()) return IncompleteFrame{};
  if (line.is<MalformedFrame>()) return kj::mv(line.get<MalformedFrame>());
  size_t start = line.get<LengthLine>().size;
  size_t end = start + line.get<LengthLine>().length;

  if (bytes.size() > end && bytes[end] != '\r') {
    return MalformedFrame{"the payload does not end in CR LF"};
  }
  if (bytes.size() < end + 2) return IncompleteFrame{};
  if (bytes[end + 1] != '\n') return MalformedFrame{"the payload does not end in CR LF"};

  auto result = decodeMessage(bytes.slice(start, end));
  take(end + 2);
  return result;
}

FrameHeader::FrameHeader(Message::Type type, uint64_t payloadSize) {
  constexpr uint32_t TYPE_TAG = GOOGLE_PROTOBUF_WIRE_FORMAT_MAKE_TAG(
      Message::kTypeFieldNumber, WireFormatLite::WIRETYPE_VARINT);
  constexpr uint32_t PAYLOAD_TAG = GOOGLE_PROTOBUF_WIRE_FORMAT_MAKE_TAG(
      Message::kPayloadFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
  kj::byte fields[24];
  kj::byte* end = CodedOutputStream::WriteTagToArray(TYPE_TAG, fields);
  end = CodedOutputStream::WriteVarint32SignExtendedToArray(type, end);
  end = CodedOutputStream::WriteTagToArray(PAYLOAD_TAG, end);
  end = CodedOutputStream::WriteVarint64ToArray(payloadSize, end);
  size_t fieldsSize = end - fields;

  char* text = reinterpret_cast<char*>(storage);
  char* stop = std::to_chars(text, text + sizeof(storage), fieldsSize + payloadSize).ptr;
  *stop++ = '\r';
  *stop++ = '\n';
  memcpy(stop, fields, fieldsSize);
  size = stop - text + fieldsSize;
}

kj::Array<kj::byte> encodeFrame(Message::Type type, kj::ArrayPtr<const kj::byte> payload) {
  FrameHeader header(type, payload.size());
  auto frame = kj::heapArray<kj::byte>(header.bytes().size() + payload.size() + 2);
  kj::byte* out = frame.begin();
  for (auto part : {header.bytes(), payload, kj::arrayPtr(FRAME_TRAILER, 2)}) {
    if (part.size() > 0) memcpy(out, part.begin(), part.size());
    out += part.size();
  }
  return frame;
}

kj::Array<kj::byte> encodeError(kj::StringPtr text) {
  ErrorResponse response;
  response.set_message(text.cStr(), text.size());
  return serialize(response);
}

}  // namespace warden::frontend
