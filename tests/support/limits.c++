#include "tests/support/limits.h"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "tests/support/process.h"

namespace warden::test {

namespace fs = std::filesystem;

namespace {

constexpr char CGROUPS[] = "/sys/fs/cgroup";

}  // namespace

LimitMemoryRequest memoryRequest(const std::string& handle, std::optional<uint64_t> bytes) {
  LimitMemoryRequest request;
  request.set_handle(handle);
  if (bytes) request.set_limit_in_bytes(*bytes);
  return request;
}

LimitCpuRequest cpuRequest(const std::string& handle, std::optional<uint64_t> shares) {
  LimitCpuRequest request;
  request.set_handle(handle);
  if (shares) request.set_limit_in_shares(*shares);
  return request;
}

LimitDiskRequest diskRequest(const std::string& handle) {
  LimitDiskRequest request;
  request.set_handle(handle);
  return request;
}

uint64_t limitMemory(TestClient& client, const std::string& handle, std::optional<uint64_t> bytes) {
  return client.call(memoryRequest(handle, bytes)).limit_in_bytes();
}

uint64_t limitCpu(TestClient& client, const std::string& handle, std::optional<uint64_t> shares) {
  return client.call(cpuRequest(handle, shares)).limit_in_shares();
}

// Of a hybrid machine each controller is in one version; version 2 has it when its root says so.
bool hasVersion2(const std::string& controller) {
  for (const char* root : {CGROUPS, "/sys/fs/cgroup/unified"}) {
    std::istringstream controllers(
        tryReadFile(std::string(root) + "/cgroup.controllers").value_or(""));
    for (std::string name; controllers >> name;) {
      if (name == controller) return true;
    }
  }
  return false;
}

std::string cgroupOf(const TestServer& server, const std::string& id,
                     const std::string& controller) {
  std::string below = "/" + server.cgroupParent() + "/instance-" + id;
  if (!hasVersion2(controller)) return CGROUPS + ("/" + controller) + below;
  bool hybrid = fs::exists("/sys/fs/cgroup/unified/cgroup.controllers");
  return CGROUPS + std::string(hybrid ? "/unified" : "") + below;
}

std::string cgroupValue(const TestServer& server, const std::string& id,
                        const std::string& controller, const std::string& file) {
  std::string text = readFile(cgroupOf(server, id, controller) + "/" + file);
  while (!text.empty() && text.back() == '\n')
    text.pop_back();
  return text;
}

uint64_t memoryInKernel(const TestServer& server, const std::string& id) {
  bool second = hasVersion2("memory");
  auto text = cgroupValue(server, id, "memory", second ? "memory.max" : "memory.limit_in_bytes");
  return text == "max" ? UNLIMITED_MEMORY : std::stoull(text);
}

uint64_t sharesInKernel(const TestServer& server, const std::string& id, uint64_t shares) {
  if (!hasVersion2("cpu")) return std::stoull(cgroupValue(server, id, "cpu", "cpu.shares"));
  uint64_t weight = std::stoull(cgroupValue(server, id, "cpu", "cpu.weight"));
  uint64_t expected = std::clamp<uint64_t>(shares * 100 / 1024, 1, 10000);
  return weight == expected ? shares : weight * 1024 / 100;
}

// A pipe that nobody reads blocks dd when its buffer is filled.
std::string holdMemory(int mib) {
  return "dd if=/dev/zero bs=" + std::to_string(mib) + "M count=1 2>/dev/null | sleep 100000";
}

std::string takeMemory(int mib) {
  return "exec dd if=/dev/zero of=/dev/null bs=" + std::to_string(mib) + "M count=1";
}

bool hasEvent(const InfoResponse& info, const std::string& event) {
  return std::find(info.events().begin(), info.events().end(), event) != info.events().end();
}

}  // namespace warden::test
