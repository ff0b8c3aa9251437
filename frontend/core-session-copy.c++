// The requests that move files.

#include "frontend/copy-answer.h"
#include "frontend/copy-request.h"
#include "frontend/core-session.h"

namespace warden::frontend {

kj::Promise<void> CoreSession::copyIn(const CopyInRequest& request, ResponseWriter& out) {
  auto container = find(request.handle());
  container->requireActive();
  return answerCopy(services.timer, kj::mv(container), requester.forHelper(),
                    readCopyIn(request, requester), request.progress(), out);
}

kj::Promise<void> CoreSession::copyOut(const CopyOutRequest& request, ResponseWriter& out) {
  auto container = find(request.handle());
  container->requireActiveOrStopped();
  return answerCopy(services.timer, kj::mv(container), requester.forHelper(),
                    readCopyOut(request, requester), request.progress(), out);
}

}  // namespace warden::frontend
