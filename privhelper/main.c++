// warden-privhelper: the privileged helper of warden, and what an operator starts.

#include <fcntl.h>
#include <kj/debug.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "base/privilege.h"
#include "privhelper/apparmor.h"
#include "privhelper/broker.h"
#include "privhelper/cgroup-keeper.h"
#include "privhelper/config-check.h"
#include "privhelper/disk.h"
#include "privhelper/fault-point.h"
#include "privhelper/filters.h"
#include "privhelper/frontend-process.h"
#include "privhelper/frontend-service.h"
#include "privhelper/health-listener.h"
#include "privhelper/porter.h"
#include "privhelper/private-root.h"
#include "privhelper/startup.h"
#include "privhelper/sweeper.h"

namespace warden::privhelper {

namespace {

// Of the broker, with what each is for. docs/SECURITY.md says what an attacker would have with
// them.
constexpr int BROKER_CAPABILITIES[] = {
    CAP_SYS_ADMIN,     // mounts, id-mapped mounts, disk quotas
    CAP_SETUID,        // id maps of more than one extent
    CAP_SETGID,        // likewise
    CAP_CHOWN,         // a container's own layer belongs to its root
    CAP_DAC_OVERRIDE,  // overlayfs acts on that layer with the rights of who mounted it
    CAP_FOWNER,        // likewise
    CAP_FSETID,        // likewise: setgid bits survive a copy-up
    CAP_SETFCAP,       // likewise: file capabilities survive a copy-up
    CAP_MKNOD,         // nodes in /dev, loop devices
    CAP_KILL,          // tells the frontend, another user's process, to end
    CAP_NET_ADMIN,     // interfaces, rules and shaping of containers' networks
};

constexpr int SWEEP_MS = 30000;

Fd blockSignals() {
  // Also for the processes that are forked later, but for those that reset their mask.
  sigset_t mask;
  sigemptyset(&mask);
  for (int signal : {SIGTERM, SIGINT, SIGUSR2, SIGHUP})
    sigaddset(&mask, signal);
  KJ_SYSCALL(sigprocmask(SIG_BLOCK, &mask, nullptr));
  sigdelset(&mask, SIGHUP);  // blocked only: the end of a terminal is not the end of the server
  int fd;
  KJ_SYSCALL(fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  signal(SIGPIPE, SIG_IGN);
  return Fd(fd);
}

template <typename Body>
Pidfd forkProcess(std::initializer_list<int> keep, Body&& body) {
  pid_t pid;
  KJ_SYSCALL(pid = fork());
  if (pid != 0) return Pidfd::open(pid);
  try {
    closeAllExcept(kj::arrayPtr(keep.begin(), keep.size()));
    body();
  } catch (const std::exception& e) {
    dprintf(STDERR_FILENO, "warden-privhelper: %s\n", e.what());
  } catch (const kj::Exception& e) {
    dprintf(STDERR_FILENO, "warden-privhelper: %s\n", e.getDescription().cStr());
  }
  _exit(1);
}

Launcher startLauncher(const Config& config, const Policy& policy) {
  SocketPair pair = makePacketPair();
  int hostRoot;
  KJ_SYSCALL(hostRoot = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  Fd wshdProgram = openProgram(config.privhelper.wshdPath, "warden-wshd");
  LauncherResources resources{
      .broker = kj::mv(pair.right),
      .wshd = sealWshd(wshdProgram),
      .frontend = openProgram(config.privhelper.frontendPath, "warden-frontend"),
      .hostRoot = Fd(hostRoot),
      .frontendUid = policy.frontendUid,
      .frontendGid = policy.frontendGid,
      .profiles = policy.profiles,
  };
  forkProcess({resources.broker, resources.wshd, resources.frontend, resources.hostRoot}, [&] {
    enterLauncherRoot(config.server.containerDepotPath.c_str());
    runLauncher(kj::mv(resources));
  });
  return Launcher(kj::mv(pair.left));
}

Observer startObserver(const Config& config) {
  SocketPair pair = makePacketPair();
  forkProcess({pair.right}, [&] {
    enterObserverRoot(config.server.containerDepotPath.c_str());
    runObserver(kj::mv(pair.right));
  });
  return Observer(kj::mv(pair.left));
}

struct Sweeper {
  Pidfd process;
  Fd wake;
};

Sweeper startSweeper(const Config& config) {
  auto path = kj::str(config.server.containerDepotPath.c_str(), '/', Depot::REMOVED);
  if (mkdir(path.cStr(), 0700) < 0 && errno != EEXIST) KJ_FAIL_SYSCALL("mkdir", errno, path);
  Pipe pipe = makePipe();
  Pidfd process = forkProcess({pipe.readEnd}, [&] {
    enterSweeperRoot(path);
    runSweeper(kj::mv(pipe.readEnd));
  });
  setNonblocking(pipe.writeEnd);
  return {kj::mv(process), kj::mv(pipe.writeEnd)};
}

Porter startPorter() {
  SocketPair pair = makePacketPair();
  forkProcess({pair.right}, [&] {
    enterPorterRoot();
    runPorter(kj::mv(pair.right));
  });
  return Porter(kj::mv(pair.left));
}

kj::Own<DiskBackend> chooseDisk(const Config& config, AuditLog& log) {
  int depot;
  KJ_SYSCALL(
      depot = open(config.server.containerDepotPath.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  auto disk = DiskBackend::choose(config, Fd(depot));
  log.note(kj::str("disk quotas: ", disk->name(), ", because ", disk->reason()));
  return disk;
}

void enterBrokerSandbox(const Config& config, const DiskBackend& disk) {
  enterBrokerRoot(config.server.containerDepotPath.c_str(),
                  config.server.containerRootfsPath.c_str());
  umask(0);  // modes are said explicitly
  limitCapabilities(BROKER_CAPABILITIES);
  setNoNewPrivileges();
  SeccompFilter filter = brokerFilter();
  disk.permit(filter);
  filter.install();
}

bool checkConfig(const std::string& path, bool passedSockets) {
  // True: a server would accept it. Mistakes are told one a line.
  auto mistakes = findMistakes(path, passedSockets);
  for (auto& mistake : mistakes)
    fprintf(stderr, "%s\n", mistake.c_str());
  if (mistakes.empty()) printf("%s: no mistakes\n", path.c_str());
  return mistakes.empty();
}

struct Options {
  std::string config;
  bool checkOnly = false;
  bool systemd = false;
  bool keepCgroup = false;
  std::string delegatedCgroup;
};

void defineOptions(CLI::App& app, Options& options) {
  auto* keep = app.add_flag("--keep-cgroup", options.keepCgroup,
                            "do nothing but keep the cgroup of a unit of systemd");
  app.add_option("--config", options.config, "the configuration file (docs/OPERATING.md)")
      ->excludes(keep);
  app.add_flag("--check-config", options.checkOnly,
               "tell what is wrong with the file, and start nothing");
  app.add_flag("--systemd", options.systemd,
               "the frontend is a unit of its own, and systemd holds the sockets");
  app.add_option("--delegated-cgroup", options.delegatedCgroup,
                 "where containers' cgroups of version 2 are, below the root of the hierarchy");
}

struct Listeners {
  kj::Maybe<ListeningSocket> own;  // made and removed here
  Fd clients;
  kj::Maybe<Fd> frontend;  // it is a service of its own

  Listeners(const Options& options, const Config& config, kj::Vector<PassedDescriptor>& passed) {
    if (options.systemd) {
      ServiceSockets sockets = takeSockets(passed, config);
      clients = kj::mv(sockets.clients);
      frontend = kj::mv(sockets.frontend);
    } else {
      clients = own.emplace(config).takeListener();
    }
  }
};

kj::Own<Frontend> makeFrontend(kj::Maybe<Fd> listener, const Policy& policy, Launcher& launcher,
                               FrontendDescriptors descriptors, const std::string& configPath,
                               AuditLog& log) {
  auto name = kj::str(configPath.c_str());
  KJ_IF_MAYBE (socket, listener) {
    return kj::heap<FrontendService>(kj::mv(*socket), policy.frontendUid, kj::mv(descriptors),
                                     kj::mv(name), log);
  }
  return kj::heap<FrontendProcess>(launcher, kj::mv(descriptors), kj::mv(name), log);
}

bool serve(const Options& options, kj::Vector<PassedDescriptor> passed) {
  // True: ended as told, with nothing left.
  LoadedConfig loaded = loadConfig(options.config);
  const Config& config = loaded.config;
  Policy policy = policyFrom(config, options.config);
  requireAppArmor(policy.profiles);
  armFaults();

  ServiceManager manager = ServiceManager::fromEnvironment();
  Fd signals = blockSignals();
  Fd logFile = openLog(config);
  AuditLog log = openAuditLog(auditOptions(config));
  FrontendDescriptors descriptors{
      .config = kj::mv(loaded.text), .image = openImage(config), .depot = openDepot(config)};
  if (config.logging.file.has_value()) descriptors.log = kj::mv(logFile);

  Fd lock = lockDepot(config);
  Listeners listeners(options, config, passed);
  descriptors.listener = kj::mv(listeners.clients);
  ListenerIdentity listener(descriptors.listener);
  descriptors.health = openHealthListener(config, options.config);
  PidFile pidFile(config);
  Cgroups cgroups("/sys/fs/cgroup", config.privhelper.cgroupParent.c_str(),
                  options.delegatedCgroup.c_str());
  Network network(policy.network, log);
  Launcher launcher = startLauncher(config, policy);
  Sweeper sweeper = startSweeper(config);
  Porter porter = startPorter();
  ClientFacts clients(listener, startObserver(config));

  raiseDescriptorLimit(policy);
  kj::Own<DiskBackend> disk = chooseDisk(config, log);
  enterBrokerSandbox(config, *disk);
  bool clean;
  {
    KeptProcesses kept(manager, kj::mv(passed));
    Depot depot(DEPOT_PATH, *disk, kj::mv(sweeper.wake));
    auto frontend = makeFrontend(kj::mv(listeners.frontend), policy, launcher, kj::mv(descriptors),
                                 options.config, log);
    try {
      clean = Broker(ContainerHost{policy, cgroups, depot, launcher, network, kept}, log, *frontend,
                     listener, clients, kj::mv(signals), sweeper.process, porter)
                  .run(manager);
    } catch (const kj::Exception& e) {
      log.note(kj::str("ending, because ", e.getDescription()));
      throw;
    }
  }
  // With its pipe closed, the sweeper removes what is left and ends; what it does not manage in
  // time is removed at the next start.
  return sweeper.process.waitExit(SWEEP_MS) && clean;
}

int start(const Options& options) {
  kj::Vector<PassedDescriptor> passed;
  if (options.systemd && !options.checkOnly) passed = takePassedDescriptors();
  auto kept = KJ_MAP(entry, passed) {
    return entry.fd.get();
  };
  // What whoever started it left open is nothing to the server, and would live as long as it does.
  closeAllExcept(kept);
  if (options.keepCgroup) keepCgroup();
  KJ_REQUIRE(!options.config.empty(), "--config is required");
  bool well = options.checkOnly ? checkConfig(options.config, options.systemd)
                                : serve(options, kj::mv(passed));
  return well ? 0 : 1;
}

}  // namespace

}  // namespace warden::privhelper

int main(int argc, char** argv) {
  CLI::App app("The privileged helper of the container server warden, and the server's start.");
  warden::privhelper::Options options;
  warden::privhelper::defineOptions(app, options);
  CLI11_PARSE(app, argc, argv);
  try {
    return warden::privhelper::start(options);
  } catch (const std::exception& e) {
    fprintf(stderr, "warden-privhelper: %s\n", e.what());
  } catch (const kj::Exception& e) {
    fprintf(stderr, "warden-privhelper: %s\n", e.getDescription().cStr());
  }
  return 1;
}
