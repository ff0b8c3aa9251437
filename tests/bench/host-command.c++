#include "tests/bench/host-command.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace warden::bench {

namespace {

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

}  // namespace

HostCommand::HostCommand(std::string program, std::string name, std::string script,
                         std::vector<std::string> arguments)
    : program(std::move(program)),
      name(std::move(name)),
      script(std::move(script)),
      arguments(std::move(arguments)) {}

void HostCommand::run() {
  char path[] = "PATH=/bin:/sbin:/usr/bin:/usr/sbin";
  char* environment[] = {path, nullptr};
  std::vector<char*> argv = {name.data()};
  for (auto& argument : arguments)
    argv.push_back(argument.data());
  argv.push_back(nullptr);

  int in = makeScript(script);
  int out[2], err[2];
  if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) die("pipe2");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err[1], 2);
  pid_t pid;
  if (posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environment) != 0) {
    die(program.c_str());
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
    fprintf(stderr, "%s failed with wait status %d\n", program.c_str(), status);
    exit(1);
  }
}

}  // namespace warden::bench
