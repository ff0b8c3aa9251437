#include "frontend/session.h"

#include "frontend/payload.h"
#include "frontend/serialize.h"

namespace warden::frontend {

kj::Promise<void> ResponseWriter::send(Message::Type type,
                                       const google::protobuf::MessageLite& response) {
  kj::Array<kj::byte> bytes = serialize(response);
  auto parts = kj::heapArrayBuilder<PayloadPart>(1);
  parts.add(kj::mv(bytes));
  return send(type, parts.finish());
}

}  // namespace warden::frontend
