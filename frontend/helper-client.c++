#include "frontend/helper-client.h"

#include <errno.h>
#include <kj/debug.h>

#include "frontend/client-error.h"
#include "schema/privhelper.capnp.h"

namespace warden::frontend {

namespace {

// What whoever runs the server can do about it.
kj::StringPtr adviceFor(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "free space or inodes where the depot is";
    case ENOMEM:
      return "free memory on the host";
    case EMFILE:
    case ENFILE:
      return "raise the server's limit on open files";
    case EAGAIN:
      return "raise the host's limit on processes";
    case ETIMEDOUT:
      return "look for a file system below image or depot that does not answer";
    default:
      return "try again, and look into the helper's log if it lasts";
  }
}

kj::Exception failureOf(kj::StringPtr operation, schema::HelperReply::Reader reply) {
  switch (reply.which()) {
    case schema::HelperReply::FAILED: {
      auto failure = reply.getFailed();
      return clientError(kj::str("could not ", operation, ": ", failure.getDetail(), "; ",
                                 adviceFor(failure.getErrno())));
    }
    case schema::HelperReply::REFUSED:
      return KJ_EXCEPTION(FAILED, "the helper refused a request", operation, reply.getRefused());
    default:
      return KJ_EXCEPTION(FAILED, "the helper's reply does not fit the request", operation);
  }
}

CreatedContainer readCreated(Packet&& packet) {
  auto reply = packet.getRoot<schema::HelperReply>();
  if (!reply.isCreated()) {
    auto failure = failureOf("create the container", reply);
    if (reply.isFailed() && reply.getFailed().getStep() == *schema::SLOT_LOST_STEP) {
      kj::throwFatalException(
          clientError(kj::str(failure.getDescription()), kj::Exception::Type::OVERLOADED));
    }
    kj::throwFatalException(kj::mv(failure));
  }
  auto created = reply.getCreated();
  auto rootUid = created.getRootUid();
  auto vcapUid = created.getVcapUid();
  Pidfd wshd(created.getWshdPid(), packet.takeFd(0));
  auto socket = packet.takeFd(1);
  return {kj::mv(wshd), kj::mv(socket), packet.takeFd(2), rootUid, vcapUid};
}

capnp::Data::Reader data(const kj::String& text) {
  return text.asBytes();
}

}  // namespace

HelperClient::HelperClient(kj::UnixEventPort& port, kj::Timer& timer, Fd socket)
    : link(port, timer, kj::mv(socket)), greeting(greet()) {}

kj::Promise<Packet> HelperClient::greet() {
  auto message = kj::heap<capnp::MallocMessageBuilder>();
  auto root = message->initRoot<schema::HelperRequest>();
  auto sequence = replies.nextSequence();
  root.setSequence(sequence);
  root.initHello().setVersion(schema::PROTOCOL_VERSION);
  return request(kj::mv(message), sequence);
}

kj::Promise<void> HelperClient::run() {
  auto greeted = greeting.then([](Packet packet) -> kj::Promise<void> {
    auto reply = packet.getRoot<schema::HelperReply>();
    if (!reply.isDone()) return failureOf("greet the helper", reply);
    return kj::NEVER_DONE;
  });
  return link.receive([this](Packet packet) { dispatch(kj::mv(packet)); })
      .exclusiveJoin(kj::mv(greeted))
      .catch_([this](kj::Exception&& reason) -> kj::Promise<void> {
        auto error = clientErrorOf(
            "the privileged helper has gone; whether the request was carried out is not known: "
            "look at the list of containers when the server is back");
        replies.failAll(error);
        lost = kj::mv(error);
        return kj::mv(reason);
      });
}

kj::Promise<Packet> HelperClient::request(kj::Own<capnp::MallocMessageBuilder> message,
                                          uint64_t sequence) {
  KJ_IF_MAYBE (error, lost) {
    return kj::cp(*error);
  }
  return kj::evalNow([&]() {
    link.send(kj::mv(message));
    return replies.await(sequence);
  });
}

void HelperClient::dispatch(Packet packet) {
  auto sequence = packet.getRoot<schema::HelperReply>().getSequence();
  replies.settle(sequence, kj::mv(packet));
}

kj::Promise<CreatedContainer> HelperClient::create(const ContainerId& id, uint32_t slot,
                                                   const kj::Maybe<ImageOwner>& imageVcap,
                                                   const EtcFiles& files) {
  auto message = kj::heap<capnp::MallocMessageBuilder>();
  auto root = message->initRoot<schema::HelperRequest>();
  auto sequence = replies.nextSequence();
  root.setSequence(sequence);
  auto create = root.initCreate();
  create.setId(id.text());
  create.setSlot(slot);
  create.setImageVcapUid(UINT32_MAX);
  create.setImageVcapGid(UINT32_MAX);
  KJ_IF_MAYBE (owner, imageVcap) {
    create.setImageVcapUid(owner->uid);
    create.setImageVcapGid(owner->gid);
  }
  auto etc = create.getEtcFiles();
  etc.setPasswd(data(files.passwd));
  etc.setGroup(data(files.group));
  etc.setHosts(data(files.hosts));
  etc.setResolvConf(data(files.resolvConf));
  etc.setHostname(data(files.hostname));
  return request(kj::mv(message), sequence).then([](Packet packet) {
    return readCreated(kj::mv(packet));
  });
}

kj::Promise<void> HelperClient::destroy(const ContainerId& id) {
  auto message = kj::heap<capnp::MallocMessageBuilder>();
  auto root = message->initRoot<schema::HelperRequest>();
  auto sequence = replies.nextSequence();
  root.setSequence(sequence);
  root.initDestroy().setId(id.text());
  return request(kj::mv(message), sequence).then([](Packet packet) -> kj::Promise<void> {
    auto reply = packet.getRoot<schema::HelperReply>();
    if (!reply.isDone()) return failureOf("destroy the container", reply);
    return kj::READY_NOW;
  });
}

}  // namespace warden::frontend
