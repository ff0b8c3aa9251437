// warden-bench-floor: p50 and p95 of the kernel's work for one container, as JSON.

#include "tests/bench/floor.h"

#include <fcntl.h>
#include <kj/debug.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "tests/bench/statistics.h"

namespace {

using namespace warden::bench;
using warden::Fd;

void makeImage(const std::string& image) {
  KJ_SYSCALL(mkdir(image.c_str(), 0755));
  for (auto part : {"/bin", "/dev", "/etc", "/proc", "/sys", "/tmp", "/home", "/root"}) {
    KJ_SYSCALL(mkdir((image + part).c_str(), 0755));
  }
}

std::vector<std::string> makeCgroupParents() {
  std::vector<std::string> parents;
  for (auto controller : {"cpu", "cpuacct", "memory", "devices", "freezer", "pids"}) {
    std::string root = std::string("/sys/fs/cgroup/") + controller;
    if (access((root + "/tasks").c_str(), F_OK) != 0) continue;
    std::string parent = root + "/warden-bench";
    // Where controllers are mounted together, two names lead to one directory.
    if (mkdir(parent.c_str(), 0755) == 0) parents.push_back(parent);
  }
  return parents;
}

class Host {
  // Undoes what the program made besides containers.

 public:
  Host(const std::string& base, const std::string& program) {
    std::string path = base + "/warden-floor-XXXXXX";
    KJ_REQUIRE(mkdtemp(path.data()) != nullptr, "mkdtemp", path.c_str());
    chmod(path.c_str(), 0755);
    host.directory = path;
    KJ_SYSCALL(unshare(CLONE_NEWNS));
    KJ_SYSCALL(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr));
    // What is made of network is not the machine's.
    KJ_SYSCALL(unshare(CLONE_NEWNET));
    route = std::make_unique<RouteSocket>();
    host.route = route.get();
    host.image = path + "/image";
    makeImage(host.image);
    host.cgroupParents = makeCgroupParents();
    int fd;
    KJ_SYSCALL(fd = open(program.c_str(), O_RDONLY | O_CLOEXEC), program.c_str());
    host.program = warden::makeSealedMemfd("wshd", warden::readAll(Fd(fd), 64 << 20),
                                           warden::MemfdUse::EXECUTABLE);
  }
  ~Host() {
    for (auto& parent : host.cgroupParents)
      rmdir(parent.c_str());
    std::error_code ignored;
    std::filesystem::remove_all(host.directory, ignored);
  }
  KJ_DISALLOW_COPY(Host);

  FloorHost host;

 private:
  std::unique_ptr<RouteSocket> route;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Time of the kernel's work for one container: create until process 1 answers, destroy");
  unsigned iterations = 200;
  std::string base = "/tmp", program;
  app.add_option("--iterations", iterations)->check(CLI::PositiveNumber);
  app.add_option("--directory", base, "where layers are made; not on an overlay");
  app.add_option("--program", program, "static process 1: warden-wshd")->required();
  CLI11_PARSE(app, argc, argv);

  try {
    Host host(base, program);
    Series create, destroy;
    constexpr unsigned WARM_UP = 5;
    for (unsigned i = 0; i < WARM_UP + iterations; ++i) {
      double start = nowUs();
      auto container = std::make_unique<FloorContainer>(host.host, i);
      double ready = nowUs();
      container = nullptr;
      double end = nowUs();
      if (i < WARM_UP) continue;
      create.add(ready - start);
      destroy.add(end - ready);
    }
    Results results;
    results.add("floor_create", create);
    results.add("floor_destroy", destroy);
    results.add("floor_cgroups", static_cast<double>(host.host.cgroupParents.size()));
    fputs(results.json().c_str(), stdout);
  } catch (const kj::Exception& e) {
    fprintf(stderr, "warden-bench-floor: %s\n", kj::str(e).cStr());
    return 1;
  }
}
