#include "client/command-line.h"

#include <kj/exception.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>

#include "client/commands-audit.h"
#include "client/commands.h"
#include "client/copy-options.h"
#include "client/limit-options.h"
#include "client/output.h"

namespace warden::client {

namespace {

constexpr char DESCRIPTION[] =
    "Creates containers, runs jobs in them, limits and connects them, and destroys them, by way of "
    "a warden server.";

constexpr char EPILOGUE[] = R"(
The server's socket is, in this order: --socket, $WARDEN_SOCKET, /run/warden/warden.sock
if it exists, /tmp/warden.sock.

A handle is any string of bytes; put -- before one that begins with a dash. On a terminal
control characters in handles are shown as \xNN.

With --json a command prints one JSON object on standard output. A value that is not UTF-8
appears there as {"base64": "..."}; run, stream and link then print when the job has ended.

Errors go to standard error as "warden: COMMAND: CAUSE".

Exit status: 0 done; 1 the server refused or failed the request; 2 the command line is wrong;
3 no connection, no valid answer, or output that cannot be written. run, stream and link exit
with the status of the job, which is 255 for a job that a signal has ended.)";

struct RlimitName {
  const char* name;
  void (ResourceLimits::*set)(uint64_t);
};
constexpr RlimitName RLIMITS[] = {
    {"as", &ResourceLimits::set_as},           {"core", &ResourceLimits::set_core},
    {"cpu", &ResourceLimits::set_cpu},         {"data", &ResourceLimits::set_data},
    {"fsize", &ResourceLimits::set_fsize},     {"locks", &ResourceLimits::set_locks},
    {"memlock", &ResourceLimits::set_memlock}, {"msgqueue", &ResourceLimits::set_msgqueue},
    {"nice", &ResourceLimits::set_nice},       {"nofile", &ResourceLimits::set_nofile},
    {"nproc", &ResourceLimits::set_nproc},     {"rss", &ResourceLimits::set_rss},
    {"rtprio", &ResourceLimits::set_rtprio},   {"sigpending", &ResourceLimits::set_sigpending},
    {"stack", &ResourceLimits::set_stack},
};

std::optional<uint64_t> parseLimit(const std::string& text) {
  if (text == "unlimited") return UINT64_MAX;
  uint64_t value;
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

// Sets one limit from NAME=VALUE. Returns what is wrong with it, or an empty string.
std::string addRlimit(ResourceLimits& limits, const std::string& assignment) {
  size_t equals = std::min(assignment.find('='), assignment.size());
  std::string known;
  for (const auto& rlimit : RLIMITS) {
    known += std::string(" ") + rlimit.name;
    if (assignment.substr(0, equals) != rlimit.name || equals == assignment.size()) continue;
    auto value = parseLimit(assignment.substr(equals + 1));
    if (!value) return "neither a number nor 'unlimited': " + assignment;
    (limits.*rlimit.set)(*value);
    return "";
  }
  return "'" + assignment + "' is not NAME=VALUE with a NAME of:" + known;
}

std::string defaultSocket() {
  constexpr char INSTALLED[] = "/run/warden/warden.sock";
  if (const char* path = getenv("WARDEN_SOCKET"); path != nullptr && *path != '\0') return path;
  struct stat status;
  if (stat(INSTALLED, &status) == 0) return INSTALLED;
  return "/tmp/warden.sock";
}

int fail(const std::string& command, const std::string& cause, int status) {
  std::string line = "warden: " + (command.empty() ? "" : command + ": ") + printable(cause) + "\n";
  try {
    write(STDERR_FILENO, line);
  } catch (const OutputError&) {
    // There is nowhere left to say it; the exit status does.
  }
  return status;
}

class Parser {
  // Declares the subcommands; parsing sets `action` to what is to be done.

 public:
  Parser() : app(DESCRIPTION, "warden"), commands(settings) {
    app.footer(EPILOGUE);
    app.require_subcommand(1);
    app.add_option("--socket", settings.socketPath, "the server's unix socket")->type_name("PATH");
    app.add_flag("--json", settings.json, "print one JSON object");
    app.add_option("--timeout", timeoutSeconds,
                   "how long an answer may take, also from a silent job (default: for ever)")
        ->check([](const std::string& value) -> std::string {
          if (CLI::Range(0.001, 1e9)(value).empty()) return "";
          return "not a number of seconds: " + value;
        })
        ->type_name("SECONDS");
    app.fallthrough();
    addServerCommands();
    addContainerCommands();
    addJobCommands();
    limitOptions.emplace(app, commands, action);
    copyOptions.emplace(app, commands, action);
    auditCommands.emplace(app, settings.json, action);
  }

  void parse(int argc, const char* const* argv) {
    app.parse(argc, argv);
    if (settings.socketPath.empty()) settings.socketPath = defaultSocket();
    if (timeoutSeconds > 0) {
      settings.timeout = std::chrono::milliseconds(static_cast<int64_t>(timeoutSeconds * 1000));
    }
  }

  int explain(const CLI::ParseError& error);
  // Prints the help that was asked for, or what is wrong with the command line.

  std::string commandName() const {
    auto chosen = app.get_subcommands();
    return chosen.empty() ? std::string() : chosen.front()->get_name();
  }

  std::function<int()> action;

 private:
  bool all = false;
  CLI::App app;
  Settings settings;
  Commands commands;
  double timeoutSeconds = 0;

  // What the options of the chosen subcommand are read into.
  std::string handle;
  std::string text;
  std::vector<std::string> rlimits;
  uint32_t jobId = 0;
  CreateRequest createRequest;
  SpawnRequest spawnRequest;
  StopRequest stopRequest;
  std::optional<LimitOptions> limitOptions;
  std::optional<CopyOptions> copyOptions;
  std::optional<AuditCommands> auditCommands;

  CLI::App* add(const char* name, const char* description, std::function<int()> what) {
    auto* command = app.add_subcommand(name, description);
    command->callback([this, what] { action = what; });
    return command;
  }

  void needHandle(CLI::App* command) {
    command->add_option("HANDLE", handle, "of the container")->required()->type_name("");
  }

  void needJob(CLI::App* command) {
    needHandle(command);
    command->add_option("JOB", jobId, "id of the job")->required()->type_name("");
  }

  void addServerCommands();
  void addContainerCommands();
  void addJobCommands();
  void takeJobOptions(CLI::App* command);
  const SpawnRequest& completeSpawn();
};

void Parser::addServerCommands() {
  add("ping", "ask the server for a sign of life", [this] { return commands.ping(); });
  auto* echo = add("echo", "have the server send back MESSAGE, or standard input",
                   [this] { return commands.echo(text == "-" ? readScript() : text); });
  text = "-";
  echo->add_option("MESSAGE", text, "any bytes; - or absent: standard input")->type_name("");
  add("whoami", "print what the server lets you do", [this] { return commands.whoami(); });
  auto* list = add("list", "print the handles of all containers, one a line",
                   [this] { return all ? commands.listAll() : commands.list(); });
  list->add_flag(
      "--all", all,
      "also those that are being made or destroyed: id, state, handle, and what holds up "
      "a destroy");
}

void Parser::addContainerCommands() {
  auto* create = add("create", "create a container and print its handle",
                     [this] { return commands.create(createRequest); });
  create
      ->add_option_function<std::string>(
          "--handle", [this](const std::string& value) { createRequest.set_handle(value); },
          "the name of the container (default: its id)")
      ->type_name("HANDLE");
  create
      ->add_option_function<uint32_t>(
          "--grace-time", [this](const uint32_t& value) { createRequest.set_grace_time(value); },
          "destroy the container this long after the last connection that knows it has closed")
      ->type_name("SECONDS");
  create
      ->add_option_function<std::string>(
          "--network", [this](const std::string& value) { createRequest.set_network(value); },
          "the container's network: any address of a /30 of the server's pool (default: the next)")
      ->type_name("ADDRESS");
  create
      ->add_option_function<std::string>(
          "--rootfs",
          [this](const std::string& value) { createRequest.set_rootfs(absolutePath(value)); },
          "the root file system, a directory of the host that the server's configuration grants")
      ->type_name("DIRECTORY");
  create
      ->add_option_function<std::vector<std::string>>(
          "--bind-mount",
          [this](const std::vector<std::string>& values) {
            for (auto& value : values)
              *createRequest.add_bind_mounts() = parseBindMount(value);
          },
          "let the container see a directory or file of the host that the server's configuration "
          "grants; repeatable")
      ->allow_extra_args(false)
      ->type_name("SOURCE:TARGET[:ro|:rw]");
  create->footer(
      "\nThe command's own connection closes at once: with a grace time the container lives that\n"
      "long, unless another connection names it. Without --grace-time the server's configuration "
      "decides.");

  needHandle(add("info", "print the state of a container, its jobs and its statistics",
                 [this] { return commands.info(handle); }));

  auto* stop =
      add("stop", "end all processes of a container, and answer when they have ended", [this] {
        stopRequest.set_handle(handle);
        return commands.stop(stopRequest);
      });
  needHandle(stop);
  stop->add_flag_callback(
      "--kill", [this] { stopRequest.set_kill(true); },
      "send KILL at once, instead of TERM first and KILL after 10 seconds");
  stop->add_flag_callback(
      "--background", [this] { stopRequest.set_background(true); },
      "do not wait until the processes have ended");

  needHandle(add("destroy", "kill all processes of a container and remove it",
                 [this] { return commands.destroy(handle); }));
}

void Parser::takeJobOptions(CLI::App* command) {
  needHandle(command);
  text = "-";
  command->add_option("SCRIPT", text, "for the container's shell; - or absent: standard input")
      ->type_name("");
  command->add_flag_callback(
      "--privileged", [this] { spawnRequest.set_privileged(true); },
      "run as root of the container instead of vcap");
  command
      ->add_option("--rlimit", rlimits,
                   "a limit of setrlimit(2), as in nofile=100 or core=unlimited; repeatable")
      ->allow_extra_args(false)
      ->check([](const std::string& value) {
        ResourceLimits scratch;
        return addRlimit(scratch, value);
      })
      ->type_name("NAME=VALUE");
  command->add_flag_callback(
      "--discard-output", [this] { spawnRequest.set_discard_output(true); },
      "keep no output; the server's limit on output does not apply");
  command
      ->add_option_function<std::string>(
          "--log-tag", [this](const std::string& value) { spawnRequest.set_log_tag(value); },
          "send each line of output to syslog as warden.TAG")
      ->type_name("TAG");
}

const SpawnRequest& Parser::completeSpawn() {
  spawnRequest.set_handle(handle);
  for (const auto& rlimit : rlimits)
    addRlimit(*spawnRequest.mutable_rlimits(), rlimit);
  spawnRequest.set_script(text == "-" ? readScript() : text);
  return spawnRequest;
}

void Parser::addJobCommands() {
  auto* run = add("run", "run a job, show its output as it comes, and exit with its status",
                  [this] { return commands.run(completeSpawn()); });
  takeJobOptions(run);
  run->footer(
      "\nThe job goes on when this command is interrupted; `warden info` names its id, and "
      "`warden\n"
      "stream` shows all of its output. The script is the shell's standard input: what the script\n"
      "runs and reads from there is the rest of the script, or what the shell has left of it.");

  auto* spawn = add("spawn", "start a job and print its id",
                    [this] { return commands.spawn(completeSpawn()); });
  takeJobOptions(spawn);

  auto* stream = add("stream", "show a job's output from its beginning, as it comes",
                     [this] { return commands.stream(handle, jobId); });
  needJob(stream);
  stream->footer("\nExits with the job's status.");

  auto* link = add("link", "wait for a job's end and show all of its output",
                   [this] { return commands.link(handle, jobId); });
  needJob(link);
  link->footer("\nExits with the job's status. The job is gone then.");
}

int Parser::explain(const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) {
    std::ostringstream help;
    app.exit(error, help, help);
    write(STDOUT_FILENO, help.str());
    return 0;
  }
  std::string command = commandName();
  std::string hint = " (see warden " + (command.empty() ? "" : command + " ") + "--help)";
  return fail(command, error.what() + hint, EXIT_USAGE);
}

}  // namespace

int commandLine(int argc, const char* const* argv) {
  Parser parser;
  try {
    try {
      parser.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return parser.explain(error);
    }
    return parser.action();
  } catch (const ServerError& error) {
    return fail(parser.commandName(), error.what(), EXIT_SERVER_ERROR);
  } catch (const std::exception& error) {
    return fail(parser.commandName(), error.what(), EXIT_CONNECTION);
  } catch (const kj::Exception& error) {
    return fail(parser.commandName(), error.getDescription().cStr(), EXIT_CONNECTION);
  }
}

}  // namespace warden::client
