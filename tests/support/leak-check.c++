#include "tests/support/leak-check.h"

#include <gtest/gtest.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>
#include <thread>

#include "tests/support/process.h"

namespace warden::test {

namespace fs = std::filesystem;

namespace {

constexpr auto MOST_WAITING = std::chrono::seconds(60);

constexpr const char* NAMESPACES[] = {"mnt", "pid", "net", "ipc", "uts", "user", "cgroup"};

// A line of mountinfo (proc(5)) without the ids and peer groups, which are numbers of the day.
std::string mountText(const std::string& line) {
  std::istringstream fields(line);
  std::string id, parent, device, root, target, rest, word;
  fields >> id >> parent >> device >> root >> target;
  while (fields >> word) {
    if (word.find(':') == std::string::npos || word.find('=') != std::string::npos) {
      rest += " " + word;
    }
  }
  return root + " on " + target + rest;
}

// What other programs of this machine mount where they work. The porter sees it, too.
bool isForeignMount(const std::string& text, const TestServer& server) {
  if (text.find(server.directory()) != std::string::npos) return false;
  if (text.find(server.imagePath()) != std::string::npos) return false;
  for (const char* workplace :
       {" on /var/cache/", " on /var/tmp/", " on /tmp/", " on /mnt/", " on /run/netns"}) {
    if (text.find(workplace) != std::string::npos) return true;
  }
  return false;
}

void addMounts(Snapshot& snapshot, const TestServer& server, const std::string& whose,
               const std::string& mountinfo) {
  for (const auto& line : splitLines(mountinfo)) {
    std::string text = mountText(line);
    if (!isForeignMount(text, server)) snapshot.insert("mount of " + whose + ": " + text);
  }
}

std::string namespaceOf(pid_t pid, const char* kind) {
  std::error_code error;
  auto link = fs::read_symlink("/proc/" + std::to_string(pid) + "/ns/" + kind, error);
  return error ? "" : link.string();
}

// Namespaces that no process of the server is in, but a descriptor of one holds.
void collectHeldNamespaces(pid_t pid, std::set<std::string>& found) {
  std::error_code error;
  for (fs::directory_iterator i("/proc/" + std::to_string(pid) + "/fd", error), end; i != end;
       i.increment(error)) {
    std::string target = fs::read_symlink(i->path(), error).string();
    for (const char* kind : NAMESPACES) {
      if (target.compare(0, strlen(kind) + 2, std::string(kind) + ":[") == 0) found.insert(target);
    }
  }
}

void addProcesses(Snapshot& snapshot, const TestServer& server) {
  std::set<std::string> namespaces;
  std::set<std::string> mountNamespaces{namespaceOf(getpid(), "mnt")};
  addMounts(snapshot, server, "the host", readFile("/proc/self/mountinfo"));

  // The frontend is in a mount namespace with one of the helper's, which it sees by another root:
  // as pids wrap, it may be either of them that comes first.
  std::vector<pid_t> processes = server.ourProcesses(), helpers = server.helperPids();
  std::stable_partition(processes.begin(), processes.end(), [&](pid_t pid) {
    return std::find(helpers.begin(), helpers.end(), pid) != helpers.end();
  });
  for (pid_t pid : processes) {
    std::string program = fs::path(executableOf(pid)).filename();
    snapshot.insert("process " + program);
    for (const char* kind : NAMESPACES)
      namespaces.insert(namespaceOf(pid, kind));
    collectHeldNamespaces(pid, namespaces);
    if (mountNamespaces.insert(namespaceOf(pid, "mnt")).second) {
      addMounts(snapshot, server, program,
                tryReadFile("/proc/" + std::to_string(pid) + "/mountinfo").value_or(""));
    }
  }
  for (const auto& item : namespaces) {
    if (!item.empty()) snapshot.insert("namespace " + item.substr(0, item.find(':')));
  }

  std::vector<pid_t> watched = server.helperPids();
  if (auto frontend = server.findFrontend()) watched.push_back(*frontend);
  for (pid_t pid : watched) {
    std::string program = fs::path(executableOf(pid)).filename();
    for (const auto& target : openDescriptors(pid)) {
      snapshot.insert("descriptor of " + program + ": " + target);
    }
  }
}

// Directories of cgroups, but for those of other servers on this machine.
void addCgroups(Snapshot& snapshot, const TestServer& server) {
  constexpr char TOP[] = "/sys/fs/cgroup";
  std::error_code error;
  for (fs::recursive_directory_iterator i(TOP, error), end; i != end; i.increment(error)) {
    if (!i->is_directory(error) || i->is_symlink(error)) continue;
    std::string name = i->path().filename();
    bool foreign = name == "process_api" ||
                   (name.compare(0, 6, "warden") == 0 && name != server.cgroupParent());
    if (foreign) {
      i.disable_recursion_pending();
    } else {
      snapshot.insert("cgroup " + i->path().string());
    }
  }
}

void addFiles(Snapshot& snapshot, const TestServer& server) {
  for (const auto& entry : server.depotEntries())
    snapshot.insert("depot entry " + entry);
  // Even a socket that is bound to a path shows in the network namespace of its maker only.
  std::string sockets = server.inNetwork([]() { return readFile("/proc/thread-self/net/unix"); });
  for (const auto& line : splitLines(sockets)) {
    size_t path = line.find(server.directory());
    if (path != std::string::npos) snapshot.insert("bound socket " + line.substr(path));
  }
}

// What a container's disk may be mounted from (loop(4)); sysfs shows the file's path as it is in
// the mount namespace of whoever made the device.
void addLoopDevices(Snapshot& snapshot, const TestServer& server) {
  std::error_code error;
  for (const auto& device : fs::directory_iterator("/sys/block", error)) {
    auto file = tryReadFile(device.path().string() + "/loop/backing_file");
    if (file && file->find(server.directory()) != std::string::npos) {
      snapshot.insert("loop device of " + splitLines(*file).front());
    }
  }
}

// Of the server's own directory: the depot has its own list, and logs have their own life.
void addOwnFiles(Snapshot& snapshot, const TestServer& server) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(server.directory(), error)) {
    std::string name = entry.path().filename();
    if (name.find(".log") == std::string::npos) snapshot.insert("file " + name);
  }
}

