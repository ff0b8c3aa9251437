#include "frontend/payload.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>
#include <kj/vector.h>
#include <string.h>

namespace warden::frontend {

namespace {

using google::protobuf::internal::WireFormatLite;

constexpr bool sameField(int linkField, int runField) {
  return linkField == runField;
}
static_assert(sameField(LinkResponse::kExitStatusFieldNumber,
                        RunResponse::kExitStatusFieldNumber) &&
              sameField(LinkResponse::kStdoutFieldNumber, RunResponse::kStdoutFieldNumber) &&
              sameField(LinkResponse::kStderrFieldNumber, RunResponse::kStderrFieldNumber) &&
              sameField(LinkResponse::kInfoFieldNumber, RunResponse::kInfoFieldNumber));

class PartsBuilder {
  // Collects encoded fields, and file ranges between them.

 public:
  void addUint32(int field, uint32_t value) {
    write([&](auto& out) { WireFormatLite::WriteUInt32(field, value, &out); });
  }

  void addBytes(int field, const std::string& value) {
    write([&](auto& out) { WireFormatLite::WriteBytes(field, value, &out); });
  }

  void addFile(int field, const FileRange& range) {
    write([&](auto& out) {
      out.WriteTag(WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
      out.WriteVarint64(range.size);
    });
    if (range.size == 0) return;
    flush();
    parts.add(range);
  }

  kj::Array<PayloadPart> finish() {
    flush();
    return parts.releaseAsArray();
  }

 private:
  std::string encoded;
  kj::Vector<PayloadPart> parts;

  template <typename Write>
  void write(Write&& fields) {
    google::protobuf::io::StringOutputStream stream(&encoded);
    google::protobuf::io::CodedOutputStream coded(&stream);
    fields(coded);
  }

  void flush() {
    if (encoded.empty()) return;
    parts.add(kj::heapArray(reinterpret_cast<const kj::byte*>(encoded.data()), encoded.size()));
    encoded.clear();
  }
};

}  // namespace

kj::Array<PayloadPart> linkPayload(const Job& job, const InfoResponse& info) {
  PartsBuilder parts;
  auto& output = job.output();
  parts.addUint32(LinkResponse::kExitStatusFieldNumber, job.status());
  parts.addFile(LinkResponse::kStdoutFieldNumber,
                output.range(OutputStream::STDOUT, 0, UINT64_MAX));
  parts.addFile(LinkResponse::kStderrFieldNumber,
                output.range(OutputStream::STDERR, 0, UINT64_MAX));
  parts.addBytes(LinkResponse::kInfoFieldNumber, info.SerializeAsString());
  return parts.finish();
}

kj::Array<PayloadPart> streamPayload(OutputStream stream, const FileRange& data) {
  PartsBuilder parts;
  parts.addBytes(StreamResponse::kNameFieldNumber,
                 stream == OutputStream::STDOUT ? "stdout" : "stderr");
  parts.addFile(StreamResponse::kDataFieldNumber, data);
  return parts.finish();
}

}  // namespace warden::frontend
