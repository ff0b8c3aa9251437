#include "tests/escape/escape-environment.h"

#include <kj/debug.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "base/unix-address.h"
#include "tests/support/test-image.h"

namespace warden::test {

namespace fs = std::filesystem;

HostileImage::HostileImage() {
  std::string pattern =
      testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-image-XXXXXX";
  KJ_REQUIRE(mkdtemp(pattern.data()) != nullptr);
  directory = pattern;
  fs::permissions(directory, fs::perms(0755));
  copyTree(busyboxImage(), path());
  fs::copy_file(PROBE, path() + "/probe");
  fs::copy_file(SYSTEM_CALL_PROBE, path() + "/system-calls");
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

HostileImage::~HostileImage() {
  fs::remove_all(directory);
}

void HostileImage::node(const char* name, mode_t type, unsigned major, unsigned minor) {
  std::string file = path() + IMAGE_DEVICES + "/" + name;
  KJ_SYSCALL(mknod(file.c_str(), type | 0666, makedev(major, minor)));
  KJ_SYSCALL(chmod(file.c_str(), 0666));
}

HostTargets::HostTargets(const TestServer& server)
    : secretFile(server.directory() + "/secret"),
      socketName("warden-test-" + std::to_string(getpid())) {
  writeFile(secretFile, "host secret of the escape tests\n", 0644);
  int raw;
  // Abstract names are those of a network namespace: here of the one that the server is in.
  server.inNetwork([&]() { KJ_SYSCALL(raw = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); });
  listener = Fd(raw);
  auto address = UnixAddress::notify("@" + socketName);
  KJ_SYSCALL(bind(listener, address.get(), address.size()));
  KJ_SYSCALL(listen(listener, 16));
  KJ_SYSCALL(segment = shmget(SHM_KEY, 4096, IPC_CREAT | 0666));
}

std::map<std::string, std::string> HostTargets::canaries() const {
  std::vector<std::string> files = {secretFile};
  for (const char* name : {"core_pattern", "modprobe", "hostname", "domainname", "sysrq", "panic",
                           "poweroff_cmd", "core_pipe_limit"})
    files.push_back(std::string("/proc/sys/kernel/") + name);
  for (const char* name : {"suid_dumpable", "file-max"})
    files.push_back(std::string("/proc/sys/fs/") + name);
  for (const auto& line : splitLines(readFile("/proc/self/mounts"))) {
    std::istringstream words(line);
    std::string source, target, type;
    if (!(words >> source >> target >> type) || type != "cgroup") continue;
    for (const char* name : {"/release_agent", "/notify_on_release"})
      files.push_back(target + name);
  }
  std::map<std::string, std::string> found;
  for (const auto& file : files)
    found[file] = fs::exists(file) ? readFile(file) : "not there";
  for (const char* program : {"warden-wshd", "warden-privhelper", "warden-frontend"}) {
    std::string file = std::string(WARDEN_BIN_DIR "/") + program;
    struct stat s;
    KJ_SYSCALL(stat(file.c_str(), &s), file.c_str());
    found[file] = std::to_string(s.st_size) + " bytes, changed " +
                  std::to_string(s.st_ctim.tv_sec) + "." + std::to_string(s.st_ctim.tv_nsec);
  }
  return found;
}

HostTargets::~HostTargets() {
  shmctl(segment, IPC_RMID, nullptr);
}

void EscapeEnvironment::SetUp() {
  image = std::make_unique<HostileImage>();
  ServerOptions options;
  options.image = image->path();
  server = std::make_unique<TestServer>(options);
  server->start();
  targets = std::make_unique<HostTargets>(*server);
  warmUp(*server);
  canaries = targets->canaries();
  leaks = std::make_unique<LeakCheck>(*server);
  client = std::make_unique<TestClient>(server->connect());
  handle = client->create();
}

void EscapeEnvironment::expectCanariesUntouched() const {
  EXPECT_EQ(targets->canaries(), canaries);
}

void EscapeEnvironment::TearDown() {
  if (client == nullptr) return;
  client.reset();
  destroyAll(*server);
  leaks->expectNothingLeaked();
  expectCleanStop(*server);
  targets.reset();
  server.reset();
  image.reset();
}

EscapeEnvironment& environment() {
  // Registered by the first test that is defined; googletest owns it.
  static auto* instance =
      static_cast<EscapeEnvironment*>(::testing::AddGlobalTestEnvironment(new EscapeEnvironment));
  return *instance;
}

namespace {

// Before main(), as googletest asks for.
[[maybe_unused]] const EscapeEnvironment& REGISTERED = environment();

}  // namespace

}  // namespace warden::test
