#pragma once
// One protobuf message as bytes.

#include <google/protobuf/message_lite.h>
#include <kj/array.h>
#include <kj/debug.h>

namespace warden::frontend {

inline kj::Array<kj::byte> serialize(const google::protobuf::MessageLite& message) {
  KJ_REQUIRE(message.IsInitialized(), "a response lacks a required field");
  auto bytes = kj::heapArray<kj::byte>(message.ByteSizeLong());
  message.SerializeWithCachedSizesToArray(bytes.begin());
  return bytes;
}

}  // namespace warden::frontend
