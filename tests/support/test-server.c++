#include "tests/support/test-server.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <thread>

#include "base/unix-address.h"
#include "tests/support/mount-namespace.h"
#include "tests/support/process.h"
#include "tests/support/test-image.h"

namespace warden::test {

namespace fs = std::filesystem;

namespace {

constexpr uint32_t IDS_PER_SLOT = 65536;
constexpr uint32_t SLOTS_PER_RANGE = 256;
constexpr uint32_t MOST_SLOTS = 4 * SLOTS_PER_RANGE;
// Of SLOTS_PER_RANGE containers each; the ids that a configuration without them has stay free.
constexpr uint32_t RANGES = 90;
constexpr char MARK[] = "WARDEN_TEST_INSTANCE";

// Different for servers that live at the same time, also in other test programs.
uint32_t nextInstance() {
  static std::atomic<uint32_t> counter{0};
  return getpid() * 16 + counter++ % 16;
}

std::string makeDirectory() {
  std::string pattern =
      testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) KJ_FAIL_SYSCALL("mkdtemp", errno, pattern.c_str());
  fs::permissions(pattern, fs::perms(0755));
  fs::create_directory(pattern + "/depot");
  return pattern;
}

constexpr uint32_t firstIdOf(uint32_t range) {
  return 0x10000000 + range * SLOTS_PER_RANGE * IDS_PER_SLOT;
}

bool isLivedIn(uint32_t range) {
  for (pid_t pid : allProcesses()) {
    std::istringstream uids(statusField(pid, "Uid"));
    uint64_t uid = 0;
    uids >> uid;
    if (uid >= firstIdOf(range) && uid < firstIdOf(range + 1)) return true;
  }
  return false;
}

// Holds a range of host ids that no other test server has, also of another test program: what has
// an id of the range is taken for this server's, and killed. A name is held by a socket, which is
// gone with its process.
// None: it is another's.
std::optional<Fd> tryToHold(uint32_t range) {
  int raw;
  KJ_SYSCALL(raw = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Fd fd(raw);
  auto address = UnixAddress::notify("@warden-test-range-" + std::to_string(range));
  if (bind(fd, address.get(), address.size()) == 0) {
    // Containers of a test that was killed live on.
    if (isLivedIn(range)) return std::nullopt;
    return kj::mv(fd);
  }
  KJ_REQUIRE(errno == EADDRINUSE, strerror(errno));
  return std::nullopt;
}

// So many in a row; `range` is the first.
std::vector<Fd> holdRanges(uint32_t& range, uint32_t first, uint32_t count) {
  for (uint32_t i = 0; i < RANGES; ++i) {
    range = (first + i) % RANGES;
    std::vector<Fd> held;
    while (held.size() < count && range + held.size() < RANGES) {
      auto one = tryToHold(range + held.size());
      if (!one) break;
      held.push_back(kj::mv(*one));
    }
    if (held.size() == count) return held;
  }
  KJ_FAIL_REQUIRE("too many test servers at a time");
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

int exitStatusOf(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

std::string testDirectory() {
  const char* chosen = getenv("WARDEN_TEST_DIR");
  return chosen == nullptr ? "/var/tmp" : chosen;
}

TestServer::TestServer(ServerOptions optionsParam) : options(kj::mv(optionsParam)) {
  KJ_REQUIRE(geteuid() == 0, "these tests need root: they start a container server");
  KJ_REQUIRE(options.slots <= MOST_SLOTS);
  // Processes whose parent is killed become children of the test, so that none gets lost.
  KJ_SYSCALL(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
  if (options.image.empty()) options.image = busyboxImage();
  if (options.network == nullptr) {
    options.network = std::make_shared<NetworkNamespace>(NetworkNamespace::make());
  }
  path = makeDirectory();
  uint32_t instance = nextInstance();
  cgroup = CGROUP_PREFIX + std::to_string(getpid()) + "-" + std::to_string(instance % 16);
  uint32_t range;
  rangeHolders = holdRanges(range, instance, heldSlots() / SLOTS_PER_RANGE);
  idRange = firstIdOf(range);
  uidPool = 20000 + range * SLOTS_PER_RANGE;
  writeConfig();
}

TestServer::~TestServer() noexcept(false) {
  if (broker > 0 && isAlive(broker)) {
    kill(broker, SIGTERM);
    if (!waitUntil([&]() { return !isAlive(broker); })) std::cerr << "the server did not stop\n";
  }
  waitUntil([&]() {
    for (pid_t pid : ourProcesses())
      kill(pid, SIGKILL);
    reapOrphans();
    return ourProcesses().empty();
  });
  if (broker > 0) waitpid(broker, nullptr, WNOHANG);
  removeCgroups();
  runProgram({"/bin/rm", "-rf", "--one-file-system", "--", path});
}

void TestServer::writeConfig() {
  std::map<std::string, std::string> all = {
      {"server.unix_domain_path", socketPath()},
      {"server.unix_domain_permissions", "0777"},
      {"server.container_rootfs_path", options.image},
      {"server.container_depot_path", depotPath()},
      {"logging.level", "debug"},
      {"logging.file", logPath()},
      {"user.pool_start_uid", std::to_string(uidPool)},
      {"user.pool_size", std::to_string(options.slots)},
      {"privhelper.id_range_start", std::to_string(idRange)},
      {"privhelper.cgroup_parent", cgroup},
  };
  for (const auto& [key, value] : options.config)
    all[key] = value;

  std::map<std::string, std::string> sections;
  for (const auto& [key, value] : all) {
    size_t dot = key.find('.');
    KJ_REQUIRE(dot != std::string::npos, "not section.key", key.c_str());
    if (!value.empty()) {
      sections[key.substr(0, dot)] += "  " + key.substr(dot + 1) + ": " + value + "\n";
    }
  }
  std::string text;
  for (const auto& [section, lines] : sections)
    text += section + ":\n" + lines;
  writeFile(configPath(), text);
}

void TestServer::makeMounts() {
  std::map<std::string, std::string> files;
  if (!options.resolvConf.empty()) {
    files["/etc/resolv.conf"] = path + "/resolv.conf";
    writeFile(path + "/resolv.conf", options.resolvConf);
  }
  if (!options.systemLog.empty()) files["/dev/log"] = options.systemLog;
  if (!files.empty()) mountNamespace = makeMountNamespace(files, path);
}

pid_t TestServer::launch() {
  KJ_REQUIRE(broker < 0, "the server runs");
  KJ_REQUIRE(access(options.helper.c_str(), X_OK) == 0, "no such program", options.helper.c_str());
  std::string mark = MARK + ("=" + path);
  std::vector<std::string> environment{mark};
  for (char** variable = environ; *variable != nullptr; ++variable) {
    environment.push_back(*variable);
  }
  for (const auto& [name, value] : options.environment)
    environment.push_back(name + "=" + value);
  std::vector<char*> envp;
  for (auto& variable : environment)
    envp.push_back(variable.data());
  envp.push_back(nullptr);
  std::string config = configPath();
  const char* argv[] = {options.helper.c_str(), "--config", config.c_str(), nullptr};

  pid_t test = getpid();
  int space = options.network->fd();
  if (mountNamespace == nullptr) makeMounts();
  int mounts = mountNamespace.get();  // -1: none
  rlimit files{options.descriptors, options.descriptors};
  KJ_SYSCALL(broker = fork());
  if (broker == 0) {
    // A session of its own, so that signals to the group reach the server as a whole and nothing
    // else; and an orderly end when the test dies.
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    if (getppid() != test) _exit(126);
    if (setns(space, CLONE_NEWNET) != 0) _exit(126);
    if (mounts >= 0 && setns(mounts, CLONE_NEWNS) != 0) _exit(126);
    if (options.descriptors > 0 && setrlimit(RLIMIT_NOFILE, &files) != 0) _exit(126);
    int null = open("/dev/null", O_RDONLY);
    int out = open((path + "/stderr").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) _exit(126);
    close(null);
    close(out);
    execve(argv[0], const_cast<char**>(argv), envp.data());
    _exit(127);
  }
  return broker;
}

void TestServer::start() {
  launch();
  waitUntilServing();
}

void TestServer::waitUntilServing(std::chrono::milliseconds timeout) {
  std::string last = "no answer yet";
  bool serving = waitUntil(
      [&]() {
        if (!isAlive(broker)) return true;
        try {
          TestClient client = connect();
          client.setTimeout(std::chrono::seconds(2));
          client.ping();
          last.clear();
          return true;
        } catch (const std::exception& e) {
          last = e.what();
        } catch (const kj::Exception& e) {
          last = e.getDescription().cStr();
        }
        return false;
      },
      timeout);
  KJ_REQUIRE(serving && last.empty(), "the server does not serve", last.c_str(), logs().c_str());
  ourProcesses();
}

TestClient TestServer::connectAs(uid_t user, const std::vector<gid_t>& groups) const {
  if (user == 0) return connect();
  // Credentials are those of the thread that connects (unix(7)).
  std::optional<TestClient> client;
  kj::Maybe<kj::Exception> failure;
  std::thread([&]() {
    failure = kj::runCatchingExceptions([&]() {
      KJ_SYSCALL(syscall(SYS_setgroups, groups.size(), groups.data()));
      KJ_SYSCALL(syscall(SYS_setresgid, user, user, user));
      KJ_SYSCALL(syscall(SYS_setresuid, user, user, user));
      client.emplace(connect());
    });
  }).join();
  KJ_IF_MAYBE (exception, failure) {
    kj::throwFatalException(kj::mv(*exception));
  }
  return kj::mv(*client);
}

int TestServer::stop(int signal, std::chrono::milliseconds timeout) {
  KJ_SYSCALL(kill(broker, signal));
  return waitForExit(timeout);
}

int TestServer::waitForExit(std::chrono::milliseconds timeout) {
  int status = 0;
  bool ended = waitUntil([&]() { return waitpid(broker, &status, WNOHANG) == broker; }, timeout);
  KJ_REQUIRE(ended, "the server did not end in time", logs().c_str());
  broker = -1;
  reapOrphans();
  return exitStatusOf(status);
}

void TestServer::setEnvironment(const std::string& name, const std::string& value) {
  if (value.empty()) {
    options.environment.erase(name);
  } else {
    options.environment[name] = value;
  }
}

void TestServer::replaceFrontend(int signal) {
  pid_t before = frontendPid();
  KJ_SYSCALL(kill(before, signal));
  bool replaced = waitUntil([&]() { return findFrontend().value_or(before) != before; },
                            std::chrono::seconds(20));
  KJ_REQUIRE(replaced, "no other frontend was started", logs().c_str());
  waitUntilServing();
}

void TestServer::killHelper() {
  KJ_SYSCALL(kill(broker, SIGKILL));
  waitForExit();
  KJ_REQUIRE(waitUntil([&]() { return !findFrontend().has_value(); }),
             "the frontend outlives the helper");
}

void TestServer::kill9() {
  // Stopped first, so that none sees the end of another and acts on it.
  std::vector<pid_t> pids = helperPids();
  if (auto frontend = findFrontend()) pids.push_back(*frontend);
  ourProcesses();
  for (pid_t pid : pids)
    kill(pid, SIGSTOP);
  spareFirstProcesses(pids);
  for (pid_t pid : pids)
    kill(pid, SIGKILL);
  waitForExit();
  bool gone = waitUntil([&]() {
    reapOrphans();
    return std::none_of(pids.begin(), pids.end(), isAlive);
  });
  KJ_REQUIRE(gone, "SIGKILL did not end the server");
}

void TestServer::spareFirstProcesses(std::vector<pid_t>& stopped) const {
  // Those of containers run the helper's program until they become wshd, which one may have done
  // since it was found: its container may be whole, and acknowledged, by now.
  waitUntil([&]() {
    return std::all_of(stopped.begin(), stopped.end(), [](pid_t pid) {
      return !isAlive(pid) || statusField(pid, "State").compare(0, 1, "T") == 0;
    });
  });
  auto became = [](pid_t pid) { return executableOf(pid).find("memfd:") != std::string::npos; };
  for (pid_t pid : stopped)
    if (became(pid)) kill(pid, SIGCONT);
  stopped.erase(std::remove_if(stopped.begin(), stopped.end(), became), stopped.end());
}

// Whole ranges.
uint32_t TestServer::heldSlots() const {
  return (options.slots + SLOTS_PER_RANGE - 1) / SLOTS_PER_RANGE * SLOTS_PER_RANGE;
}

bool TestServer::belongsToUs(pid_t pid) const {
  std::string process = "/proc/" + std::to_string(pid);
  auto environment = tryReadFile(process + "/environ");
  if (environment && contains(*environment, MARK + ("=" + path))) return true;
  auto cgroups = tryReadFile(process + "/cgroup");
  if (cgroups && contains(*cgroups, "/" + cgroup)) return true;
  std::istringstream uids(statusField(pid, "Uid"));
  uint64_t uid = 0;
  uids >> uid;
  return (uid >= idRange && uid < uint64_t(idRange) + heldSlots() * IDS_PER_SLOT) ||
         (uid >= uidPool && uid < uidPool + heldSlots());
}

}  // namespace warden::test
