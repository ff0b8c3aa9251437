// What there is of a test's server: processes, cgroups, files.

#include <kj/debug.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>

#include "tests/support/process.h"
#include "tests/support/test-server.h"

namespace warden::test {

namespace fs = std::filesystem;

namespace {

std::vector<std::string> cgroupHierarchies() {
  std::vector<std::string> result;
  for (const auto& line : splitLines(readFile("/proc/self/mounts"))) {
    std::istringstream fields(line);
    std::string source, target, type;
    fields >> source >> target >> type;
    if (type == "cgroup" || type == "cgroup2") result.push_back(target);
  }
  return result;
}

std::string pidfileOfWshd(const TestServer& server, const std::string& id) {
  return server.depotPath() + "/" + id + "/run/wshd.pid";
}

}  // namespace

std::vector<pid_t> TestServer::helperPids() const {
  std::vector<pid_t> result;
  for (pid_t pid : ourProcesses()) {
    if (runsProgram(pid, options.helper)) result.push_back(pid);
  }
  return result;
}

pid_t TestServer::helperPid(const std::string& role) const {
  for (pid_t pid : helperPids()) {
    if (statusField(pid, "Name") == "warden-" + role) return pid;
  }
  return -1;
}

std::optional<pid_t> TestServer::findFrontend() const {
  auto set = options.config.find("privhelper.frontend_path");
  std::string program = set == options.config.end()
                            ? fs::path(options.helper).replace_filename("warden-frontend").string()
                            : set->second;
  for (pid_t pid : ourProcesses()) {
    // The launcher's child runs the helper's program until exec.
    if (runsProgram(pid, program)) return pid;
  }
  return std::nullopt;
}

pid_t TestServer::frontendPid() const {
  auto pid = findFrontend();
  KJ_REQUIRE(pid.has_value(), "no frontend runs", logs().c_str());
  return *pid;
}

pid_t TestServer::launcherPid() const {
  return std::stoi(statusField(frontendPid(), "PPid"));
}

pid_t TestServer::wshdPid(const std::string& id) const {
  return std::stoi(readFile(pidfileOfWshd(*this, id)));
}

std::optional<pid_t> TestServer::findWshd(const std::string& id) const {
  auto text = tryReadFile(pidfileOfWshd(*this, id));
  if (!text) return std::nullopt;
  return std::stoi(*text);
}

std::vector<pid_t> TestServer::ourProcesses() const {
  std::set<pid_t> ours;
  if (broker > 0 && isAlive(broker)) {
    ours.insert(broker);
    for (pid_t pid : descendants(broker))
      ours.insert(pid);
  }
  for (pid_t pid : allProcesses()) {
    if (ours.count(pid) == 0 && pid != getpid() && isAlive(pid) && belongsToUs(pid)) {
      ours.insert(pid);
    }
  }
  return {ours.begin(), ours.end()};
}

// Orphans are ours to reap, because the test is their subreaper.
void TestServer::reapOrphans() const {
  auto children = tryReadFile("/proc/self/task/" + std::to_string(getpid()) + "/children");
  if (!children) return;
  std::istringstream list(*children);
  for (pid_t pid; list >> pid;) {
    if (pid != broker && !isAlive(pid)) waitpid(pid, nullptr, WNOHANG);
  }
}

std::string TestServer::logs() const {
  return "--- " + logPath() + "\n" + tryReadFile(logPath()).value_or("(none)\n") +
         "--- the helper's\n" + tryReadFile(logPath() + ".audit").value_or("(none)\n") +
         "--- stdout and stderr\n" + tryReadFile(path + "/stderr").value_or("(none)\n");
}

std::vector<std::string> TestServer::cgroups() const {
  std::vector<std::string> result;
  for (const auto& hierarchy : cgroupHierarchies()) {
    fs::path top = fs::path(hierarchy) / cgroup;
    std::error_code error;
    if (!fs::exists(top, error)) continue;
    result.push_back(top);
    for (fs::recursive_directory_iterator i(top, error), end; i != end; i.increment(error)) {
      if (i->is_directory(error)) result.push_back(i->path());
    }
  }
  return result;
}

void TestServer::removeCgroups() {
  auto directories = cgroups();
  // Deepest first.
  std::sort(directories.rbegin(), directories.rend());
  for (const auto& directory : directories)
    rmdir(directory.c_str());
}

std::vector<std::string> TestServer::depotEntries() const {
  std::vector<std::string> result;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(depotPath(), error)) {
    std::string name = entry.path().filename();
    if (name[0] != '.') {
      result.push_back(name);
      continue;
    }
    // The server's own: what counts is what it holds.
    for (const auto& below : fs::directory_iterator(entry.path(), error)) {
      result.push_back(name + "/" + below.path().filename().string());
    }
  }
  std::sort(result.begin(), result.end());
  return result;
}

std::vector<std::string> TestServer::remains() const {
  reapOrphans();
  std::vector<std::string> result;
  for (pid_t pid : ourProcesses()) {
    result.push_back("process " + std::to_string(pid) + " " + statusField(pid, "Name"));
  }
  for (const auto& directory : cgroups())
    result.push_back("cgroup " + directory);
  for (const auto& entry : depotEntries())
    result.push_back("depot entry " + entry);
  for (const auto& line : splitLines(readFile("/proc/self/mountinfo"))) {
    if (line.find(path) != line.npos) result.push_back("mount " + line);
  }
  for (auto& item : serverNetworkObjects(network()))
    result.push_back(kj::mv(item));
  return result;
}

}  // namespace warden::test
