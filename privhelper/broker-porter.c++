// The part of the broker that concerns files of the host: copies, images, and sources of bind
// mounts. It holds the request against what the access rules grant to the client; the porter opens,
// as the client's user. Nothing here waits for a file system.

#include <errno.h>
#include <kj/debug.h>
#include <sys/socket.h>

#include <algorithm>

#include "privhelper/broker.h"

namespace warden::privhelper {

namespace {

constexpr kj::StringPtr FRONTEND_ASKS = "the frontend's own user has no files of the host"_kj;

// The frontend itself, as a client of its own: its sandbox keeps it from files that its user may
// read.
bool isFrontend(const PeerCredentials& client, const Policy& policy) {
  return client.uid == policy.frontendUid;
}

PeerCredentials copyOf(const PeerCredentials& peer) {
  return {peer.pid, peer.uid, peer.gid, kj::heapArray<gid_t>(peer.groups)};
}

AuditPeer auditedAs(const PeerCredentials& peer) {
  return {peer.pid, peer.uid, peer.gid, {}, {}};
}

bool isUnixStream(int fd) {
  auto option = [&](int name) {
    int value = -1;
    socklen_t size = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) < 0 ? -1 : value;
  };
  return option(SO_DOMAIN) == AF_UNIX && option(SO_TYPE) == SOCK_STREAM &&
         option(SO_ACCEPTCONN) == 0;
}

kj::String notGranted(const Grant& grant, const char* key, const std::string& path) {
  return kj::str(grant.source, ".", key, " does not grant ", path.c_str());
}

kj::String laneOfOpens(const PeerCredentials& client) {
  return kj::str("opens of ", client.uid);
}

}  // namespace

void Broker::copyIn(schema::HelperRequest::Reader request) {
  copy(request.getSequence(), "copy in", request.getCopyIn(), HostUse::READ);
}

void Broker::copyOut(schema::HelperRequest::Reader request) {
  copy(request.getSequence(), "copy out", request.getCopyOut(), HostUse::WRITE);
}

void Broker::copy(uint64_t sequence, const char* operation, schema::Copy::Reader parameters,
                  HostUse use) {
  auto text = parameters.getId();
  auto checked = checkCopy(parameters, use);
  if (checked.is<Refusal>()) {
    return refuse(sequence, operation, text, checked.get<Refusal>().reason);
  }
  auto& order = checked.get<CopyOrder>();
  if (find(order.id) == nullptr) {
    return refuse(sequence, operation, text, "there is no such container");
  }
  if (!isUnixStream(carried[0])) {
    return refuse(sequence, operation, text, "the stream is not a unix stream socket");
  }
  auto& client = KJ_ASSERT_NONNULL(asking);
  if (isFrontend(client, host.policy)) return refuse(sequence, operation, text, FRONTEND_ASKS);
  auto& grant = host.policy.access.grantOf(client);
  auto granted = findPrefix(grant.copies, use, order.path);
  if (!granted) return refuse(sequence, operation, text, notGranted(grant, "copies", order.path));
  auto number = porter.order(
      kj::str("copies of ", order.id.text()), client, *granted,
      [&](schema::PorterOrder::Builder to) {
        if (use == HostUse::READ) {
          to.setCopyIn();
        } else {
          to.setCopyOut(order.owner);
        }
      },
      kj::mv(carried[0]));
  KJ_IF_MAYBE (n, number) {
    porting.emplace(
        *n, Porting{operation, sequence, order.id, order.path, copyOf(client), monotonicUs()});
  } else {
    failTooMany(sequence, operation, text);
  }
}

void Broker::openImage(schema::HelperRequest::Reader request) {
  const char* operation = "open image";
  auto data = request.getOpenImage().getPath();
  KJ_IF_MAYBE (reason, reasonAgainstPath(data)) {
    return refuse(request.getSequence(), operation, nullptr, *reason);
  }
  std::string path(data.asChars().begin(), data.size());
  auto& client = KJ_ASSERT_NONNULL(asking);
  if (isFrontend(client, host.policy)) {
    return refuse(request.getSequence(), operation, nullptr, FRONTEND_ASKS);
  }
  auto& grant = host.policy.access.grantOf(client);
  auto granted = findPrefix(grant.images, HostUse::READ, path);
  if (!granted) {
    return refuse(request.getSequence(), operation, nullptr, notGranted(grant, "images", path));
  }
  auto number = porter.order(laneOfOpens(client), client, *granted,
                             [](schema::PorterOrder::Builder to) { to.setImage(); });
  KJ_IF_MAYBE (n, number) {
    porting.emplace(*n, Porting{operation, request.getSequence(), nullptr, path, copyOf(client),
                                monotonicUs()});
  } else {
    failTooMany(request.getSequence(), operation, nullptr);
  }
}

