#include "tests/support/network-namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

namespace warden::test {

namespace {

using Json = nlohmann::json;

constexpr char NFT[] = "/usr/sbin/nft";
constexpr char TC[] = "/usr/sbin/tc";

Fd openNamespace(const std::string& process) {
  std::string path = "/proc/" + process + "/ns/net";
  int raw;
  KJ_SYSCALL(raw = open(path.c_str(), O_RDONLY | O_CLOEXEC), path.c_str());
  return Fd(raw);
}

void raiseLoopback() {
  int raw;
  KJ_SYSCALL(raw = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  Fd socket(raw);
  ifreq request{};
  strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  KJ_SYSCALL(ioctl(socket, SIOCSIFFLAGS, &request));
}

// What differs from one look to the next though nothing was changed.
void removeNumbersOfTheDay(Json& json) {
  if (json.is_object()) {
    for (const char* key : {"handle", "packets", "bytes", "expires", "used"})
      json.erase(key);
  }
  if (json.is_structured()) {
    for (auto& item : json)
      removeNumbersOfTheDay(item);
  }
}

// An object as one item, and each element of a set or map as one of its own.
void addObject(std::vector<std::string>& items, const std::string& kind, Json object) {
  if (!object.is_object()) return;
  std::string name = kind + " " + object.value("table", "") + " " + object.value("name", "");
  if (object.contains("elem")) {
    for (const auto& element : object["elem"])
      items.push_back("nft element of " + name + ": " + element.dump());
    object.erase("elem");
  }
  items.push_back("nft " + kind + " " + object.dump());
}

void addTables(std::vector<std::string>& items, const NetworkNamespace& network) {
  auto ruleset = Json::parse(network.output({NFT, "-j", "list", "ruleset"}));
  for (auto& entry : ruleset["nftables"]) {
    if (entry.contains("metainfo")) continue;
    removeNumbersOfTheDay(entry);
    for (auto& [kind, object] : entry.items())
      addObject(items, kind, object);
  }
}

bool startsWith(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

// noqueue is what an interface has that was given nothing.
void addShaping(std::vector<std::string>& items, const NetworkNamespace& network) {
  std::set<std::string> shaped;
  for (const auto& line : splitLines(network.output({TC, "qdisc", "show"}))) {
    if (startsWith(line, "qdisc noqueue 0:")) continue;
    items.push_back(line);
    std::istringstream words(line.substr(line.find(" dev ") + 5));
    std::string name;
    words >> name;
    shaped.insert(name);
  }
  for (const auto& name : shaped) {
    for (const auto& parent : {"root", "ingress"}) {
      // An interface may go between one look and the next.
      for (const auto& line :
           splitLines(network.run({TC, "filter", "show", "dev", name, parent}).out))
        items.push_back("filter of " + name + ": " + line);
    }
    for (const auto& line : splitLines(network.run({TC, "class", "show", "dev", name}).out))
      items.push_back("class of " + name + ": " + line);
  }
}

}  // namespace

NetworkNamespace::Visit::Visit(int to) : home(openNamespace("thread-self")) {
  KJ_SYSCALL(setns(to, CLONE_NEWNET));
}

NetworkNamespace::Visit::~Visit() {
  // A test that went on in the wrong namespace would work on the host's network.
  if (setns(home, CLONE_NEWNET) != 0) abort();
}

NetworkNamespace NetworkNamespace::make() {
  Fd home = openNamespace("thread-self");
  // Enters the present namespace again at its end, whatever fails.
  Visit visit(home);
  KJ_SYSCALL(unshare(CLONE_NEWNET));
  raiseLoopback();
  NetworkNamespace made(openNamespace("thread-self"));
  // The kernel may copy this from the host's namespace (net.core.devconf_inherit_init_net).
  made.setSysctl("net/ipv4/ip_forward", "0");
  return made;
}

NetworkNamespace NetworkNamespace::of(pid_t pid) {
  return NetworkNamespace(openNamespace(std::to_string(pid)));
}

ProgramResult NetworkNamespace::run(const std::vector<std::string>& arguments) const {
  return in([&]() { return runProgram(arguments); });
}

std::string NetworkNamespace::output(const std::vector<std::string>& arguments) const {
  auto result = run(arguments);
  std::string command;
  for (const auto& argument : arguments)
    command += argument + " ";
  KJ_REQUIRE(result.exitStatus == 0, "program failed", command.c_str(), result.exitStatus,
             result.err.c_str());
  return result.out;
}

// /proc/sys/net shows the namespace of the thread that opens a file there.
void NetworkNamespace::setSysctl(const std::string& name, const std::string& value) const {
  in([&]() {
    std::string path = "/proc/sys/" + name;
    int raw;
    KJ_SYSCALL(raw = open(path.c_str(), O_WRONLY | O_CLOEXEC), path.c_str());
    Fd fd(raw);
    writeAll(fd, kj::arrayPtr(reinterpret_cast<const kj::byte*>(value.data()), value.size()));
  });
}

std::string NetworkNamespace::sysctl(const std::string& name) const {
  std::string value = in([&]() { return readFile("/proc/sys/" + name); });
  while (!value.empty() && value.back() == '\n')
    value.pop_back();
  return value;
}

std::vector<std::string> interfaceNames(const NetworkNamespace& network) {
  std::vector<std::string> names;
  network.in([&]() {
    std::unique_ptr<struct if_nameindex, void (*)(struct if_nameindex*)> list(::if_nameindex(),
                                                                              ::if_freenameindex);
    KJ_REQUIRE(list != nullptr, strerror(errno));
    for (auto i = list.get(); i->if_name != nullptr; ++i)
      names.push_back(i->if_name);
  });
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> networkObjects(const NetworkNamespace& network) {
  std::vector<std::string> items;
  for (const auto& name : interfaceNames(network))
    items.push_back("interface " + name);
  addShaping(items, network);
  addTables(items, network);
  std::sort(items.begin(), items.end());
  return items;
}

std::vector<std::string> serverNetworkObjects(const NetworkNamespace& network) {
  std::vector<std::string> found;
  for (auto& item : networkObjects(network)) {
    bool ours = startsWith(item, "nft ") || startsWith(item, "interface w-") ||
                startsWith(item, "interface ifb") || startsWith(item, "qdisc ") ||
                startsWith(item, "class ") || startsWith(item, "filter ");
    if (ours) found.push_back(kj::mv(item));
  }
  return found;
}

}  // namespace warden::test
