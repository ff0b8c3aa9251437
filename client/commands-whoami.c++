#include <unistd.h>

#include <nlohmann/json.hpp>

#include "client/commands.h"
#include "client/output.h"

namespace warden::client {

using Json = nlohmann::ordered_json;

namespace {

struct Modes {
  // What a prefix that only reads, only writes, or does both is for.
  const char* reads;
  const char* writes;
  const char* both;
};

Json describe(const google::protobuf::RepeatedPtrField<WhoamiResponse::Prefix>& prefixes,
              const Modes& modes) {
  Json list = Json::array();
  for (auto& prefix : prefixes) {
    const char* mode = !prefix.writes() ? modes.reads : prefix.reads() ? modes.both : modes.writes;
    list.push_back(prefix.path() + (*mode == 0 ? "" : " ") + mode);
  }
  return list;
}

Json describe(const WhoamiResponse& who) {
  Json json = {{"uid", who.uid()}, {"gid", who.gid()}, {"groups", Json::array()}};
  for (uint32_t group : who.groups())
    json["groups"].push_back(group);
  json["administrator"] = who.administrator();
  json["rule"] = who.rule();
  json["requests"] = Json::array();
  for (auto& request : who.requests())
    json["requests"].push_back(request);
  json["privileged"] = who.privileged();
  json["images"] = describe(who.images(), {"", "", ""});
  json["bind_mounts"] = describe(who.bind_mounts(), {"ro", "", "rw"});
  json["copies"] = describe(who.copies(), {"in", "out", "both"});
  if (who.has_max_containers()) json["max_containers"] = who.max_containers();
  if (who.has_max_ports()) json["max_ports"] = who.max_ports();
  if (who.has_max_memory()) json["max_memory"] = who.max_memory();
  if (who.has_max_disk()) json["max_disk"] = who.max_disk();
  if (who.has_profile()) json["profile"] = who.profile();
  return json;
}

std::string inWords(const Json& value) {
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_string()) return printable(value.get<std::string>());
  if (!value.is_array()) return value.dump();
  std::string list;
  for (auto& item : value)
    list += (list.empty() ? "" : ", ") + inWords(item);
  return list.empty() ? "none" : list;
}

}  // namespace

int Commands::whoami() {
  Json json = describe(connect().whoami());
  std::string text;
  if (settings.json) {
    text = dump(json);
  } else {
    for (auto& [name, value] : json.items()) {
      std::string padded = name;
      padded.resize(20, ' ');
      text += padded + inWords(value) + "\n";
    }
  }
  write(STDOUT_FILENO, text);
  return 0;
}

}  // namespace warden::client
