#pragma once
// The launcher: the only process of the helper that clones or executes anything. It lives in a
// mount namespace with nothing in it, holds the two programs it may execute (wshd, the frontend)
// open, and takes its orders from the broker alone.

#include <kj/array.h>
#include <linux/filter.h>

#include "base/fd.h"
#include "base/packet.h"
#include "base/pidfd.h"
#include "privhelper/policy.h"

namespace warden::privhelper {

struct LauncherResources {
  Fd broker;    // connection to the broker; the launcher ends with it
  Fd wshd;      // sealed memfd
  Fd frontend;  // the frontend's program
  Fd hostRoot;  // "/" of the host, for the frontend: its libraries have names there
  uid_t frontendUid;
  gid_t frontendGid;
  std::vector<Profile> profiles;  // of containers
};

[[noreturn]] void runLauncher(LauncherResources resources);
// In a process of its own that has entered the launcher's root. Gives up all capabilities but a few
// and installs the filter, then serves.

class Launcher {
  // The broker's side.

 public:
  explicit Launcher(Fd connection) : connection(kj::mv(connection)) {}

  int fd() const { return connection; }
  // Readable outside of a request: the launcher has ended. -1: it did not answer in time, or ended
  // during a request.

  void requestLaunch(int setup, kj::Maybe<int> cgroup, uint32_t profile);
  Pidfd awaitLaunch();
  // In two halves, so that the broker works on while the kernel makes the namespaces. `profile`:
  // its place in LauncherResources::profiles. Throws StepError.

  Pidfd holdUserNamespace();
  // A process that does nothing, in a new user namespace without a map.

  Pidfd startFrontend(kj::ArrayPtr<const kj::String> arguments,
                      kj::ArrayPtr<const kj::String> environment, kj::ArrayPtr<const int> fds);

 private:
  Fd connection;

  Pidfd awaitStarted();
  Packet awaitAnswer();
};

}  // namespace warden::privhelper