kj::Maybe<kj::String> Broker::reasonAgainstHostFiles(CreateOrder& order) {
  auto& client = KJ_ASSERT_NONNULL(asking);
  auto& grant = host.policy.access.grantOf(client);
  if (order.bindMounts.size() > 0 && isFrontend(client, host.policy)) {
    return kj::str(FRONTEND_ASKS);
  }
  for (auto& bind : order.bindMounts) {
    auto use = bind.writable ? HostUse::WRITE : HostUse::READ;
    if (!findPrefix(grant.bindMounts, use, bind.source)) {
      return notGranted(grant, "bind_mounts", bind.source);
    }
  }
  // Last: what is refused before leaves it for another try.
  if (order.image == 0) return nullptr;
  order.openedImage = images.take(order.image, client);
  if (order.openedImage == nullptr) {
    return kj::str("there is no image ", order.image, " of this client");
  }
  return nullptr;
}

// -- creates with bind mounts

void Broker::prepare(uint64_t sequence, CreateOrder order) {
  // Nothing of the container is made yet, but what it will have is nobody else's.
  slotInUse[order.slot] = true;
  networkInUse[order.network] = true;
  uses[order.owner].containers += 1;
  ContainerId id = order.id;
  auto inserted = preparing.emplace(
      id, Preparing{sequence, kj::mv(order), copyOf(KJ_ASSERT_NONNULL(asking)), monotonicUs()});
  openNextSource(inserted.first->second);
}

void Broker::stopPreparing(const ContainerId& id) {
  auto found = preparing.find(id);
  auto& order = found->second.order;
  slotInUse[order.slot] = false;
  networkInUse[order.network] = false;
  auto use = uses.find(order.owner);
  use->second.containers -= 1;
  if (use->second.containers == 0) uses.erase(use);
  preparing.erase(found);
}

void Broker::openNextSource(Preparing& create) {
  auto& order = create.order;
  auto& bind = order.bindMounts[order.openedSources.size()];
  auto& grant = host.policy.access.grantOf(create.client);
  auto granted =
      findPrefix(grant.bindMounts, bind.writable ? HostUse::WRITE : HostUse::READ, bind.source);
  KJ_ASSERT(granted.has_value(), "the rules do not change");
  auto number = porter.order(laneOfOpens(create.client), create.client, *granted,
                             [](schema::PorterOrder::Builder to) { to.setSource(); });
  KJ_IF_MAYBE (n, number) {
    create.awaits = *n;
    porting.emplace(*n, Porting{"create", create.sequence, order.id, bind.source,
                                copyOf(create.client), create.startedUs});
  } else {
    ContainerId id = order.id;
    uint64_t sequence = create.sequence;
    stopPreparing(id);
    failTooMany(sequence, "create", id.text());
  }
}

Broker::Preparing* Broker::findPreparing(uint64_t number, const Porting& order) {
  // Not by the id alone: what was ordered for a container may be answered when there is another of
  // that id.
  KJ_IF_MAYBE (id, order.container) {
    auto found = preparing.find(*id);
    if (found != preparing.end() && found->second.awaits == number) return &found->second;
  }
  return nullptr;
}

bool Broker::isPorting(const ContainerId& id) const {
  return std::any_of(porting.begin(), porting.end(), [&](auto& entry) {
    KJ_IF_MAYBE (container, entry.second.container) {
      return *container == id;
    }
    return false;
  });
}

void Broker::sourceOpened(Preparing& create, schema::OpenedPath::Reader opened, Packet& packet) {
  create.order.openedSources.add(OpenedMount{packet.takeFd(0), opened.getIsDirectory()});
  if (create.order.openedSources.size() < create.order.bindMounts.size()) {
    return openNextSource(create);
  }
  auto order = kj::mv(create.order);
  uint64_t sequence = create.sequence;
  stopPreparing(order.id);
  build(sequence, order);
}

// -- answers

