#pragma once
// The command `warden` as a process, with a server of the test's own.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "client-test-server.h"

namespace warden::client {

struct Result {
  int status = -1;  // exit status, or 128 + signal
  std::string out;
  std::string err;
};

inline std::string drain(int fd) {
  auto bytes = readAll(fd, 1 << 28);
  return std::string(bytes.asChars().begin(), bytes.size());
}

// A descriptor that is negative is closed.
inline pid_t start(std::vector<std::string> arguments, int in, int out, int err) {
  arguments.insert(arguments.begin(), WARDEN_COMMAND);
  std::vector<char*> argv;
  for (auto& argument : arguments)
    argv.push_back(argument.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  int number = 0;
  for (int fd : {in, out, err}) {
    if (fd >= 0) {
      posix_spawn_file_actions_adddup2(&actions, fd, number);
    } else {
      posix_spawn_file_actions_addclose(&actions, number);
    }
    ++number;
  }
  pid_t pid = -1;
  EXPECT_EQ(posix_spawn(&pid, WARDEN_COMMAND, &actions, nullptr, argv.data(), environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

inline int waitFor(pid_t pid) {
  int status;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

inline Result runCommand(std::vector<std::string> arguments, const std::string& input = "") {
  Pipe out = makePipe(), err = makePipe();
  kj::ArrayPtr<const char> bytes(input.data(), input.size());
  Fd in = makeSealedMemfd("input", bytes.asBytes());
  pid_t pid = start(std::move(arguments), in, out.writeEnd, err.writeEnd);
  out.writeEnd = nullptr;
  err.writeEnd = nullptr;
  Result result;
  std::thread errors([&] { result.err = drain(err.readEnd); });
  result.out = drain(out.readEnd);
  errors.join();
  result.status = waitFor(pid);
  return result;
}

inline Result runWith(std::function<void(Peer&)> script, std::vector<std::string> arguments,
                      const std::string& input = "") {
  TestServer server(std::move(script));
  arguments.insert(arguments.begin(), {"--socket", server.path()});
  return runCommand(std::move(arguments), input);
}

}  // namespace warden::client