std::string difference(const Snapshot& before, const Snapshot& after) {
  std::ostringstream out;
  Snapshot all = before;
  all.insert(after.begin(), after.end());
  for (auto i = all.begin(); i != all.end(); i = all.upper_bound(*i)) {
    size_t then = before.count(*i);
    size_t now = after.count(*i);
    if (then != now) out << "  " << *i << ": " << then << " before, " << now << " after\n";
  }
  return out.str();
}

}  // namespace

Snapshot takeSnapshot(const TestServer& server) {
  Snapshot snapshot;
  addProcesses(snapshot, server);
  addCgroups(snapshot, server);
  addFiles(snapshot, server);
  addLoopDevices(snapshot, server);
  addOwnFiles(snapshot, server);
  for (auto& item : networkObjects(server.network()))
    snapshot.insert(kj::mv(item));
  return snapshot;
}

LeakCheck::LeakCheck(const TestServer& serverParam) : server(serverParam) {
  // What the last container left on its way out is not taken for the state to come back to.
  bool swept = waitUntil([this]() { return server.depotEntries().empty(); }, MOST_WAITING);
  EXPECT_TRUE(swept) << "the depot is not empty";
  before = takeSnapshot(server);
  waitUntil(
      [this]() {
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        Snapshot again = takeSnapshot(server);
        bool same = again == before;
        before = std::move(again);
        return same;
      },
      std::chrono::seconds(5));
}

// Removed trees are swept in the background, which takes its time on a busy disk: as long as things
// get less, they are waited for.
std::string LeakCheck::findLeaks(std::chrono::milliseconds patience) const {
  using Clock = std::chrono::steady_clock;
  auto start = Clock::now();
  auto lastChange = start;
  std::string found = difference(before, takeSnapshot(server));
  while (!found.empty() && Clock::now() - lastChange < patient(patience) &&
         Clock::now() - start < patient(MOST_WAITING)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::string now = difference(before, takeSnapshot(server));
    if (now != found) lastChange = Clock::now();
    found = now;
  }
  return found;
}

void LeakCheck::expectNothingLeaked(std::chrono::milliseconds patience) const {
  std::string found = findLeaks(patience);
  EXPECT_TRUE(found.empty()) << "left behind, or lost:\n" << found;
}

}  // namespace warden::test