void Broker::handlePorter() {
  KJ_REQUIRE(porter.fd() >= 0, "the porter has died");
  porter.resume();
  for (;;) {
    auto received = porter.receive();
    KJ_IF_MAYBE (packet, received) {
      settlePorting(kj::mv(*packet));
    } else {
      KJ_REQUIRE(porter.fd() >= 0, "the porter has died");
      return;
    }
  }
}

void Broker::settlePorting(Packet packet) {
  auto answer = packet.getRoot<schema::PorterAnswer>();
  uint64_t number = answer.getNumber();
  auto found = porting.find(number);
  KJ_REQUIRE(found != porting.end(), "the porter answers what nobody has asked");
  Porting order = kj::mv(found->second);
  porting.erase(found);
  AuditLog::OnBehalf behalf(log, auditedAs(order.client));
  switch (answer.which()) {
    case schema::PorterAnswer::FAILED:
      return failPorting(number, order, answer.getFailed());
    case schema::PorterAnswer::DONE: {
      capnp::MallocMessageBuilder message;
      auto done = message.initRoot<schema::HelperReply>();
      done.setSequence(order.sequence);
      done.setDone();
      log.record(order.operation, KJ_ASSERT_NONNULL(order.container).text(), Outcome::DONE, nullptr,
                 monotonicUs() - order.startedUs, order.path.c_str());
      return reply(message);
    }
    case schema::PorterAnswer::OPENED:
      if (auto create = findPreparing(number, order)) {
        return sourceOpened(*create, answer.getOpened(), packet);
      }
      if (order.container != nullptr) return;  // nobody waits for it any more
      return imageOpened(order, answer.getOpened(), packet);
  }
}

void Broker::imageOpened(const Porting& order, schema::OpenedPath::Reader opened, Packet& packet) {
  auto& grant = host.policy.access.grantOf(order.client);
  // What belongs to root is what the configuration vouches for; a directory of somebody else's has
  // nothing but the client's own files to show.
  bool allIds = order.client.uid == 0 || (grant.imagesAreVouchedFor && opened.getOwnedByRoot());
  OpenedImage image{{packet.takeFd(0), true}, allIds};
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::HelperReply>();
  answer.setSequence(order.sequence);
  auto described = answer.initImage();
  described.setImage(images.keep(order.client, kj::mv(image), monotonicUs()));
  described.setRootHome(allIds ? opened.getHasRootHome() : opened.getMayEnterRootHome());
  kj::Vector<Fd> fds;
  kj::Vector<schema::Image::File> files;
  if (opened.getHasPasswd()) files.add(schema::Image::File::PASSWD);
  if (opened.getHasGroup()) files.add(schema::Image::File::GROUP);
  auto list = described.initFiles(files.size());
  for (size_t i = 0; i < files.size(); ++i) {
    list.set(i, files[i]);
    fds.add(packet.takeFd(1 + i));
  }
  log.record(order.operation, nullptr, Outcome::DONE, nullptr, monotonicUs() - order.startedUs,
             order.path.c_str());
  reply(message, kj::mv(fds));
}

void Broker::failPorting(uint64_t number, const Porting& order,
                         schema::PorterAnswer::Failed::Reader failed) {
  kj::StringPtr container;
  KJ_IF_MAYBE (id, order.container) {
    container = id->text();
  }
  log.record(order.operation, container, Outcome::FAILED, failed.getDetail(),
             monotonicUs() - order.startedUs, order.path.c_str());
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::HelperReply>();
  answer.setSequence(order.sequence);
  auto failure = answer.initFailed();
  failure.setStep(failed.getStep());
  failure.setErrno(failed.getErrno());
  failure.setDetail(failed.getDetail());
  if (auto create = findPreparing(number, order)) {
    failure.setBindMount(create->order.openedSources.size());
    stopPreparing(create->order.id);
  }
  reply(message);
}

void Broker::failTooMany(uint64_t sequence, const char* operation, kj::StringPtr container) {
  StepError error("wait for a worker", EAGAIN, "too many of the client's requests wait already");
  log.record(operation, container, Outcome::FAILED, error.detail());
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<schema::HelperReply>();
  answer.setSequence(sequence);
  auto failure = answer.initFailed();
  failure.setStep(error.step());
  failure.setErrno(error.error());
  failure.setDetail(error.detail());
  reply(message);
}

void Broker::forgetPorting() {
  porter.endAll();
  porting.clear();
  while (!preparing.empty())
    stopPreparing(preparing.begin()->first);
  images.clear();
}

}  // namespace warden::privhelper
