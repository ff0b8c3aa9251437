#include "tests/chaos/checker.h"

#include <algorithm>

#include "tests/chaos/client.h"
#include "tests/support/limits.h"
#include "tests/support/process.h"
#include "tests/support/server-test.h"

namespace warden::chaos {

namespace {

constexpr std::chrono::milliseconds LEAK_TIME = std::chrono::seconds(5);
constexpr uint32_t LINKED_PERCENT = 50;

// Whether it can start jobs, and write what reaches the disk.
constexpr char PROBE[] =
    "echo x > /tmp/probe && dd if=/tmp/probe of=/tmp/copy conv=fsync && cat /tmp/copy";

std::string idIn(const InfoResponse& info) {
  auto& path = info.container_path();
  return path.substr(path.rfind('/') + 1);
}

std::string joined(const std::set<std::string>& words) {
  std::string text;
  for (auto& word : words)
    text += " " + word;
  return text.empty() ? " none" : text;
}

// As tc(8) writes it.
std::string rateText(uint64_t bytes) {
  uint64_t bits = bytes * 8;
  static constexpr const char* UNITS[] = {"bit", "Kbit", "Mbit", "Gbit"};
  size_t unit = 0;
  for (; bits % 1000 == 0 && unit + 1 < std::size(UNITS); ++unit)
    bits /= 1000;
  return std::to_string(bits) + UNITS[unit] + " ";
}

bool mentions(const std::vector<std::string>& objects, const std::vector<std::string>& words) {
  return std::any_of(objects.begin(), objects.end(), [&](auto& object) {
    return std::all_of(words.begin(), words.end(),
                       [&](auto& word) { return object.find(word) != std::string::npos; });
  });
}

// Of containers, by hierarchy.
std::map<std::string, std::set<std::string>> cgroupIds(const test::TestServer& server) {
  std::map<std::string, std::set<std::string>> ids;
  for (auto& directory : server.cgroups()) {
    size_t at = directory.find("/instance-");
    auto& there = ids[directory.substr(0, directory.find("/" + server.cgroupParent()))];
    if (at != std::string::npos) there.insert(directory.substr(at + 10, 11));
  }
  return ids;
}

// Of containers that have an interface with this end of a name.
std::set<std::string> interfaceIds(const test::TestServer& server, const std::string& end) {
  std::set<std::string> ids;
  for (auto& name : test::interfaceNames(server.network())) {
    bool ours = name.compare(0, 2, "w-") == 0 && name.size() > 14;
    if (ours && name.substr(14) == end) ids.insert(name.substr(2, 11));
  }
  return ids;
}

}  // namespace

std::set<std::string> Checker::list() {
  ListResponse response;
  Fate fate = connection.ask(ListRequest(), response);
  if (fate != Fate::ANSWERED) violation("the settled server does not list its containers");
  return {response.handles().begin(), response.handles().end()};
}

void Checker::check(Random& random) {
  connection.close();
  auto listed = list();
  std::set<std::string> expected, ids, harmed;
  auto network = test::networkObjects(server.network());
  for (auto& client : model.clients) {
    for (auto& container : client.containers)
      resolve(container, listed.count(container.handle) > 0);
    auto gone = [](auto& one) { return one.exists == Existence::NO; };
    auto& all = client.containers;
    all.erase(std::remove_if(all.begin(), all.end(), gone), all.end());
    for (auto& container : all) {
      checkContainer(container, random, network);
      expected.insert(container.handle);
      ids.insert(container.id);
      if (container.harmed) harmed.insert(container.id);
    }
  }
  listed = list();
  if (listed != expected) violation("listed:" + joined(listed) + "; expected:" + joined(expected));
  checkHost(ids, harmed);
}

void Checker::resolve(ContainerModel& container, bool listed) {
  auto& handle = container.handle;
  // One without its first process goes with the next start.
  if (container.exists == Existence::YES && !listed && !container.harmed) {
    violation(handle + " is not listed");
  }
  if (container.exists == Existence::NO && listed) violation(handle + " is listed, but destroyed");
  if (container.exists == Existence::YES || !listed) {
    // A destroy that failed may be tried again, until nothing knows it.
    DestroyResponse response;
    if (container.exists == Existence::MAYBE) {
      connection.ask(test::destroyRequest(handle), response);
    }
    container.exists = listed ? Existence::YES : Existence::NO;
    return;
  }
  container.exists = Existence::YES;
  // A destroy that was not answered stops first: what is found now counts.
  container.disturbJobs();
}

void Checker::checkContainer(ContainerModel& container, Random& random,
                             const std::vector<std::string>& network) {
  InfoResponse info;
  if (connection.ask(test::infoRequest(container.handle), info) != Fate::ANSWERED) {
    return violation(container.handle + ": info: " + connection.message());
  }
  container.id = idIn(info);
  auto wrong = judgeInfo(container, info);
  if (!wrong.empty()) violation(container.handle + ": " + wrong);
  container.mayBeActive = info.state() == "active";
  container.mayBeStopped = info.state() == "stopped";
  // The server says so a moment after the end of the first process.
  bool ended = container.mayBeStopped || !hasFirstProcess(container.id);
  if (container.harmed && ended) return;
  checkLimits(container);
  checkNetwork(container, info, network);
  checkJobs(container, random);
  if (!container.harmed) checkCopies(container);
  if (container.mayBeActive && !container.harmed) checkUse(container);
}

void Checker::checkLimits(ContainerModel& container) {
  auto wrong = [&](const char* what, uint64_t found, uint64_t expected) {
    violation(container.handle + ": " + what + " is " + std::to_string(found) + ", not " +
              std::to_string(expected));
  };
  bool certain = true;
  auto expect = [&](Fate fate, std::set<uint64_t>& allowed, uint64_t found, const char* what) {
    certain = allowed.size() == 1;
    if (fate != Fate::ANSWERED) {
      violation(container.handle + ": " + what + ": " + connection.message());
    } else if (allowed.count(found) == 0) {
      wrong(what, found, *allowed.begin());
    }
    allowed = {found};
  };
  LimitMemoryRequest memory;
  memory.set_handle(container.handle);
  LimitMemoryResponse memoryFound;
  Fate fate = connection.ask(memory, memoryFound);
  uint64_t limit = memoryFound.limit_in_bytes();
  expect(fate, container.memory, limit, "memory");
  uint64_t inKernel = test::memoryInKernel(server, container.id);
  if (certain && inKernel != limit) wrong("memory in the kernel", inKernel, limit);
  LimitCpuRequest cpu;
  cpu.set_handle(container.handle);
  LimitCpuResponse cpuFound;
  fate = connection.ask(cpu, cpuFound);
  uint64_t shares = cpuFound.limit_in_shares();
  expect(fate, container.cpu, shares, "cpu");
  inKernel = test::sharesInKernel(server, container.id, shares);
  if (certain && inKernel != shares) wrong("cpu in the kernel", inKernel, shares);
  LimitDiskRequest disk;
  disk.set_handle(container.handle);
  LimitDiskResponse diskFound;
  fate = connection.ask(disk, diskFound);
  expect(fate, container.disk, diskFound.byte_limit(), "disk");
}

void Checker::checkNetwork(ContainerModel& container, const InfoResponse& info,
                           const std::vector<std::string>& network) {
  std::string address = '"' + info.container_ip() + '"';
  for (auto& [host, inside] : container.ports) {
    if (!mentions(network, {address, std::to_string(host), std::to_string(inside)})) {
      violation(container.handle + ": port " + std::to_string(host) + " is not mapped");
    }
  }
  for (auto& rule : container.rules) {
    if (!mentions(network, {rule, container.id}) && !mentions(network, {rule, address})) {
      violation(container.handle + ": " + rule + " is not allowed");
    }
  }
  uint64_t rate = *container.bandwidth.begin();
  if (container.bandwidth.size() > 1 || rate == 0) return;
  for (const char* end : {"-0 ", "-b "}) {
    if (!mentions(network, {"qdisc tbf", "w-" + container.id + end, "rate " + rateText(rate)})) {
      violation(container.handle + ": its bandwidth is not limited to " + std::to_string(rate));
    }
  }
}

void Checker::checkJobs(ContainerModel& container, Random& random) {
  std::vector<uint32_t> done;
  for (auto& [id, job] : container.jobs) {
    bool asks = random.chance(LINKED_PERCENT);
    if (job.state == JobModel::State::LIVE && !asks) continue;
    if (job.script.endless && container.mayBeActive) continue;
    checkJob(container, id, job);
    done.push_back(id);
  }
  for (uint32_t id : done)
    container.jobs.erase(id);
}

void Checker::checkJob(ContainerModel& container, uint32_t id, JobModel& job) {
  LinkResponse response;
  std::string name = container.handle + ": job " + std::to_string(id);
  Fate fate = connection.ask(test::linkRequest(container.handle, id), response);
  bool there = fate == Fate::ANSWERED;
  if (!there && connection.message() != "no such job") {
    return violation(name + ": " + connection.message());
  }
  if (job.state == JobModel::State::LINKED) {
    // docs: README.md, "What is allowed".
    if (there && !model.endedSoonAfter(job.linked)) violation(name + " was answered twice");
    if (there) journal.count("jobs answered twice");
    return;
  }
  if (!there) {
    if (job.state == JobModel::State::LIVE && !container.harmed) violation(name + " is lost");
    return;
  }
  bool exact = !job.disturbed && !container.harmed && !container.mayBeStopped;
  auto wrong =
      judgeOutput(job.script, exact, response.stdout(), response.stderr(), response.exit_status());
  if (!wrong.empty()) violation(name + ": " + wrong);
}

void Checker::checkCopies(ContainerModel& container) {
  for (auto& copy : container.copies) {
    std::string wrong;
    Fate fate = trees.copyOut(connection, container.handle, copy.place, copy.tree, false, wrong);
    if (fate == Fate::REFUSED && connection.lacksDescriptors()) {
      journal.count("probes without descriptors");
      continue;
    }
    if (fate != Fate::ANSWERED) wrong = connection.message();
    if (fate != Fate::ANSWERED || !wrong.empty()) {
      violation(container.handle + ": what was copied to " + copy.place + ": " + wrong);
    }
  }
}

void Checker::checkUse(ContainerModel& container) {
  RunResponse response;
  auto request = test::runRequest(container.handle, PROBE);
  Fate fate = connection.ask(request, response);
  if (fate == Fate::REFUSED && connection.lacksDescriptors()) {
    journal.count("probes without descriptors");
  } else if (fate != Fate::ANSWERED) {
    violation(container.handle + " cannot be used: " + connection.message());
  } else if (response.stdout() != "x\n") {
    violation(container.handle + " cannot be used: status " +
              std::to_string(response.exit_status()) + ", " + response.stderr());
  }
}

bool Checker::hasFirstProcess(const std::string& id) {
  return test::isAlive(server.findWshd(id).value_or(-1));
}

void Checker::checkHost(const std::set<std::string>& ids, const std::set<std::string>& harmed) {
  std::string wrong;
  auto compare = [&](const char* what, const std::set<std::string>& found) {
    if (found != ids) wrong += std::string(what) + " of:" + joined(found) + "; ";
  };
  test::waitUntil(
      [&]() {
        wrong.clear();
        auto entries = server.depotEntries();
        compare("directories", {entries.begin(), entries.end()});
        for (auto& [hierarchy, groups] : cgroupIds(server))
          compare(("cgroups in " + hierarchy).c_str(), groups);
        auto interfaces = interfaceIds(server, "0");
        for (const auto& id : harmed) {
          if (!hasFirstProcess(id)) interfaces.insert(id);
        }
        compare("interfaces", interfaces);
        // Those for shaping.
        auto all = interfaceIds(server, "b");
        all.insert(ids.begin(), ids.end());
        compare("other interfaces", all);
        return wrong.empty();
      },
      settlingTime);
  if (!wrong.empty()) violation(wrong + "containers:" + joined(ids));
}

void Checker::clear(const test::LeakCheck& leaks) {
  for (auto& handle : list()) {
    DestroyResponse response;
    if (connection.ask(test::destroyRequest(handle), response) != Fate::ANSWERED) {
      violation(handle + " cannot be destroyed: " + connection.message());
    }
  }
  for (auto& client : model.clients)
    client.containers.clear();
  connection.close();
  test::warmUp(server);
  auto found = leaks.findLeaks(std::min(settlingTime, LEAK_TIME));
  if (!found.empty()) violation("left behind, or lost:\n" + found);
}

}  // namespace warden::chaos
