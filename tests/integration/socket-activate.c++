// warden-socket-activate --config FILE: starts the helper as systemd does (sd_listen_fds(3)), in
// this very process: with listening sockets, and with what its descriptor store holds.
//
//   $WARDEN_TEST_CLIENTS, $WARDEN_TEST_FRONTEND  paths of the sockets
//   $WARDEN_TEST_STORE                           "ID PID": a pidfd of that process under the
//                                                container's id; "ID 0": what is no pidfd

#include <fcntl.h>
#include <kj/debug.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <sstream>
#include <string>

#include "base/unix-address.h"

namespace {

constexpr int FIRST_PASSED = 3;

// As in warden-privhelper.socket.
constexpr int BACKLOG = 2;

std::string variable(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

int listenOn(const std::string& path, int type) {
  int fd;
  KJ_SYSCALL(fd = socket(AF_UNIX, type, 0));
  warden::UnixAddress address(path);
  unlink(path.c_str());
  KJ_SYSCALL(bind(fd, address.get(), address.size()));
  KJ_SYSCALL(chmod(path.c_str(), 0666));
  KJ_SYSCALL(listen(fd, BACKLOG));
  return fd;
}

int storedDescriptor(pid_t pid) {
  int fd;
  if (pid == 0) {
    KJ_SYSCALL(fd = open("/dev/null", O_RDONLY));
  } else {
    KJ_SYSCALL(fd = syscall(SYS_pidfd_open, pid, 0));
  }
  return fd;
}

void pass(int fd, int number) {
  if (fd != number) {
    KJ_SYSCALL(dup2(fd, number));
  }
  KJ_SYSCALL(fcntl(number, F_SETFD, 0));
}

}  // namespace

int main(int, char** argv) {
  closefrom(FIRST_PASSED);
  pass(listenOn(variable("WARDEN_TEST_CLIENTS"), SOCK_STREAM), FIRST_PASSED);
  // It has its name when one can connect.
  std::string frontend = variable("WARDEN_TEST_FRONTEND"), unnamed = frontend + ".new";
  pass(listenOn(unnamed, SOCK_SEQPACKET), FIRST_PASSED + 1);
  KJ_SYSCALL(rename(unnamed.c_str(), frontend.c_str()));
  std::string names = "clients:frontend";
  int count = 2;
  std::istringstream store(variable("WARDEN_TEST_STORE"));
  std::string id;
  pid_t pid;
  if (store >> id >> pid) {
    pass(storedDescriptor(pid), FIRST_PASSED + count++);
    names += ":" + id;
  }
  setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
  setenv("LISTEN_FDS", std::to_string(count).c_str(), 1);
  setenv("LISTEN_FDNAMES", names.c_str(), 1);
  KJ_REQUIRE(std::string(argv[1]) == "--config");
  KJ_SYSCALL(execl(WARDEN_BIN_DIR "/warden-privhelper", "warden-privhelper", "--systemd",
                   "--config", argv[2], nullptr));
}
