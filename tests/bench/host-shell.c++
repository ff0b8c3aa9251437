// warden-bench-host-shell: what a job costs without any container: the same shell, started on the
// host by posix_spawn(3) (which does not copy the caller's memory), with the same script on its
// stdin, pipes for stdout and stderr, both read to their end, and waited for. Other runtimes'
// commands are timed in the same way.

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "tests/bench/statistics.h"

namespace {

using namespace warden::bench;

[[noreturn]] void die(const char* what) {
  perror(what);
  exit(1);
}

void drain(int fd) {
  char buffer[4096];
  while (read(fd, buffer, sizeof(buffer)) > 0) {
  }
  close(fd);
}

int makeScript(const std::string& text) {
  int fd = memfd_create("script", MFD_CLOEXEC);
  if (fd < 0 || write(fd, text.data(), text.size()) < 0) die("memfd_create");
  lseek(fd, 0, SEEK_SET);
  return fd;
}

void runOnce(char** command, char** environment, const std::string& script) {
  int in = makeScript(script);
  int out[2], err[2];
  if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) die("pipe2");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err[1], 2);
  pid_t pid;
  if (posix_spawn(&pid, command[0], &actions, nullptr, command + 1, environment) != 0) {
    die(command[0]);
  }
  posix_spawn_file_actions_destroy(&actions);
  close(in);
  close(out[1]);
  close(err[1]);
  drain(out[0]);
  drain(err[0]);
  int status;
  if (waitpid(pid, &status, 0) != pid) die("waitpid");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    fprintf(stderr, "%s failed with wait status %d\n", command[0], status);
    exit(1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Time of starting a shell on the host, with a script on stdin, until it has ended");
  std::string shell = "/bin/sh", name = "sh", script = "true", label = "host_shell";
  std::vector<std::string> arguments;
  int iterations = 1000;
  app.add_option("--shell", shell, "the program to run");
  app.add_option("--name", name, "its argv[0]: which applet a busybox is");
  app.add_option("--script", script);
  app.add_option("--label", label, "the name of the result");
  app.add_option("arguments", arguments, "further arguments of the program, after --");
  app.add_option("--iterations", iterations)->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);

  char path[] = "PATH=/bin:/sbin:/usr/bin:/usr/sbin";
  char* environment[] = {path, nullptr};
  std::vector<char*> command = {shell.data(), name.data()};
  for (auto& argument : arguments)
    command.push_back(argument.data());
  command.push_back(nullptr);
  for (int i = 0; i < 20; ++i)
    runOnce(command.data(), environment, script);
  Series series;
  for (int i = 0; i < iterations; ++i) {
    double start = nowUs();
    runOnce(command.data(), environment, script);
    series.add(nowUs() - start);
  }
  Results results;
  results.add(label, series);
  fputs(results.json().c_str(), stdout);
}
