// The part of the connection to the helper that copies files of the host.

#include "frontend/client-error.h"
#include "frontend/copy-failure.h"
#include "frontend/helper-client.h"
#include "frontend/helper-failure.h"

namespace warden::frontend {

kj::Promise<void> HelperClient::copy(int client, const ContainerId& id, const CopyRequest& request,
                                     Fd stream) {
  auto copied = ask(
      client,
      [&](auto root) {
        auto copy = request.direction == CopyRequest::IN ? root.initCopyIn() : root.initCopyOut();
        copy.setId(id.text());
        copy.setPath(request.hostPath);
        copy.setOwner(request.owner);
      },
      stream.get());
  return copied.then([](Packet packet) {
    auto reply = packet.getRoot<schema::HelperReply>();
    if (reply.isDone()) return;
    if (!reply.isFailed() || reply.getFailed().getStep() == *schema::AUDIT_STEP) {
      kj::throwFatalException(failureOf("copy", reply));
    }
    auto failure = reply.getFailed();
    kj::throwFatalException(copyFailure("on the host", failure.getDetail(), failure.getErrno()));
  });
}

}  // namespace warden::frontend
