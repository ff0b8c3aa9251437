#pragma once
// The subcommand `audit`: verifies trails (base/audit-trail.h) and shows their records. It asks no
// server; it reads files.

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace warden::client {

struct AuditFilter {
  // What a record has to have; what is empty, any does.

  std::string user;    // name or number
  std::string handle;  // bytes; also matches the container's id
  std::string request;
  std::string outcome;  // done, refused, failed
  std::string since;    // a time of ISO 8601 in UTC, or its beginning: 2026-01-31, 2026-01-31T12:30
  std::string until;    // likewise; the time itself is included, as far as it is given

  bool matches(const nlohmann::ordered_json& record) const;
};

std::string describeRecord(const nlohmann::ordered_json& record);
// One line for people, without the newline: time, who, request, container, outcome, cause.

class AuditCommands {
  // What the options of `audit` are read into, and what they do.

 public:
  AuditCommands(CLI::App& app, const bool& json, std::function<int()>& action);
  // Declares `audit` and what is below it; the chosen one sets `action`. All are borrowed.

  AuditCommands(const AuditCommands&) = delete;

 private:
  const bool& json;
  std::function<int()>& action;
  std::vector<std::string> files;
  bool fromOldest = false;
  AuditFilter filter;

  void addFilters(CLI::App* command);
  int verify();
  int show();
  int follow();
  void print(const std::string& line) const;
};

}  // namespace warden::client
