#pragma once
// A whole server for a test: own directory, socket, depot, cgroup, host ids, network namespace; the
// real programs.

#include <signal.h>
#include <sys/types.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/network-namespace.h"
#include "tests/support/test-client.h"

namespace warden::test {

constexpr char CGROUP_PREFIX[] = "warden-test-";
// Of every test server's privhelper.cgroup_parent; the test's pid follows.

constexpr char DIRECTORY_PREFIX[] = "warden-test-";
// Of every test server's directory, below testDirectory(); the test's pid follows.

std::string testDirectory();
// $WARDEN_TEST_DIR, or /var/tmp.

struct ServerOptions {
  std::map<std::string, std::string> config;
  // "section.key" -> value as YAML text ("{nofile: 64}" for a mapping); overrides the defaults. An
  // empty value leaves the key out.

  std::string image;  // server.container_rootfs_path; empty: busyboxImage()
  std::string helper = WARDEN_BIN_DIR "/warden-privhelper";
  std::map<std::string, std::string> environment;  // of the helper, besides the test's own
  uint32_t slots = 16;                             // user.pool_size; at most 1024
  uint32_t descriptors = 0;
  // The hard limit on open files, which the server does not raise; 0: the test's own.
  std::shared_ptr<NetworkNamespace> network;
  // Where the server runs; none: a fresh one, which is not connected with anything.
  std::string resolvConf;
  // What the server finds in /etc/resolv.conf, by a mount in a namespace of its own; empty: the
  // machine's.
  std::string systemLog;
  // A socket file that the server finds as /dev/log, likewise; empty: the machine's.
};

class TestServer {
  // Not started by its constructor. The destructor ends every process and removes the directory;
  // what a test wants to know about the end it asks stop() and remains() for.

 public:
  explicit TestServer(ServerOptions options = {});
  ~TestServer() noexcept(false);
  KJ_DISALLOW_COPY(TestServer);

  void start();
  // Starts the helper and waits until the socket answers a ping.

  pid_t launch();
  // Starts the helper and does not wait.

  void waitUntilServing(std::chrono::milliseconds timeout = std::chrono::seconds(15));

  int stop(int signal = SIGTERM, std::chrono::milliseconds timeout = std::chrono::seconds(30));
  // Sends the signal to the started process and waits for its end; containers live on. Returns the
  // exit status, 128 + N when ended by signal N. Throws when it has not ended in time.

  int waitForExit(std::chrono::milliseconds timeout = std::chrono::seconds(30));

  void setEnvironment(const std::string& name, const std::string& value);
  // Of the helpers that are started from here on; an empty value leaves the variable out.

  void replaceFrontend(int signal = SIGKILL);
  // Sends the signal to the frontend, and waits until another one serves.

  void killHelper();
  // SIGKILL to the started process, and waits until the frontend has ended as well.

  void kill9();
  // SIGKILL to helper and frontend, all processes at once; wshd and jobs are not signalled.

  TestClient connect() const { return TestClient(socketPath()); }
  TestClient connectAs(uid_t user, const std::vector<gid_t>& groups = {}) const;
  // Of another user, as the kernel attests; the socket must let it.

  // --- processes
  pid_t brokerPid() const { return broker; }  // the started one
  std::vector<pid_t> helperPids() const;  // broker, launcher, porter, sweeper, observer; workers
  pid_t helperPid(
      const std::string& role) const;  // "porter", "sweeper", "observer"; -1: there is none
  pid_t frontendPid() const;           // throws when there is none
  std::optional<pid_t> findFrontend() const;
  pid_t launcherPid() const;  // the frontend's parent
  pid_t wshdPid(const std::string& id) const;
  // As <depot>/<id>/run/wshd.pid says; throws where that is not there.
  std::optional<pid_t> findWshd(const std::string& id) const;
  std::vector<pid_t> ourProcesses() const;
  // Everything that was started by this server and lives: told by descent, by the host ids of its
  // containers, by its cgroups and by its environment.

  // --- network
  const NetworkNamespace& network() const { return *options.network; }

  template <typename Function>
  auto inNetwork(Function&& function) const {
    // Calls it with this thread in the server's network namespace.
    return options.network->in(kj::fwd<Function>(function));
  }

  // --- facts
  std::string directory() const { return path; }
  std::string socketPath() const { return path + "/warden.sock"; }
  std::string depotPath() const { return path + "/depot"; }
  std::string logPath() const { return path + "/warden.log"; }
  std::string configPath() const { return path + "/warden.yml"; }
  std::string imagePath() const { return options.image; }
  std::string cgroupParent() const { return cgroup; }
  uint32_t idRangeStart() const { return idRange; }
  uint32_t poolStartUid() const { return uidPool; }
  uint32_t slots() const { return options.slots; }
  bool hasFewDescriptors() const { return options.descriptors > 0; }
  std::string logs() const;
  // The log file, and what the processes wrote to stdout and stderr.

  std::vector<std::string> cgroups() const;
  // Directories of this server, in all hierarchies.

  std::vector<std::string> depotEntries() const;
  // Of containers, and of removed ones that are still being swept: "ID", ".trash/...".

  std::vector<std::string> remains() const;
  // What a server that has stopped should not have left: processes, cgroups, depot entries, mounts,
  // interfaces, shaping, tables. Empty: nothing.

 private:
  ServerOptions options;
  std::string path;
  std::string cgroup;
  uint32_t idRange;
  uint32_t uidPool;
  std::vector<Fd> rangeHolders;  // as long as they are open, no other test server has these ids
  pid_t broker = -1;
  Fd mountNamespace;  // that the server starts in; none: the test's own

  void writeConfig();
  void makeMounts();
  bool belongsToUs(pid_t pid) const;
  void spareFirstProcesses(std::vector<pid_t>& stopped) const;
  uint32_t heldSlots() const;
  void reapOrphans() const;
  void removeCgroups();
};

}  // namespace warden::test
