#include "tests/support/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <thread>

#include "base/fd.h"

namespace warden::test {

namespace {

using Clock = std::chrono::steady_clock;

struct Stat {
  char state = 0;
  pid_t parent = 0;
};

// comm, the second field, may hold blanks and parentheses: what follows its last ')' is regular.
std::optional<Stat> readStat(pid_t pid) {
  auto text = tryReadFile("/proc/" + std::to_string(pid) + "/stat");
  if (!text) return std::nullopt;
  size_t end = text->rfind(')');
  if (end == std::string::npos) return std::nullopt;
  Stat result;
  std::istringstream fields(text->substr(end + 1));
  fields >> result.state >> result.parent;
  return result;
}

std::string readLink(const std::string& path) {
  char target[4096];
  ssize_t n = readlink(path.c_str(), target, sizeof(target));
  return n < 0 ? "" : std::string(target, n);
}

std::vector<std::string> directoryEntries(const std::string& path) {
  std::vector<std::string> names;
  std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(path.c_str()), closedir);
  if (directory == nullptr) return names;
  while (dirent* entry = readdir(directory.get()))
    names.push_back(entry->d_name);
  return names;
}

// Reads both pipes to their ends, or until the time is over.
bool drain(int outPipe, int errPipe, ProgramResult& result, Clock::time_point deadline) {
  pollfd polled[2] = {{outPipe, POLLIN, 0}, {errPipe, POLLIN, 0}};
  std::string* targets[2] = {&result.out, &result.err};
  while (polled[0].fd >= 0 || polled[1].fd >= 0) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return false;
    if (poll(polled, 2, left.count()) <= 0) continue;
    for (int i = 0; i < 2; ++i) {
      if (polled[i].fd < 0 || polled[i].revents == 0) continue;
      char buffer[65536];
      ssize_t n = read(polled[i].fd, buffer, sizeof(buffer));
      if (n > 0) targets[i]->append(buffer, n);
      if (n == 0 || (n < 0 && errno != EINTR)) polled[i].fd = -1;
    }
  }
  return true;
}

}  // namespace

std::optional<std::string> tryReadFile(const std::string& path) {
  int raw = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (raw < 0) return std::nullopt;
  Fd fd(raw);
  std::string content;
  char buffer[65536];
  for (;;) {
    ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n < 0) return std::nullopt;
    if (n == 0) return content;
    content.append(buffer, n);
  }
}

std::string readFile(const std::string& path) {
  auto content = tryReadFile(path);
  KJ_REQUIRE(content.has_value(), "cannot be read", path.c_str(), strerror(errno));
  return *content;
}

void writeFile(const std::string& path, const std::string& content, mode_t mode) {
  int raw;
  KJ_SYSCALL(raw = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode),
             path.c_str());
  Fd fd(raw);
  KJ_SYSCALL(fchmod(fd, mode));
  writeAll(fd, kj::arrayPtr(reinterpret_cast<const kj::byte*>(content.data()), content.size()));
}

std::vector<std::string> splitLines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);)
    lines.push_back(line);
  return lines;
}

std::chrono::milliseconds patient(std::chrono::milliseconds time) {
  const char* factor = getenv("WARDEN_TEST_PATIENCE");
  return factor == nullptr ? time : time * std::max(1, atoi(factor));
}

