// warden-frontend: serves clients. Started by the helper, with descriptors for all that it may
// touch.

#include <errno.h>
#include <fcntl.h>
#include <google/protobuf/stubs/logging.h>
#include <kj/async-unix.h>
#include <kj/debug.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <set>

#include "base/config.h"
#include "base/fd.h"
#include "base/service-manager.h"
#include "frontend/core.h"
#include "frontend/edge-server.h"
#include "frontend/handover.h"
#include "frontend/log.h"
#include "frontend/metrics.h"
#include "frontend/request-audit.h"
#include "frontend/sandbox.h"

namespace warden::frontend {

namespace {

// The event loop looks for input at least this often, however much there is to do already.
constexpr uint EVENTS_PER_POLL = 64;

// What is left to this process when the helper has gone.
constexpr auto FAREWELL_TIME = 20 * kj::MILLISECONDS;

constexpr size_t MAX_HOST_FILE_BYTES = 64 * 1024;

void defineOptions(CLI::App& app, HandedOver& options, std::string& helper) {
  auto* connect =
      app.add_option("--connect", helper, "the helper's socket, from which all the others come");
  auto descriptor = [&app, connect](const char* name, int& target, const char* help) {
    return app.add_option(name, target, help)->check(CLI::Range(0, 1 << 20))->excludes(connect);
  };
  descriptor("--helper-fd", options.helperFd, "connection to the helper");
  descriptor("--listen-fd", options.listenFd, "listening client socket");
  descriptor("--config-fd", options.configFd, "open configuration file");
  descriptor("--image-fd", options.imageFd, "directory server.container_rootfs_path");
  descriptor("--depot-fd", options.depotFd, "directory server.container_depot_path");
  descriptor("--audit-fd", options.auditFd, "connection for the audit trail");
  descriptor("--log-fd", options.logFd, "open log file; else stderr");
  descriptor("--health-fd", options.healthFd, "listening socket of health_check_server.port");
  app.add_option("--config-name", options.configName, "path of the configuration, for messages");
}

// Takes the descriptor that the helper passed under this number.
Fd adopt(int fd) {
  KJ_SYSCALL(fcntl(fd, F_SETFD, FD_CLOEXEC), fd);
  return Fd(fd);
}

// Whatever else was inherited is not ours to use.
void closeOthers(const HandedOver& options) {
  std::set<unsigned> kept{0, 1, 2};
  for (int fd : {options.helperFd, options.listenFd, options.configFd, options.imageFd,
                 options.depotFd, options.auditFd, options.logFd, options.healthFd}) {
    if (fd >= 0) kept.insert(fd);
  }
  unsigned first = 0;
  for (unsigned fd : kept) {
    if (fd > first) {
      KJ_SYSCALL(syscall(SYS_close_range, first, fd - 1, 0));
    }
    first = fd + 1;
  }
  KJ_SYSCALL(syscall(SYS_close_range, first, ~0u, 0));
}

// Returns the limit in force: the highest that is allowed.
rlim_t raiseDescriptorLimit() {
  rlimit limit;
  KJ_SYSCALL(getrlimit(RLIMIT_NOFILE, &limit));
  limit.rlim_cur = limit.rlim_max;
  KJ_SYSCALL(setrlimit(RLIMIT_NOFILE, &limit));
  return limit.rlim_cur;
}

// What the process has open besides connections, containers and jobs, and opens for a moment.
constexpr rlim_t OWN_DESCRIPTORS = 64;

// Enough for a container or two.
constexpr rlim_t LEAST_DESCRIPTORS = OWN_DESCRIPTORS + 64;

// Clients may use three quarters of the descriptors that the process does not need for itself;
// containers and jobs need the others.
EdgeServer::Options edgeOptions(const Config& config, rlim_t descriptors, spdlog::logger& log) {
  rlim_t most = std::max<rlim_t>((descriptors - OWN_DESCRIPTORS) / 4 * 3, 1);
  uint32_t connections = config.frontend.maxConnections;
  if (connections > most) {
    log.warn("frontend.max_connections is {}, but the limit on descriptors allows {}", connections,
             most);
    connections = most;
  }
  return {connections, config.frontend.maxRequestBytes};
}

// Empty where it cannot be read.
std::string readHostFile(const char* path, spdlog::logger& log) {
  int raw = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (raw < 0) {
    log.warn("{}: {}", path, strerror(errno));
    return "";
  }
  Fd file(raw);
  std::string text;
  KJ_IF_MAYBE (problem, kj::runCatchingExceptions([&]() {
                 auto bytes = readAll(file, MAX_HOST_FILE_BYTES);
                 text.assign(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
               })) {
    log.warn("{}: {}", path, problem->getDescription().cStr());
  }
  return text;
}

HostFacts readHostFacts(spdlog::logger& log) {
  return {readHostFile("/etc/resolv.conf", log),
          readHostFile("/proc/sys/net/ipv4/ip_local_port_range", log)};
}

kj::Promise<int> whenAsked(kj::UnixEventPort& port) {
  auto name = [](siginfo_t info) { return info.si_signo; };
  return port.onSignal(SIGTERM).then(name).exclusiveJoin(
      port.onSignal(SIGINT).then(name).exclusiveJoin(port.onSignal(SIGUSR2).then(name)));
}

kj::Promise<void> drainWhenAsked(kj::UnixEventPort& port, EdgeServer& edge, Core& core,
                                 spdlog::logger& log) {
  return whenAsked(port)
      .then([&edge, &core, &log](int signal) {
        log.info("signal {}: draining {} connections", signal, edge.connectionCount());
        core.prepareToDrain();
        return edge.drain();
      })
      .then([&core]() { return core.shutdown(); });
}

// Requests that wait for the helper fail with it, and who sent them is to be told. It takes next to
// no time, and may not take longer: a successor finds containers as this process leaves them.
kj::Promise<void> runCore(kj::Timer& timer, Core& core, EdgeServer& edge) {
  return core.run().catch_([&timer, &edge](kj::Exception&& reason) {
    auto told = edge.isDraining() ? kj::Promise<void>(kj::NEVER_DONE) : edge.drain();
    return told.exclusiveJoin(timer.afterDelay(FAREWELL_TIME))
        .then([reason = kj::mv(reason)]() mutable -> kj::Promise<void> { return kj::mv(reason); });
  });
}

// Accepting ends when the server drains; only its failing ends the process.
kj::Promise<void> accept(EdgeServer& edge) {
  return edge.run().then([]() -> kj::Promise<void> { return kj::NEVER_DONE; });
}

// Also while the server drains.
kj::Promise<void> answerHealthChecks(kj::Maybe<HealthServer>& server) {
  KJ_IF_MAYBE (health, server) {
    return health->run();
  }
  return kj::NEVER_DONE;
}

void warnOfKeysWithoutEffect(const Config& config, spdlog::logger& log) {
  if (!config.server.allowNestedWarden) return;
  log.warn(
      "server.allow_nested_warden has no effect: no container can make namespaces or mounts, so "
      "that no server runs in one; take the key out");
}

void serve(const HandedOver& options, const Config& config, spdlog::logger& log) {
  warnOfKeysWithoutEffect(config, log);
  rlim_t descriptors = raiseDescriptorLimit();
  KJ_REQUIRE(descriptors >= LEAST_DESCRIPTORS, "the limit on open files is too low; raise it",
             descriptors);
  EdgeServer::Options limits = edgeOptions(config, descriptors, log);
  rlim_t taken = limits.maxConnections + OWN_DESCRIPTORS;
  // Signals are blocked before anything can wait for them.
  for (int signal : {SIGTERM, SIGINT, SIGUSR2})
    kj::UnixEventPort::captureSignal(signal);
  ::signal(SIGPIPE, SIG_IGN);
  kj::UnixEventPort port;
  kj::EventLoop loop(port);
  kj::WaitScope scope(loop);
  scope.setBusyPollInterval(EVENTS_PER_POLL);

  Core core(port, port.getTimer(), config, adopt(options.helperFd), adopt(options.imageFd),
            readHostFacts(log), descriptors - taken);
  RequestAudit audited(port, port.getTimer(), adopt(options.auditFd), core,
                       config.audit.recordReads);
  EdgeServer edge(port, adopt(options.listenFd), audited, limits, log);

  kj::Maybe<Metrics> metrics;
  kj::Maybe<HealthServer> health;
  if (options.healthFd >= 0) {
    auto& figures = metrics.emplace(core, edge, descriptors);
    health.emplace(port, adopt(options.healthFd), figures, log);
  }

  ServiceManager manager = ServiceManager::fromEnvironment();
  Fd depot = adopt(options.depotFd);
  SandboxReport sandbox = enterSandbox({.depot = depot, .image = options.imageFd});
  depot = nullptr;
  manager.ready();
  log.info("serving; {}", sandbox.landlockVersion == 0
                              ? "this kernel has no Landlock"
                              : fmt::format("Landlock version {}", sandbox.landlockVersion));

  runCore(port.getTimer(), core, edge)
      .exclusiveJoin(accept(edge))
      .exclusiveJoin(answerHealthChecks(health))
      .exclusiveJoin(drainWhenAsked(port, edge, core, log))
      .wait(scope);
  log.info("drained");
}

// Before the log is open, errors go to stderr; then to the log, one line each.
int run(const HandedOver& options) {
  closeOthers(options);
  Config config =
      parseConfig(readConfigFile(adopt(options.configFd), options.configName), options.configName);
  KJ_SYSCALL(fcntl(options.logFd, F_SETFD, FD_CLOEXEC), "log");
  auto log = makeLogger(config.logging, options.logFd);
  spdlog::set_default_logger(log);
  KjLog kjLog(*log);
  // What clients send malformed is no news.
  google::protobuf::SetLogHandler(nullptr);
  try {
    serve(options, config, *log);
    return 0;
  } catch (const kj::Exception& e) {
    if (e.getType() == kj::Exception::Type::DISCONNECTED) {
      log->error("the frontend ends: the helper is lost: {}", e.getDescription().cStr());
    } else {
      log->error("the frontend ends: {}", kj::str(e).cStr());
    }
  } catch (const std::exception& e) {
    log->error("the frontend ends: {}", e.what());
  }
  return 1;
}

}  // namespace

}  // namespace warden::frontend

int main(int argc, char** argv) {
  CLI::App app("Serves warden's clients. Started by warden-privhelper, or by systemd.");
  warden::frontend::HandedOver options;
  std::string helper;
  warden::frontend::defineOptions(app, options, helper);
  CLI11_PARSE(app, argc, argv);
  try {
    if (!helper.empty()) options = warden::frontend::receiveHandover(helper);
    options.requireAll();
    return warden::frontend::run(options);
  } catch (const kj::Exception& e) {
    fprintf(stderr, "warden-frontend: %s\n", kj::str(e.getDescription()).cStr());
  } catch (const std::exception& e) {
    fprintf(stderr, "warden-frontend: %s\n", e.what());
  }
  return 1;
}
