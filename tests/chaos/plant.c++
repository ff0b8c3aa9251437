#include "tests/chaos/plant.h"

#include <errno.h>
#include <kj/debug.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/support/limits.h"
#include "tests/support/process.h"

namespace warden::chaos {

namespace {

namespace fs = std::filesystem;

constexpr char NFT[] = "/usr/sbin/nft";
constexpr char IP[] = "/sbin/ip";
constexpr char TC[] = "/sbin/tc";

constexpr char STRAY[] = "0123456789a";  // the id of no container

constexpr uint32_t ENDLESS = 7;                   // numbers that makeScript() knows
constexpr uint32_t COUNTING = 8 * 20 + 8000 * 3;  // 20 lines, status 3

struct Victim {
  test::TestServer& server;
  ContainerModel& container;

  std::string directory() const { return server.depotPath() + "/" + container.id; }
  std::string interface() const { return "w-" + container.id + "-0"; }
  std::string address() const { return server.connect().info(container.handle).container_ip(); }

  void run(const std::vector<std::string>& arguments) const { server.network().output(arguments); }
  void nft(const std::string& command) const { run({NFT, command}); }
  std::string element(const std::string& set, const std::string& key) const {
    return "delete element inet " + server.cgroupParent() + " " + set + " { " + key + " }";
  }
};

void losePort(const Victim& victim) {
  auto [host, inside] = *victim.container.ports.begin();
  victim.nft(victim.element("ports", std::to_string(host)));
}

void loseRule(const Victim& victim) {
  std::string key = "\"" + victim.interface() + "\" . " + *victim.container.rules.begin() + " . ";
  victim.nft(victim.element("allow_32", key + "tcp . 0"));
}

void changeMemory(const Victim& victim) {
  bool second = test::hasVersion2("memory");
  test::writeFile(test::cgroupOf(victim.server, victim.container.id, "memory") +
                      (second ? "/memory.max" : "/memory.limit_in_bytes"),
                  "50331648");
}

void changeCpu(const Victim& victim) {
  bool second = test::hasVersion2("cpu");
  test::writeFile(test::cgroupOf(victim.server, victim.container.id, "cpu") +
                      (second ? "/cpu.weight" : "/cpu.shares"),
                  "77");
}

void loseBandwidth(const Victim& victim) {
  victim.run({TC, "qdisc", "del", "dev", victim.interface(), "root"});
}

void killJob(const Victim& victim) {
  pid_t wshd = victim.server.wshdPid(victim.container.id);
  for (pid_t pid : test::descendants(wshd)) {
    auto command = test::tryReadFile("/proc/" + std::to_string(pid) + "/cmdline").value_or("");
    if (command.compare(0, 5, "sleep") == 0) {
      KJ_SYSCALL(kill(pid, SIGKILL));
      return;
    }
  }
  KJ_FAIL_REQUIRE("there is no job");
}

void killWshd(const Victim& victim) {
  KJ_SYSCALL(kill(victim.server.wshdPid(victim.container.id), SIGKILL));
}

// As trouble does it; nothing is wrong, also where the server has not said that it is stopped yet.
void killWshdAsKnown(const Victim& victim) {
  victim.container.mayLoseFirstProcess();
  killWshd(victim);
}

void loseOutput(const Victim& victim) {
  size_t lost = 0;
  for (auto& file : fs::directory_iterator(victim.directory() + "/state")) {
    if (file.path().filename().string().find("snapshot") == 0) continue;
    fs::resize_file(file.path(), 0);
    ++lost;
  }
  KJ_REQUIRE(lost > 0, "no output is kept");
}

void changeCopy(const Victim& victim) {
  victim.server.connect().output(victim.container.handle,
                                 "echo x > " + victim.container.copies.at(0).place + "/program");
}

void loseDirectory(const Victim& victim) {
  fs::rename(victim.directory(), victim.server.directory() + "/moved");
}

void loseCgroup(const Victim& victim) {
  // Of one hierarchy only.
  std::string directory = test::cgroupOf(victim.server, victim.container.id, "pids");
  bool removed = test::waitUntil([&]() {
    // Some may end meanwhile, or be born.
    for (auto& pid : test::splitLines(test::readFile(directory + "/cgroup.procs"))) {
      std::ofstream(directory + "/../cgroup.procs") << pid;
    }
    return rmdir(directory.c_str()) == 0;
  });
  KJ_REQUIRE(removed, directory.c_str());
}

void loseInterface(const Victim& victim) {
  victim.run({IP, "link", "del", victim.interface()});
}

void destroyOne(const Victim& victim) {
  victim.server.connect().destroy(victim.container.handle);
}
void createOne(const Victim& victim) {
  victim.server.connect().create("unknown");
}

void strayDirectory(const Victim& victim) {
  fs::create_directory(victim.server.depotPath() + "/" + STRAY);
}

void strayCgroup(const Victim& victim) {
  fs::create_directory(test::cgroupOf(victim.server, STRAY, "memory"));
}

void strayInterface(const Victim& victim) {
  victim.run({IP, "link", "add", std::string("w-") + STRAY + "-0", "type", "veth"});
}

void strayTable(const Victim& victim) {
  victim.nft("add table inet stray");
}

void strayFile(const Victim& victim) {
  test::writeFile(victim.server.directory() + "/stray", "");
}

struct Fault {
  const char* name;
  void (*plant)(const Victim& victim);
};

constexpr Fault FAULTS[] = {
    {"nothing", [](const Victim&) {}},
    {"port", losePort},
    {"rule", loseRule},
    {"memory", changeMemory},
    {"cpu", changeCpu},
    {"bandwidth", loseBandwidth},
    {"job", killJob},
    {"wshd", killWshd},
    {"wshd-as-known", killWshdAsKnown},
    {"output", loseOutput},
    {"copy", changeCopy},
    {"directory", loseDirectory},
    {"cgroup", loseCgroup},
    {"interface", loseInterface},
    {"destroy", destroyOne},
    {"create", createOne},
    {"stray-directory", strayDirectory},
    {"stray-cgroup", strayCgroup},
    {"stray-interface", strayInterface},
    {"stray-table", strayTable},
    {"stray-file", strayFile},
};

}  // namespace

std::vector<std::string> plantNames() {
  std::vector<std::string> names;
  for (auto& fault : FAULTS)
    names.push_back(fault.name);
  return names;
}

RoundPlan makePlantPlan() {
  auto once = [](Act act, uint32_t number = 1) {
    return Operation{act, 0, number, false, std::chrono::milliseconds(0)};
  };
  RoundPlan plan;
  plan.clients = {{once(Act::CREATE), once(Act::INFO), once(Act::NET_IN), once(Act::NET_OUT),
                   once(Act::LIMIT_MEMORY), once(Act::LIMIT_CPU), once(Act::LIMIT_BANDWIDTH),
                   once(Act::LIMIT_DISK), once(Act::SPAWN, ENDLESS), once(Act::SPAWN, COUNTING),
                   once(Act::SPAWN, COUNTING), once(Act::SPAWN, COUNTING), once(Act::RUN, COUNTING),
                   once(Act::COPY_IN), once(Act::COPY_OUT)}};
  plan.clears = true;
  return plan;
}

void plant(const std::string& name, test::TestServer& server, Model& model) {
  auto there = model.existing();
  KJ_REQUIRE(there.size() == 1, "there is no container to harm");
  for (auto& fault : FAULTS)
    if (name == fault.name) return fault.plant({server, *there[0]});
  KJ_FAIL_REQUIRE("no such fault", name.c_str());
}

}  // namespace warden::chaos
