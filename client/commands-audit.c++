#include "client/commands-audit.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "base/audit-chain.h"
#include "base/audit-verify.h"
#include "base/fd.h"
#include "client/command-line.h"
#include "client/output.h"

namespace warden::client {

using Json = nlohmann::ordered_json;

namespace {

constexpr int LOOK_AGAIN_US = 200'000;

std::string text(const Json& record, const char* key) {
  auto value = record.find(key);
  return value != record.end() && value->is_string() ? value->get<std::string>() : "";
}

// Of a value that somebody has chosen.
std::string bytesOf(const Json& record, const char* key) {
  auto value = record.find(key);
  return value == record.end() ? "" : bytesOfAuditText(*value).value_or("");
}

bool isNumber(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

std::string userIdOf(const std::string& user) {
  if (isNumber(user)) return user;
  passwd* entry = getpwnam(user.c_str());
  if (entry == nullptr) throw CLI::ValidationError("there is no user '" + user + "'");
  return std::to_string(entry->pw_uid);
}

std::string peerUid(const Json& record) {
  auto peer = record.find("peer");
  if (peer == record.end() || !peer->is_object()) return "";
  auto uid = peer->find("uid");
  return uid != peer->end() && uid->is_number() ? uid->dump() : "";
}

std::string describePeer(const Json& record) {
  std::string uid = peerUid(record);
  if (uid.empty()) return "-";
  std::string who = "uid " + uid;
  auto& peer = record["peer"];
  if (auto pid = peer.find("pid"); pid != peer.end()) who += ", pid " + pid->dump();
  for (const char* key : {"executable", "unit"}) {
    std::string value = bytesOf(peer, key);
    if (!value.empty()) who += ", " + value;
  }
  return who;
}

bool isTime(const std::string& text) {
  constexpr std::string_view PATTERN = "dddd-dd-ddTdd:dd:dd.dddddd";
  size_t length = text.ends_with('Z') ? text.size() - 1 : text.size();
  if (length < 4 || length > PATTERN.size()) return false;
  for (size_t i = 0; i < length; ++i) {
    bool fits = PATTERN[i] == 'd' ? isdigit(static_cast<unsigned char>(text[i])) != 0
                                  : text[i] == PATTERN[i];
    if (!fits) return false;
  }
  return true;
}

Json parseRecord(const std::string& line) {
  return Json::parse(line, nullptr, /* exceptions */ false);
}

}  // namespace

bool AuditFilter::matches(const Json& record) const {
  if (!user.empty() && peerUid(record) != user) return false;
  if (!handle.empty() && bytesOf(record, "handle") != handle &&
      bytesOf(record, "container") != handle) {
    return false;
  }
  if (!request.empty() && bytesOf(record, "request") != request) return false;
  if (!outcome.empty() && text(record, "outcome") != outcome) return false;
  std::string time = text(record, "time");
  if (!since.empty() && time < since) return false;
  return until.empty() || time.substr(0, until.size()) <= until;
}

std::string describeRecord(const Json& record) {
  std::string line =
      text(record, "time") + "  " + text(record, "from") + "  " + describePeer(record) + "  ";
  std::string message = bytesOf(record, "message");
  if (!message.empty()) return printable(line + message);
  line += bytesOf(record, "request");
  for (const char* key : {"container", "handle"}) {
    std::string value = bytesOf(record, key);
    if (!value.empty()) line += " " + value;
  }
  line += "  " + text(record, "outcome");
  std::string cause = bytesOf(record, "cause");
  if (!cause.empty()) line += ": " + cause;
  if (auto us = record.find("duration_us"); us != record.end()) line += "  " + us->dump() + " us";
  return printable(line);
}

AuditCommands::AuditCommands(CLI::App& app, const bool& json, std::function<int()>& action)
    : json(json), action(action) {
  auto* audit =
      app.add_subcommand("audit", "verify the server's audit trails, or show records of them");
  audit->require_subcommand(1);
  auto add = [&](const char* name, const char* description, int (AuditCommands::*run)()) {
    auto* command = audit->add_subcommand(name, description);
    command->add_option("FILE", files, "as the configuration names it; rotated ones are found")
        ->required()
        ->type_name("");
    command->callback([this, run] { this->action = [this, run] { return (this->*run)(); }; });
    return command;
  };
  auto* verify = add("verify", "find lines that were changed, removed, put in, moved or cut",
                     &AuditCommands::verify);
  verify->add_flag("--from-oldest", fromOldest,
                   "accept that files older than the oldest one were taken away");
  verify->footer(
      "\nExit status: 0 all trails are whole; 1 one is not, and lines on standard output\n"
      "say FILE:LINE: WHAT; 3 a file cannot be read.");
  addFilters(add("show", "print records, one a line; with --json the lines as they are",
                 &AuditCommands::show));
  addFilters(
      add("follow", "print the records that come, until interrupted", &AuditCommands::follow));
}

void AuditCommands::addFilters(CLI::App* command) {
  command
      ->add_option_function<std::string>(
          "--user", [this](const std::string& value) { filter.user = userIdOf(value); },
          "of this user")
      ->type_name("NAME|UID");
  command->add_option("--handle", filter.handle, "of the container with this handle or id")
      ->type_name("HANDLE");
  command->add_option("--request", filter.request, "create, run, ...")->type_name("NAME");
  command->add_option("--outcome", filter.outcome, "done, refused or failed")
      ->check(CLI::IsMember({"done", "refused", "failed"}))
      ->type_name("OUTCOME");
  auto time = [](const std::string& value) -> std::string {
    return isTime(value) ? ""
                         : "'" + value +
                               "' is no time; as much of "
                               "YYYY-MM-DDTHH:MM:SS, in UTC, as wanted is accepted";
  };
  command->add_option("--since", filter.since, "not before")->check(time)->type_name("TIME");
  command->add_option("--until", filter.until, "not after")->check(time)->type_name("TIME");
}

int AuditCommands::verify() {
  bool whole = true;
  for (auto& file : files) {
    AuditReport report = verifyAuditTrail(file, fromOldest);
    whole = whole && report.findings.empty();
    if (json) {
      Json findings = Json::array();
      for (auto& found : report.findings) {
        findings.push_back({{"file", found.file}, {"line", found.line}, {"what", found.what}});
      }
      write(STDOUT_FILENO, dump({{"trail", file},
                                 {"whole", report.findings.empty()},
                                 {"records", report.records},
                                 {"first_seq", report.firstSeq},
                                 {"last_seq", report.lastSeq},
                                 {"findings", findings}}));
      continue;
    }
    for (auto& found : report.findings) {
      std::string place = found.line == 0 ? "" : ":" + std::to_string(found.line);
      write(STDOUT_FILENO, printable(found.file + place + ": " + found.what) + "\n");
    }
    write(STDOUT_FILENO,
          printable(file) + ": " + (report.findings.empty() ? "whole" : "NOT WHOLE") + ", " +
              std::to_string(report.records) + " records, " + std::to_string(report.firstSeq) +
              " to " + std::to_string(report.lastSeq) + "\n");
  }
  return whole ? 0 : EXIT_SERVER_ERROR;
}

void AuditCommands::print(const std::string& line) const {
  Json record = parseRecord(line);
  if (!record.is_object()) {
    // Of what is no record nobody knows whom it concerns: it is shown, and verify tells why.
    record = Json{{"message", "NO RECORD: " + line}};
    if (!json) write(STDOUT_FILENO, printable(text(record, "message")) + "\n");
    return;
  }
  if (!filter.matches(record)) return;
  write(STDOUT_FILENO, (json ? line : describeRecord(record)) + "\n");
}

int AuditCommands::show() {
  for (auto& trail : files) {
    for (auto& file : auditFiles(trail)) {
      std::ifstream in(file, std::ios::binary);
      KJ_REQUIRE(in.is_open(), "cannot open", file.c_str(), strerrordesc_np(errno));
      for (std::string line; std::getline(in, line);)
        print(line);
    }
  }
  return 0;
}

namespace {

class Follower {
  // One file by its name: goes on with the new one after a rotation, once the old one is read.

