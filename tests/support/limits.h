#pragma once
// Limits of containers: requests, and what the host's kernel has in force.

#include <optional>
#include <string>

#include "tests/support/test-client.h"
#include "tests/support/test-server.h"

namespace warden::test {

constexpr uint64_t MIB = 1024 * 1024;
constexpr uint64_t UNLIMITED_MEMORY = 9223372036854771712u;
constexpr uint64_t UNLIMITED_BANDWIDTH = 0xffffffff;

LimitMemoryRequest memoryRequest(const std::string& handle, std::optional<uint64_t> bytes = {});
LimitCpuRequest cpuRequest(const std::string& handle, std::optional<uint64_t> shares = {});
LimitDiskRequest diskRequest(const std::string& handle);

uint64_t limitMemory(TestClient& client, const std::string& handle,
                     std::optional<uint64_t> bytes = {});
uint64_t limitCpu(TestClient& client, const std::string& handle,
                  std::optional<uint64_t> shares = {});
// What the server answers: the limit in force. Without a value nothing is set.

bool hasVersion2(const std::string& controller);
// Whether this machine has the controller ("memory") in cgroup version 2.

std::string cgroupOf(const TestServer& server, const std::string& id,
                     const std::string& controller);
// The container's directory where that controller is.

std::string cgroupValue(const TestServer& server, const std::string& id,
                        const std::string& controller, const std::string& file);
// The content of a file there, without the newline at its end.

uint64_t memoryInKernel(const TestServer& server, const std::string& id);
// Bytes; UNLIMITED_MEMORY.
uint64_t sharesInKernel(const TestServer& server, const std::string& id, uint64_t shares);
// In shares; of version 2, which counts in coarser steps, `shares` where that is the step in force.

std::string holdMemory(int mib);
// A script that takes so much anonymous memory, and keeps it until it is killed.

std::string takeMemory(int mib);
// A script that takes so much anonymous memory and gives it back.

bool hasEvent(const InfoResponse& info, const std::string& event);

}  // namespace warden::test
