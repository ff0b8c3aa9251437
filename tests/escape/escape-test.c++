// Attacks from inside of a container, one test each, as vcap and as root of the container.

#include <ctype.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <set>

#include "tests/support/server-test.h"
#include "tests/support/test-image.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;

constexpr char PROBE[] = WARDEN_BIN_DIR "/warden-probe";
constexpr char SUID_PROBE[] = "/usr/suid-probe";
constexpr char IMAGE_DEVICES[] = "/usr/devices";
constexpr int SHM_KEY = 0x77617264;

// A copy of the busybox image with the probe, a set-user-id copy of it, and device nodes as a
// careless or hostile image may have them.
class HostileImage {
 public:
  HostileImage() {
    std::string pattern =
        testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-image-XXXXXX";
    KJ_REQUIRE(mkdtemp(pattern.data()) != nullptr);
    directory = pattern;
    fs::permissions(directory, fs::perms(0755));
    copyTree(busyboxImage(), path());
    fs::copy_file(PROBE, path() + "/probe");
    fs::copy_file(PROBE, path() + SUID_PROBE);
    fs::permissions(path() + SUID_PROBE, fs::perms(04755));
    fs::create_directory(path() + IMAGE_DEVICES);
    node("mem", S_IFCHR, 1, 1);
    node("null", S_IFCHR, 1, 3);
    node("kmsg", S_IFCHR, 1, 11);
    node("console", S_IFCHR, 5, 1);
    struct stat root;
    KJ_SYSCALL(stat("/", &root));
    node("disk", S_IFBLK, major(root.st_dev), minor(root.st_dev));
  }
  ~HostileImage() { fs::remove_all(directory); }

  std::string path() const { return directory + "/image"; }

 private:
  std::string directory;

  void node(const char* name, mode_t type, unsigned major, unsigned minor) {
    std::string file = path() + IMAGE_DEVICES + "/" + name;
    KJ_SYSCALL(mknod(file.c_str(), type | 0666, makedev(major, minor)));
    KJ_SYSCALL(chmod(file.c_str(), 0666));
  }
};

// What of the host a container must not reach: a file, an abstract socket, a shared memory segment.
class HostTargets {
 public:
  explicit HostTargets(const TestServer& server)
      : secretFile(server.directory() + "/secret"),
        socketName("warden-test-" + std::to_string(getpid())) {
    writeFile(secretFile, "host secret of the escape tests\n", 0644);
    int raw;
    // Abstract names are those of a network namespace: here of the one that the server is in.
    server.inNetwork([&]() { KJ_SYSCALL(raw = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); });
    listener = Fd(raw);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path + 1, socketName.data(), socketName.size());
    KJ_SYSCALL(bind(listener, reinterpret_cast<sockaddr*>(&address),
                    offsetof(sockaddr_un, sun_path) + 1 + socketName.size()));
    KJ_SYSCALL(listen(listener, 16));
    KJ_SYSCALL(segment = shmget(SHM_KEY, 4096, IPC_CREAT | 0666));
  }
  ~HostTargets() { shmctl(segment, IPC_RMID, nullptr); }

  const std::string secretFile;
  const std::string socketName;

 private:
  Fd listener;
  int segment;
};

// One server and one container for all attacks: each leaves it as it was, or has failed.
class EscapeEnvironment : public ::testing::Environment {
 public:
  static EscapeEnvironment* instance;

  void SetUp() override {
    image = std::make_unique<HostileImage>();
    ServerOptions options;
    options.image = image->path();
    server = std::make_unique<TestServer>(options);
    server->start();
    targets = std::make_unique<HostTargets>(*server);
    warmUp(*server);
    leaks = std::make_unique<LeakCheck>(*server);
    client = std::make_unique<TestClient>(server->connect());
    handle = client->create();
  }

  void TearDown() override {
    if (client == nullptr) return;
    client.reset();
    destroyAll(*server);
    leaks->expectNothingLeaked();
    expectCleanStop(*server);
    targets.reset();
    server.reset();
    image.reset();
  }

  std::unique_ptr<HostileImage> image;
  std::unique_ptr<TestServer> server;
  std::unique_ptr<HostTargets> targets;
  std::unique_ptr<LeakCheck> leaks;
  std::unique_ptr<TestClient> client;
  std::string handle;
};

EscapeEnvironment* EscapeEnvironment::instance =
    static_cast<EscapeEnvironment*>(::testing::AddGlobalTestEnvironment(new EscapeEnvironment));

EscapeEnvironment& environment() {
  return *EscapeEnvironment::instance;
}

using Attack = std::tuple<const char*, bool>;  // name, privileged

