#pragma once
// What the frontend works with: descriptors that the helper has opened. They are arguments where
// the helper has started it, or come by the helper's socket where it is a service of its own.

#include <unistd.h>

#include <string>

namespace warden::frontend {

struct HandedOver {
  // Numbers of open descriptors; -1: none.
  int helperFd = -1;
  int listenFd = -1;
  int configFd = -1;
  int imageFd = -1;
  int depotFd = -1;
  int auditFd = -1;
  int logFd = STDERR_FILENO;
  int healthFd = -1;  // none where there is no health_check_server.port
  std::string configName = "the configuration";

  void requireAll() const;
  // Throws where one is missing.
};

HandedOver receiveHandover(const std::string& path);
// Connects to the helper's socket and waits until the helper has time (schema/privhelper.capnp,
// Handover). Throws when there is no such socket, or whoever listens is not root: a socket that
// another user has put there, or that a link leads to, gets nothing from the frontend.

}  // namespace warden::frontend
