// The last test: no test server left a process, mount, cgroup or directory. What it finds it also
// removes. What belongs to a test that still runs (in another tree, say) is left alone: directories
// and cgroups carry the pid of their test.
//
// With --before it is the first test: what an earlier run abandoned when it was killed is removed
// and told, but is no failure, so that the last test counts what this run left.

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/test-server.h"

namespace fs = std::filesystem;
using namespace warden::test;

namespace {

// Whether `text` names something of a test that has ended: what follows `prefix` is the test's pid.
bool isAbandoned(const std::string& text, const std::string& prefix) {
  size_t at = text.find(prefix);
  if (at == std::string::npos) return false;
  pid_t test = atoi(text.c_str() + at + prefix.size());
  return test <= 0 || !isAlive(test);
}

std::string directoryPrefix() {
  return testDirectory() + "/" + DIRECTORY_PREFIX;
}

// Processes first: they hold the rest.
std::vector<std::string> endProcesses() {
  std::vector<std::string> found;
  std::string mark = "WARDEN_TEST_INSTANCE=" + directoryPrefix();
  std::string group = std::string("/") + CGROUP_PREFIX;
  for (pid_t pid : allProcesses()) {
    if (pid == getpid()) continue;
    std::string process = "/proc/" + std::to_string(pid);
    bool ours = isAbandoned(tryReadFile(process + "/environ").value_or(""), mark) ||
                isAbandoned(tryReadFile(process + "/cgroup").value_or(""), group);
    if (!ours) continue;
    found.push_back("process " + std::to_string(pid) + " " + executableOf(pid));
    kill(pid, SIGKILL);
    waitUntil([&]() { return !isAlive(pid); }, std::chrono::seconds(2));
  }
  return found;
}

std::vector<std::string> removeCgroups() {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::recursive_directory_iterator i("/sys/fs/cgroup", error), end; i != end;
       i.increment(error)) {
    std::string path = i->path();
    if (i->is_directory(error) && isAbandoned(path, std::string("/") + CGROUP_PREFIX)) {
      found.push_back("cgroup " + path);
    }
  }
  std::sort(found.rbegin(), found.rend());
  for (const auto& item : found)
    rmdir(item.c_str() + strlen("cgroup "));
  return found;
}

std::vector<std::string> findMounts() {
  std::vector<std::string> found;
  std::vector<std::string> seen;
  for (pid_t pid : allProcesses()) {
    std::error_code error;
    std::string process = "/proc/" + std::to_string(pid);
    std::string space = fs::read_symlink(process + "/ns/mnt", error);
    if (error || std::find(seen.begin(), seen.end(), space) != seen.end()) continue;
    seen.push_back(space);
    for (const auto& line : splitLines(tryReadFile(process + "/mountinfo").value_or(""))) {
      if (isAbandoned(line, directoryPrefix())) found.push_back("mount " + line);
    }
  }
  return found;
}

std::vector<std::string> removeDirectories() {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(testDirectory())) {
    if (!isAbandoned(entry.path(), directoryPrefix())) continue;
    found.push_back("directory " + entry.path().string());
    runProgram({"/bin/rm", "-rf", "--one-file-system", "--", entry.path()});
  }
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  bool before = argc == 2 && strcmp(argv[1], "--before") == 0;
  if (argc > 1 && !before) {
    fprintf(stderr, "usage: leaks-at-end [--before]\n");
    return 2;
  }
  std::vector<std::string> found;
  for (const auto& part : {endProcesses(), findMounts(), removeCgroups(), removeDirectories()}) {
    found.insert(found.end(), part.begin(), part.end());
  }
  for (const auto& item : found)
    printf("left behind: %s\n", item.c_str());
  printf("%zu left behind by %s\n", found.size(), before ? "earlier runs" : "all tests");
  return found.empty() || before ? 0 : 1;
}
