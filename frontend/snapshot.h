#pragma once
// What the frontend has to know of a container to take it over from an earlier one, and what
// neither the helper nor wshd can tell: <depot>/<id>/state/snapshot.json. The helper never reads
// it.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "frontend/disk-limits.h"
#include "frontend/etc-files.h"
#include "frontend/helper-client.h"
#include "frontend/job-output.h"

namespace warden::frontend {

struct ContainerSnapshot {
  std::string id;
  std::string handle;
  bool stopped = false;
  bool ranOutOfMemory = false;
  std::vector<std::string> events;
  std::optional<uint32_t> graceTime;  // seconds
  ContainerUser vcap;
  ContainerUser root;
  std::map<uint32_t, OutputOptions> jobs;
  // Started, and with an answer that nobody has; wshd knows better which there are.
  uint32_t lastJobId = 0;

  struct Limits {
    // What clients have set; the kernel and the helper's record have what is in force.
    std::optional<uint64_t> memory;  // bytes
    std::optional<uint64_t> cpu;     // shares
    std::optional<DiskLimits> disk;
    std::optional<Bandwidth> bandwidth;
  } limits;

  // For others who read the file. A later frontend asks the helper, which has them on record, and
  // decodeSnapshot() leaves them out.
  std::string network;  // the container's address
  uint32_t uid = 0;     // vcap's
  std::vector<PortMapping> netIn;
  std::vector<OutRule> netOut;
};

std::string encodeSnapshot(const ContainerSnapshot& snapshot);
// A JSON object with a version. What is not UTF-8 appears as {"base64": "..."} (RFC 4648).

ContainerSnapshot decodeSnapshot(kj::ArrayPtr<const char> text);
// Throws for what is not such an object, or of another version.

void writeSnapshot(int stateDirectory, const std::string& text, bool durable);
// Replaces the file in one step (rename(2)). `durable`: also for after a loss of power. Containers
// do not live on then, so that only the death of processes counts while the server runs.

kj::Maybe<ContainerSnapshot> readSnapshot(int stateDirectory);
// None: there is no file. Throws where it cannot be read or decoded.

void removeSpoolFilesBut(int stateDirectory, const std::map<uint32_t, OutputOptions>& jobs);
// Output of jobs that are not there any more.

}  // namespace warden::frontend
