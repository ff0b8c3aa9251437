#include "frontend/copy-request.h"

#include <algorithm>

#include "frontend/client-error.h"
#include "frontend/host-files.h"

namespace warden::frontend {

namespace {

constexpr size_t MAX_OWNER_BYTES = 128;

kj::Array<kj::byte> bytesOf(const std::string& path) {
  return kj::heapArray(reinterpret_cast<const kj::byte*>(path.data()), path.size());
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

CopyRequest readCopyIn(const CopyInRequest& request, const Requester& requester) {
  requirePath("src_path", request.src_path(), true);
  requirePath("dst_path", request.dst_path(), false);
  requireGrant("to copy from", request.src_path(), "copies", requester.grant().copies,
               HostUse::READ, requester);
  return {CopyRequest::IN, bytesOf(request.src_path()), bytesOf(request.dst_path()), nullptr};
}

CopyRequest readCopyOut(const CopyOutRequest& request, const Requester& requester) {
  requirePath("dst_path", request.dst_path(), true);
  requirePath("src_path", request.src_path(), false);
  requireGrant("to copy to", request.dst_path(), "copies", requester.grant().copies, HostUse::WRITE,
               requester);
  return {CopyRequest::OUT, bytesOf(request.dst_path()), bytesOf(request.src_path()),
          readOwner(request)};
}

}  // namespace warden::frontend
