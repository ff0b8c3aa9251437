// The requests that move files.

#include "frontend/copy-request.h"
#include "frontend/core-session.h"

namespace warden::frontend {

kj::Promise<void> CoreSession::copyIn(const CopyInRequest& request, ResponseWriter& out) {
  auto container = find(request.handle());
  container->requireActive();
  auto copied = container->copy(requester.forHelper(), readCopyIn(request, requester));
  return copied.attach(kj::mv(container)).then([&out]() {
    return out.send(Message::CopyIn, CopyInResponse());
  });
}

kj::Promise<void> CoreSession::copyOut(const CopyOutRequest& request, ResponseWriter& out) {
  auto container = find(request.handle());
  container->requireActiveOrStopped();
  auto copied = container->copy(requester.forHelper(), readCopyOut(request, requester));
  return copied.attach(kj::mv(container)).then([&out]() {
    return out.send(Message::CopyOut, CopyOutResponse());
  });
}

}  // namespace warden::frontend
