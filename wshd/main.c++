// warden-wshd: process 1 of a container. Starts jobs for the frontend, reports how they ended, and
// reaps what is left behind.

#include <unistd.h>

#include <exception>

#include "wshd/init.h"
#include "wshd/server.h"

int main(int argc, char** argv) {
  using namespace warden;
  hideFromContainer();
  // The library's own handler prints a stack trace, for which KJ runs a program.
  std::set_terminate([] { _exit(FATAL_EXCEPTION); });
  InitState init = becomeInit();
  readArguments(argc, argv, init);
  Server server(Fd(CONNECTION_FD), Fd(LISTENER_FD), watchChildren(), init);
  server.run();
}