 public:
  explicit Follower(std::string path) : path(std::move(path)) {
    open();
    KJ_SYSCALL(lseek(file, 0, SEEK_END));
  }

  template <typename Print>
  void poll(Print&& print) {
    drain(print);
    struct stat now, held;
    if (stat(path.c_str(), &now) < 0) return;
    KJ_SYSCALL(fstat(file, &held));
    if (now.st_dev == held.st_dev && now.st_ino == held.st_ino) return;
    drain(print);
    open();
    drain(print);
  }

 private:
  std::string path;
  Fd file;
  std::string begun;  // a line that has no end yet

  void open() {
    int raw = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (raw < 0) KJ_FAIL_SYSCALL("open", errno, path.c_str());
    file = Fd(raw);
    begun.clear();
  }

  template <typename Print>
  void drain(Print&& print) {
    char buffer[65536];
    for (ssize_t n; (n = read(file, buffer, sizeof(buffer))) > 0;) {
      begun.append(buffer, n);
      for (size_t end; (end = begun.find('\n')) != begun.npos; begun.erase(0, end + 1))
        print(begun.substr(0, end));
    }
  }
};

}  // namespace

int AuditCommands::follow() {
  std::vector<Follower> followers;
  for (auto& path : files)
    followers.emplace_back(path);
  for (;;) {
    for (auto& follower : followers)
      follower.poll([&](const std::string& line) { print(line); });
    usleep(LOOK_AGAIN_US);
  }
}

}  // namespace warden::client
