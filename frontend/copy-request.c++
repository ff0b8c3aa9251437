#include "frontend/copy-request.h"

#include <limits.h>

#include <algorithm>

#include "frontend/client-error.h"

namespace warden::frontend {

namespace {

constexpr size_t MAX_OWNER_BYTES = 128;

kj::Array<kj::byte> readPath(kj::StringPtr field, const std::string& path) {
  kj::StringPtr wrong;
  if (path.empty()) wrong = "is empty";
  if (path.size() >= PATH_MAX) wrong = "is longer than 4095 bytes";
  if (path.find('\0') != std::string::npos) wrong = "has a NUL byte";
  if (wrong != nullptr) kj::throwFatalException(clientErrorOf(field, " ", wrong));
  return kj::heapArray(reinterpret_cast<const kj::byte*>(path.data()), path.size());
}

kj::Array<kj::byte> readHostPath(kj::StringPtr field, const std::string& path) {
  auto bytes = readPath(field, path);
  if (bytes[0] != '/') {
    kj::throwFatalException(clientErrorOf(
        field, " must be an absolute path: the server has another working directory than you"));
  }
  return bytes;
}

kj::String readOwner(const CopyOutRequest& request) {
  if (!request.has_owner()) return nullptr;
  auto& owner = request.owner();
  bool plain = std::all_of(owner.begin(), owner.end(), [](char c) { return ' ' < c && c < 127; });
  bool pair = std::count(owner.begin(), owner.end(), ':') == 1 && owner.front() != ':' &&
              owner.back() != ':';
  if (!plain || !pair || owner.size() > MAX_OWNER_BYTES) {
    kj::throwFatalException(
        clientErrorOf("owner must be USER:GROUP, each a name or a number of the host"));
  }
  return kj::heapString(owner.data(), owner.size());
}

}  // namespace

CopyRequest readCopyIn(const CopyInRequest& request) {
  return {CopyRequest::IN, readHostPath("src_path", request.src_path()),
          readPath("dst_path", request.dst_path()), nullptr};
}

CopyRequest readCopyOut(const CopyOutRequest& request) {
  return {CopyRequest::OUT, readHostPath("dst_path", request.dst_path()),
          readPath("src_path", request.src_path()), readOwner(request)};
}

}  // namespace warden::frontend