class EscapeTest : public ::testing::TestWithParam<Attack> {};

std::string argumentOf(const std::string& attack) {
  if (attack == "abstract-socket") return environment().targets->socketName;
  if (attack == "host-shm") return std::to_string(SHM_KEY);
  if (attack == "kill-host-pid") return std::to_string(getpid());
  if (attack == "host-files" || attack == "chroot") return environment().targets->secretFile;
  if (attack == "image-devices") return IMAGE_DEVICES;
  if (attack == "suid") return SUID_PROBE;
  return "";
}

std::string testName(const ::testing::TestParamInfo<Attack>& info) {
  std::string name;
  bool upper = false;
  for (const char* c = std::get<0>(info.param); *c != 0; ++c) {
    if (*c != '-') name += upper ? toupper(*c) : *c;
    upper = *c == '-';
  }
  return name + (std::get<1>(info.param) ? "AsRoot" : "AsVcap");
}

constexpr const char* ATTACKS[] = {
    // probe-kernel.c
    "init-module", "finit-module", "delete-module", "keyctl", "add-key", "request-key", "bpf-map",
    "bpf-program", "perf-event-open", "tiocsti", "tiocsti-high-bits", "tioclinux", "x32", "i386",
    "io-uring", "userfaultfd", "swapon", "reboot", "kexec-load", "kexec-file-load", "settimeofday",
    "clock-settime", "adjtimex", "syslog", "iopl", "ioperm", "acct", "quotactl", "fanotify",
    "nice-below-zero", "raise-limit",
    // probe-namespace.c
    "mount", "bind-mount", "remount", "umount", "new-mount-api", "pivot-root", "unshare-user",
    "unshare-others", "clone-user", "clone3-user", "setns", "ptrace-pid1", "mem-pid1",
    "pidfd-getfd-pid1", "fds-pid1", "write-pid1-exe", "kill-pid1", "abstract-socket", "host-shm",
    "kill-host-pid", "host-pids", "raw-socket", "packet-socket", "odd-sockets", "sethostname",
    // probe-files.c
    "write-proc-sys", "sysrq-trigger", "write-proc", "masked-files", "kcore", "write-sys",
    "cgroup-mounts", "host-files", "chroot", "open-by-handle", "mknod", "dev-entries",
    "image-devices", "dangling-fds", "suid", "leave-project",
    // probe-network.c
    "set-address", "set-interface-down", "rename-interface", "set-hardware-address", "add-route",
    "netlink-address", "netlink-route", "netlink-nftables", "netlink-conntrack", "netlink-new-link",
    "promiscuous", "transparent-source", "free-bound-source", "source-by-pktinfo", "source-route",
    "raw-header", "bind-to-device", "tun", "network-mark", "vsock"};

INSTANTIATE_TEST_SUITE_P(, EscapeTest,
                         ::testing::Combine(::testing::ValuesIn(ATTACKS), ::testing::Bool()),
                         testName);

TEST_P(EscapeTest, isRefused) {
  auto [name, privileged] = GetParam();
  auto& client = *environment().client;
  std::string script = std::string("/probe ") + name + " " + argumentOf(name);
  auto response = client.run(environment().handle, script, privileged);
  EXPECT_EQ(response.exit_status(), 0u)
      << (response.exit_status() == 1 ? "the attack WORKED\n" : "it could not be attempted\n")
      << response.stdout() << response.stderr();
  // The container, and its host, are as before.
  EXPECT_EQ(client.output(environment().handle, "hostname"), environment().handle + "\n");
}

TEST(EscapeListTest, namesEveryAttackOfTheProbe) {
  auto result = runProgram({PROBE});
  std::set<std::string> listed(std::begin(ATTACKS), std::end(ATTACKS));
  for (const auto& name : splitLines(result.out)) {
    // Executed by "suid".
    EXPECT_TRUE(name == "am-i-root" || listed.count(name) == 1) << name;
  }
}

TEST(EscapeHostTest, seesNothingOfTheContainersMounts) {
  for (const auto& line : splitLines(readFile("/proc/self/mountinfo"))) {
    EXPECT_EQ(line.find(environment().server->directory()), std::string::npos) << line;
  }
}

TEST(EscapeHostTest, keepsTheContainersFilesFromOtherUsers) {
  // The depot's containers are root's: a user of the host cannot reach a set-user-id file in them.
  struct stat s;
  std::string path = environment().server->depotPath() + "/" + environment().handle;
  ASSERT_EQ(stat(path.c_str(), &s), 0);
  EXPECT_EQ(s.st_uid, 0u);
  EXPECT_EQ(s.st_mode & 022, 0u);
}

}  // namespace
}  // namespace warden::test
