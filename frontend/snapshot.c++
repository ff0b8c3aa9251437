#include "frontend/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/audit-chain.h"
#include "base/path.h"

namespace warden::frontend {

namespace {

using Json = nlohmann::ordered_json;

constexpr uint32_t VERSION = 1;
constexpr char FILE_NAME[] = "snapshot.json";
constexpr char NEW_FILE_NAME[] = "snapshot.json.new";
constexpr size_t MAX_BYTES = 16 << 20;

Json bytesToJson(std::string_view bytes) {
  return auditText(bytes, SIZE_MAX);
}

std::string bytesFrom(const Json& value) {
  auto bytes = bytesOfAuditText(value);
  KJ_REQUIRE(bytes.has_value(), "neither text nor base64");
  return kj::mv(*bytes);
}

template <typename T>
std::optional<T> optionalFrom(const Json& object, const char* key) {
  auto found = object.find(key);
  if (found == object.end()) return std::nullopt;
  return found->get<T>();
}

Json userToJson(const ContainerUser& user) {
  Json groups = Json::array();
  for (uint32_t group : user.groups)
    groups.push_back(group);
  return {{"name", bytesToJson(user.name.cStr())},
          {"uid", user.uid},
          {"gid", user.gid},
          {"groups", groups},
          {"home", bytesToJson(user.home.cStr())}};
}

ContainerUser userFrom(const Json& json) {
  auto groups = json.at("groups").get<std::vector<uint32_t>>();
  return {kj::str(bytesFrom(json.at("name")).c_str()), json.at("uid").get<uint32_t>(),
          json.at("gid").get<uint32_t>(), kj::heapArray<uint32_t>(groups.data(), groups.size()),
          kj::str(bytesFrom(json.at("home")).c_str())};
}

Json jobToJson(const OutputOptions& job) {
  Json json{{"discard_output", job.discard}};
  if (job.logTag) json["log_tag"] = bytesToJson(*job.logTag);
  return json;
}

OutputOptions jobFrom(const Json& json) {
  OutputOptions job;
  job.discard = json.at("discard_output").get<bool>();
  auto tag = json.find("log_tag");
  if (tag != json.end()) job.logTag = bytesFrom(*tag);
  return job;
}

Json limitsToJson(const ContainerSnapshot::Limits& limits) {
  Json json = Json::object();
  if (limits.memory) json["memory"] = *limits.memory;
  if (limits.cpu) json["cpu"] = *limits.cpu;
  if (limits.disk) {
    json["disk"] = {{"block_soft", limits.disk->blocksSoft},
                    {"block_hard", limits.disk->blocksHard},
                    {"inode_soft", limits.disk->inodesSoft},
                    {"inode_hard", limits.disk->inodesHard}};
  }
  if (limits.bandwidth) {
    json["bandwidth"] = {{"rate", limits.bandwidth->rate}, {"burst", limits.bandwidth->burst}};
  }
  return json;
}

ContainerSnapshot::Limits limitsFrom(const Json& json) {
  KJ_REQUIRE(json.is_object(), "limits are no object");
  ContainerSnapshot::Limits limits;
  limits.memory = optionalFrom<uint64_t>(json, "memory");
  limits.cpu = optionalFrom<uint64_t>(json, "cpu");
  auto disk = json.find("disk");
  if (disk != json.end()) {
    limits.disk =
        DiskLimits{disk->at("block_soft").get<uint64_t>(), disk->at("block_hard").get<uint64_t>(),
                   disk->at("inode_soft").get<uint64_t>(), disk->at("inode_hard").get<uint64_t>()};
  }
  auto bandwidth = json.find("bandwidth");
  if (bandwidth != json.end()) {
    limits.bandwidth =
        Bandwidth{bandwidth->at("rate").get<uint64_t>(), bandwidth->at("burst").get<uint64_t>()};
  }
  return limits;
}

Json ruleToJson(const OutRule& rule) {
  return {{"first_address", rule.addresses.first},
          {"last_address", rule.addresses.last},
          {"protocol", static_cast<uint16_t>(rule.protocol)},
          {"first_port", rule.firstPort},
          {"last_port", rule.lastPort},
          {"icmp_type", rule.icmpType},
          {"icmp_code", rule.icmpCode},
          {"log", rule.log}};
}

Json resourcesToJson(const ContainerSnapshot& snapshot) {
  Json ports = Json::array();
  Json netIn = Json::array();
  Json netOut = Json::array();
  for (auto& mapping : snapshot.netIn) {
    ports.push_back(mapping.hostPort);
    netIn.push_back(Json::array({mapping.hostPort, mapping.containerPort}));
  }
  for (auto& rule : snapshot.netOut)
    netOut.push_back(ruleToJson(rule));
  return {{"handle", bytesToJson(snapshot.handle)},
          {"container_id", snapshot.id},
          {"network", snapshot.network},
          {"uid", snapshot.uid},
          {"ports", ports},
          {"net_in", netIn},
          {"net_out", netOut}};
}

void resourcesFrom(const Json& json, ContainerSnapshot& snapshot) {
  snapshot.handle = bytesFrom(json.at("handle"));
  snapshot.id = json.at("container_id").get<std::string>();
}

ContainerSnapshot snapshotFrom(const Json& json) {
  uint32_t version = json.at("version").get<uint32_t>();
  KJ_REQUIRE(version == VERSION, "snapshot of another version", version);
  ContainerSnapshot snapshot;
  auto state = json.at("state").get<std::string>();
  KJ_REQUIRE(state == "active" || state == "stopped", "no such state", state.c_str());
  snapshot.stopped = state == "stopped";
  snapshot.ranOutOfMemory = json.at("ran_out_of_memory").get<bool>();
  snapshot.events = json.at("events").get<std::vector<std::string>>();
  snapshot.graceTime = optionalFrom<uint32_t>(json, "grace_time");
  snapshot.vcap = userFrom(json.at("users").at("vcap"));
  snapshot.root = userFrom(json.at("users").at("root"));
  snapshot.lastJobId = json.at("last_job_id").get<uint32_t>();
  for (auto& [id, job] : json.at("jobs").items()) {
    snapshot.jobs.emplace(kj::StringPtr(id.c_str()).parseAs<uint32_t>(), jobFrom(job));
  }
  snapshot.limits = limitsFrom(json.at("limits"));
  resourcesFrom(json.at("resources"), snapshot);
  return snapshot;
}

}  // namespace

std::string encodeSnapshot(const ContainerSnapshot& snapshot) {
  Json jobs = Json::object();
  for (auto& [id, job] : snapshot.jobs)
    jobs[std::to_string(id)] = jobToJson(job);
  Json json{{"version", VERSION}, {"state", snapshot.stopped ? "stopped" : "active"}};
  json["events"] = snapshot.events;
  json["ran_out_of_memory"] = snapshot.ranOutOfMemory;
  if (snapshot.graceTime) json["grace_time"] = *snapshot.graceTime;
  json["jobs"] = jobs;
  json["last_job_id"] = snapshot.lastJobId;
  json["limits"] = limitsToJson(snapshot.limits);
  json["resources"] = resourcesToJson(snapshot);
  json["users"] = {{"vcap", userToJson(snapshot.vcap)}, {"root", userToJson(snapshot.root)}};
  return json.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

ContainerSnapshot decodeSnapshot(kj::ArrayPtr<const char> text) {
  try {
    return snapshotFrom(Json::parse(text.begin(), text.end()));
  } catch (const Json::exception& e) {
    KJ_FAIL_REQUIRE("not a snapshot", e.what());
  }
}

void writeSnapshot(int stateDirectory, const std::string& text, bool durable) {
  auto bytes = kj::arrayPtr(text.data(), text.size()).asBytes();
  {
    Fd file = openBeneath(stateDirectory, NEW_FILE_NAME, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    writeAll(file, bytes);
    if (durable) {
      KJ_SYSCALL(fsync(file));
    }
  }
  KJ_SYSCALL(renameat(stateDirectory, NEW_FILE_NAME, stateDirectory, FILE_NAME));
  if (durable) {
    KJ_SYSCALL(fsync(stateDirectory));
  }
}

kj::Maybe<ContainerSnapshot> readSnapshot(int stateDirectory) {
  struct stat status;
  if (fstatat(stateDirectory, FILE_NAME, &status, AT_SYMLINK_NOFOLLOW) < 0) {
    if (errno == ENOENT) return nullptr;
    KJ_FAIL_SYSCALL("stat", errno, FILE_NAME);
  }
  KJ_REQUIRE(S_ISREG(status.st_mode), "no regular file", FILE_NAME);
  Fd file = openBeneath(stateDirectory, FILE_NAME, O_RDONLY | O_NONBLOCK);
  auto bytes = readAll(file, MAX_BYTES);
  return decodeSnapshot(bytes.asPtr().asChars());
}

void removeSpoolFilesBut(int stateDirectory, const std::map<uint32_t, OutputOptions>& jobs) {
  Fd directory = openBeneath(stateDirectory, ".", O_RDONLY | O_DIRECTORY);
  std::unique_ptr<DIR, int (*)(DIR*)> list(fdopendir(directory.release()), closedir);
  KJ_REQUIRE(list != nullptr);
  kj::Vector<kj::String> leftovers;
  while (dirent* entry = readdir(list.get())) {
    uint32_t id;
    if (sscanf(entry->d_name, "job-%u.std", &id) != 1 || jobs.count(id) > 0) continue;
    leftovers.add(kj::str(entry->d_name));
  }
  for (auto& name : leftovers)
    KJ_SYSCALL(unlinkat(stateDirectory, name.cStr(), 0), name);
}

}  // namespace warden::frontend
