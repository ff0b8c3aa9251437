#include "privhelper/porter.h"

namespace warden::privhelper {

namespace {

constexpr uint32_t RUNNING_IN_A_LANE = 4;
constexpr uint32_t WAITING_IN_A_LANE = 256;

capnp::Data::Reader data(const std::string& text) {
  return kj::arrayPtr(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

}  // namespace

Porter::Porter(Fd connectionParam) : connection(kj::mv(connectionParam)) {
  setNonblocking(connection);
}

template <typename Action>
void Porter::ifItLives(Action&& action) {
  if (connection == nullptr) return;
  KJ_IF_MAYBE (e, kj::runCatchingExceptions(action)) {
    if (e->getType() != kj::Exception::Type::DISCONNECTED) kj::throwFatalException(kj::mv(*e));
    connection = nullptr;
  }
}

kj::Maybe<uint64_t> Porter::order(kj::StringPtr laneName, const PeerCredentials& client,
                                  const GrantedPath& path, Fill&& fill, Fd stream) {
  auto& lane = lanes[laneName.cStr()];
  if (lane.waiting >= WAITING_IN_A_LANE) return nullptr;
  uint64_t number = ++lastNumber;
  capnp::MallocMessageBuilder message;
  auto order = message.initRoot<schema::PorterRequest>().initOrder();
  order.setNumber(number);
  order.setUid(client.uid);
  order.setGid(client.gid);
  order.setGroups(client.groups.asPtr());
  order.setPrefix(data(path.prefix.path));
  order.setPath(data(path.rest));
  fill(order);
  waiting.push_back({number, laneName.cStr(), client.uid == 0, capnp::messageToFlatArray(message),
                     kj::mv(stream)});
  lane.waiting += 1;
  dispatch();
  return number;
}

bool Porter::mayRun(const Order& order) {
  return lanes[order.lane].running < RUNNING_IN_A_LANE &&
         (order.ofRoot || runningOfUsers < MOST_OF_USERS);
}

void Porter::dispatch() {
  blocked = false;
  for (auto i = waiting.begin(); i != waiting.end() && running.size() < MOST_WORKERS;) {
    if (!mayRun(*i)) {
      ++i;
      continue;
    }
    if (!send(*i)) {
      blocked = true;
      return;
    }
    auto& lane = lanes[i->lane];
    lane.waiting -= 1;
    lane.running += 1;
    if (!i->ofRoot) runningOfUsers += 1;
    running.emplace(i->number, Running{kj::mv(i->lane), i->ofRoot});
    i = waiting.erase(i);
  }
}

bool Porter::send(const Order& order) {
  int fd = order.stream.get();
  bool sent = false;
  ifItLives([&] { sent = sendPacket(connection, order.words, kj::arrayPtr(&fd, fd < 0 ? 0 : 1)); });
  return sent;
}

kj::Maybe<Packet> Porter::receive() {
  for (;;) {
    kj::Maybe<Packet> received;
    ifItLives([&] { received = receivePacket(connection); });
    KJ_IF_MAYBE (packet, received) {
      uint64_t number = packet->getRoot<schema::PorterAnswer>().getNumber();
      // What was to be ended may have been answered a moment before.
      if (running.count(number) == 0) continue;
      forget(number);
      dispatch();
    }
    return received;
  }
}

void Porter::forget(uint64_t number) {
  auto found = running.find(number);
  auto lane = lanes.find(found->second.lane);
  lane->second.running -= 1;
  if (lane->second.running == 0 && lane->second.waiting == 0) lanes.erase(lane);
  if (!found->second.ofRoot) runningOfUsers -= 1;
  running.erase(found);
}

void Porter::endAll() {
  waiting.clear();
  running.clear();
  runningOfUsers = 0;
  lanes.clear();
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::PorterRequest>().setEndAll();
  // Waits: of what the porter reads, nothing may come after this that was ordered before.
  ifItLives([&] {
    setNonblocking(connection, false);
    sendPacket(connection, message);
    setNonblocking(connection);
  });
}

}  // namespace warden::privhelper
