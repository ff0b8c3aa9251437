// Copies into a container, and what they take of memory.

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "tests/bench/bench-parts.h"
#include "tests/bench/process-memory.h"

namespace warden::bench {

namespace {

namespace fs = std::filesystem;

constexpr int LARGE_MIB = 1024;
constexpr int SMALL_FILES = 10'000;
constexpr int SMALL_BYTES = 1024;
constexpr int COPIES = 3;
constexpr unsigned SAMPLE_INTERVAL_US = 5'000;

// The servers' processes and all that descend from them.
std::set<int> processesOf(const std::vector<int>& roots) {
  std::multimap<int, int> children;
  for (auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "stat");
    std::string stat;
    int pid = atoi(entry.path().filename().c_str());
    if (pid <= 0 || !std::getline(file, stat)) continue;
    // The name may have spaces and parentheses (proc(5)).
    auto end = stat.rfind(')');
    int parent = 0;
    if (end != std::string::npos && sscanf(stat.c_str() + end, ") %*c %d", &parent) == 1) {
      children.emplace(parent, pid);
    }
  }
  std::set<int> result(roots.begin(), roots.end());
  std::vector<int> open(roots);
  while (!open.empty()) {
    auto [first, last] = children.equal_range(open.back());
    open.pop_back();
    for (; first != last; ++first)
      if (result.insert(first->second).second) open.push_back(first->second);
  }
  return result;
}

double anonymousKib(const std::vector<int>& roots) {
  double sum = 0;
  for (int pid : processesOf(roots))
    sum += memoryKib(pid, "Pss_Anon").value_or(0);
  return sum;
}

class PeakMemory {
  // The most that the processes take, in KiB, until it is asked.

 public:
  explicit PeakMemory(const std::vector<int>& roots)
      : sampler([this, roots] {
          while (!ended) {
            most = std::max(most, anonymousKib(roots));
            usleep(SAMPLE_INTERVAL_US);
          }
        }) {}

  double end() {
    ended = true;
    sampler.join();
    return most;
  }

 private:
  std::atomic<bool> ended = false;
  double most = 0;
  std::thread sampler;
};

class HostFiles {
 public:
  HostFiles() {
    std::string name = "/var/tmp/warden-bench-copies-XXXXXX";
    expect(mkdtemp(name.data()) != nullptr, "cannot make " + name);
    path = name;
  }
  ~HostFiles() { fs::remove_all(path); }
  HostFiles(const HostFiles&) = delete;
  HostFiles& operator=(const HostFiles&) = delete;

  std::string makeLarge() const {
    std::string block(1 << 20, '\0');
    for (size_t i = 0; i < block.size(); ++i)
      block[i] = static_cast<char>(i * 7 + 1);
    std::ofstream file(path + "/large", std::ios::binary);
    for (int i = 0; i < LARGE_MIB; ++i)
      file << block;
    return path + "/large";
  }

  std::string makeSmall() const {
    fs::create_directory(path + "/small");
    std::string content(SMALL_BYTES, 'x');
    for (int i = 0; i < SMALL_FILES; ++i)
      std::ofstream(path + "/small/" + std::to_string(i), std::ios::binary) << content;
    return path + "/small/";
  }

 private:
  std::string path;
};

void remove(Client& client, const std::string& handle) {
  expect(client.run(handle, "rm -rf /tmp/copy*") == 0, "rm failed");
}

// Seconds, the median of a few. What was copied is removed at the end only: ext4 gives no inode out
// again within minutes of its removal, and to pass over 10,000 of them takes it longer than to make
// the files.
double timeSmall(Client& client, const std::string& handle, const std::string& source) {
  Series seconds;
  for (int i = 0; i < COPIES; ++i) {
    double start = nowUs();
    client.copyIn(handle, source, "/tmp/copy" + std::to_string(i) + "/");
    seconds.add((nowUs() - start) / 1e6);
  }
  remove(client, handle);
  return seconds.percentile(0.5);
}

// As cp(1) does it.
void copyOnHost(const std::string& source, const std::string& target) {
  constexpr size_t BLOCK_BYTES = 128 * 1024;
  std::vector<char> block(BLOCK_BYTES);
  std::ifstream from(source, std::ios::binary);
  std::ofstream to(target, std::ios::binary);
  from.rdbuf()->pubsetbuf(nullptr, 0);
  to.rdbuf()->pubsetbuf(nullptr, 0);
  while (from.read(block.data(), block.size()) || from.gcount() > 0)
    to.write(block.data(), from.gcount());
  to.close();
  expect(!to.fail(), "cannot write " + target);
}

// The median of a few, in turns with the same copy from and to files of the host. Each is removed
// before the next, so that all but the first get memory that the machine has had before: a virtual
// one may have to get it from its host.
void measureLarge(Client& client, const std::string& handle, const std::string& source,
                  Results& results) {
  Series seconds, onHost;
  for (int i = 0; i <= COPIES; ++i) {
    double start = nowUs();
    copyOnHost(source, source + ".copy");
    double between = nowUs();
    fs::remove(source + ".copy");
    double second = nowUs();
    client.copyIn(handle, source, "/tmp/copy");
    double end = nowUs();
    remove(client, handle);
    if (i == 0) continue;
    onHost.add((between - start) / 1e6);
    seconds.add((end - second) / 1e6);
  }
  results.add("host_copy_mib_s", LARGE_MIB / onHost.percentile(0.5));
  results.add("copy_in_mib_s", LARGE_MIB / seconds.percentile(0.5));
}

}  // namespace

void measureCopies(Client& client, const std::vector<int>& pids, Results& results) {
  HostFiles files;
  std::string handle = client.create();
  results.add("copy_in_files_s", SMALL_FILES / timeSmall(client, handle, files.makeSmall()));
  std::string large = files.makeLarge();
  measureLarge(client, handle, large, results);
  if (!pids.empty()) {
    // By itself: to look takes time.
    double before = anonymousKib(pids);
    PeakMemory peak(pids);
    client.copyIn(handle, large, "/tmp/large");
    results.add("copy_in_extra_kib", peak.end() - before);
  }
  client.destroy(handle);
}

}  // namespace warden::bench
