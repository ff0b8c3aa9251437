#include "tests/support/leak-check.h"

#include <gtest/gtest.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>

#include "tests/support/process.h"

namespace warden::test {

namespace fs = std::filesystem;

namespace {

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

void addMounts(Snapshot& snapshot, const std::string& whose, const std::string& mountinfo) {
  for (const auto& line : splitLines(mountinfo)) {
    snapshot.insert("mount of " + whose + ": " + mountText(line));
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
  addMounts(snapshot, "the host", readFile("/proc/self/mountinfo"));

  for (pid_t pid : server.ourProcesses()) {
    std::string program = fs::path(executableOf(pid)).filename();
    snapshot.insert("process " + program);
    for (const char* kind : NAMESPACES)
      namespaces.insert(namespaceOf(pid, kind));
    collectHeldNamespaces(pid, namespaces);
    if (mountNamespaces.insert(namespaceOf(pid, "mnt")).second) {
      addMounts(snapshot, program,
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
  for (const auto& line : splitLines(readFile("/proc/net/unix"))) {
    size_t path = line.find(server.directory());
    if (path != std::string::npos) snapshot.insert("bound socket " + line.substr(path));
  }
  for (const auto& entry : fs::directory_iterator("/sys/class/net")) {
    snapshot.insert("interface " + entry.path().filename().string());
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

bool isSweeping(const TestServer& server) {
  for (const auto& entry : server.depotEntries()) {
    if (entry.compare(0, 9, ".removed/") == 0) return true;
  }
  return false;
}

}  // namespace

Snapshot takeSnapshot(const TestServer& server) {
  Snapshot snapshot;
  addProcesses(snapshot, server);
  addCgroups(snapshot, server);
  addFiles(snapshot, server);
  return snapshot;
}

// Two looks that agree, with nothing left to sweep: what the last container left on its way out is not
// taken for the state.
LeakCheck::LeakCheck(const TestServer& serverParam) : server(serverParam) {
  before = takeSnapshot(server);
  waitUntil(
      [this]() {
        Snapshot again = takeSnapshot(server);
        bool same = again == before && !isSweeping(server);
        before = std::move(again);
        return same;
      },
      std::chrono::seconds(5));
}

void LeakCheck::expectNothingLeaked(std::chrono::milliseconds within) const {
  std::string found;
  bool equal = waitUntil(
      [&]() {
        found = difference(before, takeSnapshot(server));
        return found.empty();
      },
      within);
  EXPECT_TRUE(equal) << "left behind, or lost:\n" << found;
}

}  // namespace warden::test
