#include <unistd.h>

#include <nlohmann/json.hpp>

#include "client/commands.h"
#include "client/output.h"

namespace warden::client {

using Json = nlohmann::ordered_json;

namespace {

Json describe(const ListResponse::Container& container) {
  Json json{{"id", container.id()}};
  if (container.has_handle()) json["handle"] = bytesToJson(container.handle());
  json["state"] = container.state();
  if (container.has_held_up_by()) json["held_up_by"] = container.held_up_by();
  if (container.has_seconds()) json["seconds"] = container.seconds();
  return json;
}

std::string inWords(const ListResponse::Container& container) {
  std::string state = container.state();
  state.resize(std::max<size_t>(state.size(), 10), ' ');
  std::string line = container.id() + " " + state;
  if (container.has_handle()) line += " " + container.handle();
  if (container.has_held_up_by()) {
    line += " (for " + std::to_string(container.seconds()) + " s: " + container.held_up_by() + ")";
  }
  return shown(line);
}

template <typename Handles>
Json handlesToJson(const Handles& handles) {
  Json array = Json::array();
  for (const auto& handle : handles)
    array.push_back(bytesToJson(handle));
  return array;
}

}  // namespace

int Commands::list() {
  auto handles = connect().list();
  if (settings.json) {
    write(STDOUT_FILENO, dump(Json{{"handles", handlesToJson(handles)}}));
    return 0;
  }
  std::string text;
  for (const auto& handle : handles)
    text += shown(handle);
  write(STDOUT_FILENO, text);
  return 0;
}

int Commands::listAll() {
  auto response = connect().listAll();
  if (settings.json) {
    Json json{{"handles", handlesToJson(response.handles())}, {"containers", Json::array()}};
    for (const auto& container : response.containers())
      json["containers"].push_back(describe(container));
    write(STDOUT_FILENO, dump(json));
    return 0;
  }
  std::string text;
  if (response.containers().empty()) {
    for (const auto& handle : response.handles())
      text += shown(handle);
  }
  for (const auto& container : response.containers())
    text += inWords(container);
  write(STDOUT_FILENO, text);
  return 0;
}

}  // namespace warden::client
