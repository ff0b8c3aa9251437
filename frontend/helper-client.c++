#include "frontend/helper-client.h"

#include <kj/debug.h>

#include "frontend/client-error.h"
#include "frontend/created-container.h"
#include "frontend/helper-failure.h"

namespace warden::frontend {

namespace {

CreatedContainer readCreate(Packet&& packet) {
  auto reply = packet.getRoot<schema::HelperReply>();
  if (!reply.isCreated()) {
    auto failure = failureOf("create the container", reply);
    if (reply.isFailed() && reply.getFailed().getStep() == *schema::SLOT_LOST_STEP) {
      kj::throwFatalException(
          clientError(kj::str(failure.getDescription()), kj::Exception::Type::OVERLOADED));
    }
    kj::throwFatalException(kj::mv(failure));
  }
  return takeCreated(packet, reply.getCreated());
}

capnp::Data::Reader data(const kj::String& text) {
  return text.asBytes();
}

}  // namespace

HelperClient::HelperClient(kj::UnixEventPort& port, kj::Timer& timer, Fd socket)
    : link(port, timer, kj::mv(socket)), greeting(greet()) {}

kj::Promise<Packet> HelperClient::greet() {
  return ask(NO_CLIENT, [](auto root) { root.initHello().setVersion(schema::PROTOCOL_VERSION); });
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
        replies.failAll(lose());
        return kj::mv(reason);
      });
}

kj::Exception HelperClient::lose() {
  auto error = clientErrorOf(
      "the privileged helper has gone; whether the request was carried out is not known: "
      "look at the list of containers when the server is back");
  lost = kj::cp(error);
  return error;
}

kj::Promise<Packet> HelperClient::request(kj::Own<capnp::MallocMessageBuilder> message,
                                          uint64_t sequence, kj::ArrayPtr<const int> fds) {
  KJ_IF_MAYBE (error, lost) {
    return kj::cp(*error);
  }
  return kj::evalNow([&]() -> kj::Promise<Packet> {
    try {
      link.send(kj::mv(message), fds);
    } catch (const kj::Exception& e) {
      // Before run() sees it: that has yet to read what was sent earlier.
      if (e.getType() != kj::Exception::Type::DISCONNECTED) throw;
      return lose();
    }
    return replies.await(sequence);
  });
}

void HelperClient::dispatch(Packet packet) {
  auto sequence = packet.getRoot<schema::HelperReply>().getSequence();
  replies.settle(sequence, kj::mv(packet));
}

kj::Promise<CreatedContainer> HelperClient::create(int client, const ContainerId& id, uint32_t slot,
                                                   uint32_t network, const ContainerImage& image,
                                                   const EtcFiles& files,
                                                   const kj::Vector<BindMount>& bindMounts) {
  auto created = ask(client, [&](auto root) {
    auto create = root.initCreate();
    create.setId(id.text());
    create.setSlot(slot);
    create.setNetwork(network);
    create.setImageVcapUid(UINT32_MAX);
    create.setImageVcapGid(UINT32_MAX);
    create.setImage(image.number);
    fillBindMounts(create, bindMounts);
    KJ_IF_MAYBE (owner, image.vcap) {
      create.setImageVcapUid(owner->uid);
      create.setImageVcapGid(owner->gid);
    }
    auto etc = create.getEtcFiles();
    etc.setPasswd(data(files.passwd));
    etc.setGroup(data(files.group));
    etc.setHosts(data(files.hosts));
    etc.setResolvConf(data(files.resolvConf));
    etc.setHostname(data(files.hostname));
  });
  return created.then([&bindMounts](Packet packet) {
    auto reply = packet.getRoot<schema::HelperReply>();
    if (reply.isFailed()) throwBindMountFailure(reply.getFailed(), bindMounts);
    return readCreate(kj::mv(packet));
  });
}

kj::Promise<void> HelperClient::destroy(const ContainerId& id) {
  auto destroyed = ask(NO_CLIENT, [&](auto root) { root.initDestroy().setId(id.text()); });
  return destroyed.then([](Packet packet) {
    auto reply = packet.getRoot<schema::HelperReply>();
    if (!reply.isDone()) kj::throwFatalException(failureOf("destroy the container", reply));
  });
}

}  // namespace warden::frontend
