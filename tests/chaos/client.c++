#include "tests/chaos/client.h"

#include <algorithm>
#include <thread>

namespace warden::chaos {

namespace {

constexpr size_t MOST_CONTAINERS = 4;
constexpr uint64_t UNLIMITED_MEMORY = 9223372036854771712;
constexpr uint64_t FIRST_SHARES = 1024;

}  // namespace

Client::Client(const test::TestServer& server, Model& model, Journal& journal, Trees& trees,
               uint32_t number)
    : model(model),
      journal(journal),
      trees(trees),
      number(number),
      who("client " + std::to_string(number)),
      connection(server, journal, who) {}

void Client::run(const std::vector<Operation>& operations) {
  for (auto& operation : operations) {
    std::this_thread::sleep_for(operation.pause);
    perform(operation);
  }
}

ContainerModel* Client::pickContainer(uint32_t pick) {
  std::lock_guard guard(model.lock);
  std::vector<ContainerModel*> there;
  for (auto& container : own().containers)
    if (container.exists == Existence::YES) there.push_back(&container);
  return there.empty() ? nullptr : there[pick % there.size()];
}

JobModel* Client::pickJob(ContainerModel& container, uint32_t pick, uint32_t& id) {
  std::vector<uint32_t> ids;
  for (auto& [jobId, job] : container.jobs) {
    bool ends = !job.script.endless || !container.mayBeActive;
    if (ends && job.state == JobModel::State::LIVE) ids.push_back(jobId);
  }
  if (ids.empty()) return nullptr;
  id = ids[pick % ids.size()];
  return &container.jobs.at(id);
}

void Client::perform(const Operation& operation) {
  if (operation.act == Act::CREATE) return create(operation);
  if (operation.act == Act::LIST) return list();
  if (operation.act == Act::PING) {
    PingResponse response;
    connection.ask(PingRequest(), response);
    return;
  }
  ContainerModel* container = pickContainer(operation.pick);
  if (container == nullptr) return create(operation);
  journal.say(who, std::string(nameOf(operation.act)) + " " + container->handle + " " +
                       std::to_string(operation.number) +
                       (operation.walksAway ? ", walks away" : ""));
  performOn(*container, operation);
}

void Client::performOn(ContainerModel& container, const Operation& operation) {
  using Method = void (Client::*)(ContainerModel&, const Operation&);
  static constexpr std::pair<Act, Method> METHODS[] = {
      {Act::RUN, &Client::run},
      {Act::SPAWN, &Client::spawn},
      {Act::LINK, &Client::link},
      {Act::STREAM, &Client::stream},
      {Act::NET_IN, &Client::netIn},
      {Act::NET_OUT, &Client::netOut},
      {Act::LIMIT_MEMORY, &Client::limitMemory},
      {Act::LIMIT_CPU, &Client::limitCpu},
      {Act::LIMIT_BANDWIDTH, &Client::limitBandwidth},
      {Act::LIMIT_DISK, &Client::limitDisk},
      {Act::STOP, &Client::stop},
      {Act::DESTROY, &Client::destroy},
      {Act::INFO, &Client::info},
      {Act::COPY_IN, &Client::copyIn},
      {Act::COPY_OUT, &Client::copyOut},
  };
  for (auto& [act, method] : METHODS)
    if (act == operation.act) return (this->*method)(container, operation);
}

void Client::judgeRefusal(const ContainerModel& container, Fate fate) {
  if (fate != Fate::REFUSED || container.harmed) return;
  auto& text = connection.message();
  if (text == "unknown handle" && container.exists == Existence::YES) {
    journal.violation(who, container.handle + " is lost: " + text);
  }
  if (text.find("Container state") == 0 && !container.mayBeStopped) {
    journal.violation(who, container.handle + " was not stopped: " + text);
  }
  if (text == "no such job") journal.violation(who, container.handle + ": a job is lost");
}

void Client::create(const Operation& operation) {
  size_t there;
  ContainerModel made;
  {
    std::lock_guard guard(model.lock);
    auto& containers = own().containers;
    there = std::count_if(containers.begin(), containers.end(),
                          [](auto& one) { return one.exists != Existence::NO; });
    if (there >= MOST_CONTAINERS) return;
    made.handle = "c" + std::to_string(number) + "-" + std::to_string(own().made++);
  }
  made.memory = {UNLIMITED_MEMORY};
  made.cpu = {FIRST_SHARES};
  made.disk = {0};
  made.bandwidth = {0};
  journal.say(who, "create " + made.handle + (operation.walksAway ? ", walks away" : ""));
  CreateResponse response;
  Fate fate = connection.ask(test::createRequest(made.handle), response, operation.walksAway);
  made.exists = fate == Fate::ANSWERED  ? Existence::YES
                : fate == Fate::UNKNOWN ? Existence::MAYBE
                                        : Existence::NO;
  if (fate == Fate::REFUSED) {
    journal.say(who, made.handle + " refused: " + connection.message());
    if (connection.message().find("already exists") != std::string::npos) {
      journal.violation(who, connection.message());
    }
  }
  std::lock_guard guard(model.lock);
  if (made.exists != Existence::NO) own().containers.push_back(std::move(made));
}

void Client::destroy(ContainerModel& container, const Operation& operation) {
  {
    // Nobody is to do it harm that counts on its being there.
    std::lock_guard guard(model.lock);
    container.exists = Existence::MAYBE;
  }
  DestroyResponse response;
  Fate fate = connection.ask(test::destroyRequest(container.handle), response, operation.walksAway);
  std::lock_guard guard(model.lock);
  if (fate == Fate::UNSENT) container.exists = Existence::YES;
  if (fate == Fate::ANSWERED) container.exists = Existence::NO;
  if (fate != Fate::REFUSED || container.harmed) return;
  journal.say(who, container.handle + " destroy refused: " + connection.message());
  if (connection.message() == "unknown handle") {
    journal.violation(who, container.handle + " is lost: " + connection.message());
  }
}

void Client::stop(ContainerModel& container, const Operation& operation) {
  {
    std::lock_guard guard(model.lock);
    container.disturbJobs();
    container.mayBeStopped = true;
  }
  StopResponse response;
  bool background = operation.number % 2 == 0;
  auto request = test::stopRequest(container.handle, background, true);
  Fate fate = connection.ask(request, response, operation.walksAway);
  std::lock_guard guard(model.lock);
  if (fate == Fate::ANSWERED) container.mayBeActive = false;
  judgeRefusal(container, fate);
}

void Client::info(ContainerModel& container, const Operation& operation) {
  InfoResponse response;
  Fate fate = connection.ask(test::infoRequest(container.handle), response, operation.walksAway);
  std::lock_guard guard(model.lock);
  judgeRefusal(container, fate);
  if (fate != Fate::ANSWERED) return;
  auto& path = response.container_path();
  container.id = path.substr(path.rfind('/') + 1);
  auto wrong = judgeInfo(container, response);
  if (!wrong.empty()) journal.violation(who, container.handle + ": " + wrong);
}

void Client::list() {
  ListResponse response;
  if (connection.ask(ListRequest(), response) != Fate::ANSWERED) return;
  std::set<std::string> handles(response.handles().begin(), response.handles().end());
  std::lock_guard guard(model.lock);
  for (auto& container : own().containers) {
    bool listed = handles.count(container.handle) > 0;
    if (container.exists == Existence::YES && !listed && !container.harmed) {
      journal.violation(who, container.handle + " is not listed");
    }
    if (container.exists == Existence::NO && listed) {
      journal.violation(who, container.handle + " is listed, but was destroyed");
    }
  }
}

void Client::netIn(ContainerModel& container, const Operation& operation) {
  NetInRequest request;
  request.set_handle(container.handle);
  request.set_container_port(1 + operation.number % 65535);
  NetInResponse response;
  Fate fate = connection.ask(request, response, operation.walksAway);
  std::lock_guard guard(model.lock);
  judgeRefusal(container, fate);
  if (fate == Fate::ANSWERED)
    container.ports.emplace(response.host_port(), response.container_port());
  if (fate == Fate::UNKNOWN) container.maybePorts.insert(request.container_port());
}

void Client::netOut(ContainerModel& container, const Operation& operation) {
  NetOutRequest request;
  // A benchmark network (RFC 2544), which no packet is sent to.
  std::string network = "198.18." + std::to_string(operation.number % 250) + "." +
                        std::to_string(operation.number / 250 % 250);
  request.set_handle(container.handle);
  request.set_network(network);
  NetOutResponse response;
  // No answer says that a rule is there already.
  Fate fate = connection.ask(request, response, operation.walksAway);
  std::lock_guard guard(model.lock);
  judgeRefusal(container, fate);
  if (fate == Fate::ANSWERED) container.rules.insert(network);
  if (fate == Fate::UNKNOWN) container.maybeRules.insert(network);
}

void Client::noteSet(std::set<uint64_t>& values, uint64_t asked, uint64_t inForce, Fate fate) {
  if (fate == Fate::ANSWERED) values = {inForce};
  if (fate == Fate::UNKNOWN) values.insert(asked);
}

void Client::limitMemory(ContainerModel& container, const Operation& operation) {
  LimitMemoryRequest request;
  request.set_handle(container.handle);
  request.set_limit_in_bytes((64 + operation.number % 64) << 20);
  LimitMemoryResponse response;
  Fate fate = connection.ask(request, response, operation.walksAway);
  std::lock_guard guard(model.lock);
  judgeRefusal(container, fate);
  noteSet(container.memory, request.limit_in_bytes(), response.limit_in_bytes(), fate);
}

void Client::limitCpu(ContainerModel& container, const Operation& operation) {
  LimitCpuRequest request;
  request.set_handle(container.handle);
  request.set_limit_in_shares(256 + operation.number % 1024);
  LimitCpuResponse response;
  Fate fate = connection.ask(request, response, operation.walksAway);
  std::lock_guard guard(model.lock);
  judgeRefusal(container, fate);
  noteSet(container.cpu, request.limit_in_shares(), response.limit_in_shares(), fate);
}

void Client::limitBandwidth(ContainerModel& container, const Operation& operation) {
  LimitBandwidthRequest request;
  request.set_handle(container.handle);
  request.set_rate(1000000 + operation.number % 1000 * 1000);
  request.set_burst(100000);
  LimitBandwidthResponse response;
  Fate fate = connection.ask(request, response, operation.walksAway);
  std::lock_guard guard(model.lock);
  judgeRefusal(container, fate);
  noteSet(container.bandwidth, request.rate(), response.rate(), fate);
}

void Client::limitDisk(ContainerModel& container, const Operation& operation) {
  LimitDiskRequest request;
  request.set_handle(container.handle);
  request.set_byte_limit((64 + operation.number % 64) << 20);
  LimitDiskResponse response;
  Fate fate = connection.ask(request, response, operation.walksAway);
  std::lock_guard guard(model.lock);
  judgeRefusal(container, fate);
  noteSet(container.disk, request.byte_limit(), response.byte_limit(), fate);
}

}  // namespace warden::chaos