bool waitUntil(const std::function<bool()>& condition, std::chrono::milliseconds timeout) {
  auto deadline = Clock::now() + patient(timeout);
  while (!condition()) {
    if (Clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

std::vector<pid_t> allProcesses() {
  std::vector<pid_t> pids;
  for (const auto& name : directoryEntries("/proc")) {
    if (name[0] >= '1' && name[0] <= '9') pids.push_back(atoi(name.c_str()));
  }
  return pids;
}

std::vector<pid_t> descendants(pid_t ancestor) {
  std::multimap<pid_t, pid_t> children;
  for (pid_t pid : allProcesses()) {
    auto stat = readStat(pid);
    if (stat && stat->state != 'Z' && stat->state != 'X') children.emplace(stat->parent, pid);
  }
  std::vector<pid_t> result;
  std::vector<pid_t> todo{ancestor};
  while (!todo.empty()) {
    pid_t parent = todo.back();
    todo.pop_back();
    auto [first, last] = children.equal_range(parent);
    for (auto i = first; i != last; ++i) {
      result.push_back(i->second);
      todo.push_back(i->second);
    }
  }
  return result;
}

std::string statusField(pid_t pid, const std::string& name) {
  auto text = tryReadFile("/proc/" + std::to_string(pid) + "/status");
  if (!text) return "";
  for (const auto& line : splitLines(*text)) {
    if (line.compare(0, name.size() + 1, name + ":") != 0) continue;
    size_t start = line.find_first_not_of(" \t", name.size() + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

std::string executableOf(pid_t pid) {
  std::string target = readLink("/proc/" + std::to_string(pid) + "/exe");
  constexpr char DELETED[] = " (deleted)";
  size_t tail = target.rfind(DELETED);
  if (tail != std::string::npos && tail + strlen(DELETED) == target.size()) target.resize(tail);
  return target;
}

bool runsProgram(pid_t pid, const std::string& program) {
  struct stat running, wanted;
  return stat(("/proc/" + std::to_string(pid) + "/exe").c_str(), &running) == 0 &&
         stat(program.c_str(), &wanted) == 0 && running.st_dev == wanted.st_dev &&
         running.st_ino == wanted.st_ino;
}

bool isAlive(pid_t pid) {
  auto stat = readStat(pid);
  return stat && stat->state != 'Z' && stat->state != 'X';
}

std::vector<std::string> openDescriptors(pid_t pid) {
  std::vector<std::string> result;
  std::string directory = "/proc/" + std::to_string(pid) + "/fd";
  for (const auto& name : directoryEntries(directory)) {
    if (name[0] == '.') continue;
    std::string target = readLink(directory + "/" + name);
    size_t inode = target.find(":[");
    if (inode != std::string::npos) target.resize(inode);
    // Of the process itself: the same after a restart.
    std::string own = "/proc/" + std::to_string(pid) + "/";
    if (target.compare(0, own.size(), own) == 0) target.replace(0, own.size(), "/proc/self/");
    result.push_back(target);
  }
  std::sort(result.begin(), result.end());
  return result;
}

std::map<int, std::string> descriptorTable(pid_t pid) {
  std::map<int, std::string> result;
  std::string directory = "/proc/" + std::to_string(pid) + "/fd";
  for (const auto& name : directoryEntries(directory)) {
    if (name[0] == '.') continue;
    std::string target = readLink(directory + "/" + name);
    // Empty: closed since the directory was read.
    if (!target.empty()) result[atoi(name.c_str())] = target;
  }
  return result;
}

ProgramResult runProgram(const std::vector<std::string>& arguments, std::chrono::seconds timeout) {
  std::vector<char*> argv;
  for (const auto& argument : arguments)
    argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  Pipe out = makePipe();
  Pipe err = makePipe();

  pid_t child;
  KJ_SYSCALL(child = fork());
  if (child == 0) {
    int null = open("/dev/null", O_RDONLY);
    if (dup2(null, 0) < 0 || dup2(out.writeEnd, 1) < 0 || dup2(err.writeEnd, 2) < 0) _exit(127);
    execv(argv[0], argv.data());
    _exit(127);
  }
  out.writeEnd = nullptr;
  err.writeEnd = nullptr;

  ProgramResult result;
  bool ended = drain(out.readEnd, err.readEnd, result, Clock::now() + patient(timeout));
  if (!ended) kill(child, SIGKILL);
  int status;
  KJ_SYSCALL(waitpid(child, &status, 0));
  KJ_REQUIRE(ended, "program did not end in time", arguments[0].c_str(), result.out.c_str(),
             result.err.c_str());
  result.exitStatus = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace warden::test
