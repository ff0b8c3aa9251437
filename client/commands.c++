#include "client/commands.h"

#include <kj/debug.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "client/command-line.h"
#include "client/output.h"

namespace warden::client {

using Json = nlohmann::ordered_json;

namespace {

// More than any server takes in one request; reading an endless stdin ends here.
constexpr size_t MAX_SCRIPT_BYTES = 256 * 1024 * 1024;

int exitStatusOf(const LinkResponse& result) {
  if (!result.has_exit_status()) return EXIT_JOB_KILLED;
  return static_cast<int>(std::min<uint32_t>(result.exit_status(), EXIT_JOB_KILLED));
}

}  // namespace

std::string readScript() {
  auto bytes = readAll(STDIN_FILENO, MAX_SCRIPT_BYTES);
  return std::string(bytes.asChars().begin(), bytes.size());
}

Client Commands::connect() const {
  ClientOptions options;
  options.timeout = settings.timeout;
  if (settings.timeout) options.connectTimeout = settings.timeout;
  return Client::connect(settings.socketPath, options);
}

int Commands::done() const {
  if (settings.json) write(STDOUT_FILENO, dump(Json{{"ok", true}}));
  return 0;
}

int Commands::ping() {
  connect().ping();
  if (settings.json) return done();
  write(STDOUT_FILENO, "pong\n");
  return 0;
}

int Commands::echo(const std::string& message) {
  std::string answer = connect().echo(message);
  if (settings.json) {
    write(STDOUT_FILENO, dump(Json{{"message", bytesToJson(answer)}}));
  } else {
    write(STDOUT_FILENO, answer);
    if (isatty(STDOUT_FILENO) == 1 && !answer.ends_with('\n')) write(STDOUT_FILENO, "\n");
  }
  return 0;
}

int Commands::create(const CreateRequest& request) {
  std::string handle = connect().create(request);
  write(STDOUT_FILENO, settings.json ? dump(Json{{"handle", bytesToJson(handle)}}) : shown(handle));
  return 0;
}

int Commands::info(const std::string& handle) {
  InfoResponse info = connect().info(handle);
  write(STDOUT_FILENO, settings.json ? dump(infoToJson(info)) : infoToText(info));
  return 0;
}

int Commands::spawn(const SpawnRequest& request) {
  uint32_t jobId = connect().spawn(request);
  write(STDOUT_FILENO,
        settings.json ? dump(Json{{"job_id", jobId}}) : std::to_string(jobId) + "\n");
  return 0;
}

int Commands::run(const SpawnRequest& request) {
  Client client = connect();
  uint32_t jobId = client.spawn(request);
  return streamTo(client, request.handle(), jobId);
}

int Commands::stream(const std::string& handle, uint32_t jobId) {
  Client client = connect();
  return streamTo(client, handle, jobId);
}

int Commands::streamTo(Client& client, const std::string& handle, uint32_t jobId) {
  LinkResponse result;
  auto last = client.stream(handle, jobId, [&](const StreamResponse& piece) {
    bool isError = piece.name() == "stderr";
    if (settings.json) {
      (isError ? result.mutable_stderr() : result.mutable_stdout())->append(piece.data());
    } else {
      write(isError ? STDERR_FILENO : STDOUT_FILENO, piece.data());
    }
  });
  result.set_exit_status(last.exit_status());
  if (last.has_info()) *result.mutable_info() = last.info();
  return finished(jobId, result);
}

int Commands::link(const std::string& handle, uint32_t jobId) {
  return finished(jobId, connect().link(handle, jobId));
}

int Commands::finished(uint32_t jobId, const LinkResponse& result) {
  if (settings.json) {
    Json json{{"job_id", jobId}};
    if (result.has_exit_status()) json["exit_status"] = result.exit_status();
    json["stdout"] = bytesToJson(result.stdout());
    json["stderr"] = bytesToJson(result.stderr());
    if (result.has_info()) json["info"] = infoToJson(result.info());
    write(STDOUT_FILENO, dump(json));
  } else {
    write(STDOUT_FILENO, result.stdout());
    write(STDERR_FILENO, result.stderr());
  }
  return exitStatusOf(result);
}

int Commands::stop(const StopRequest& request) {
  connect().stop(request);
  return done();
}

int Commands::destroy(const std::string& handle) {
  connect().destroy(handle);
  return done();
}

Client::CopyWatcher Commands::watcherOf(ProgressLine& line, bool showProgress) const {
  if (!showProgress && (settings.json || !line.isOnTerminal())) return nullptr;
  return [&line](const CopyProgress& progress) { line.show(progress); };
}

int Commands::copyIn(const CopyInRequest& request, bool showProgress) {
  ProgressLine line(STDERR_FILENO);
  connect().copyIn(request, watcherOf(line, showProgress));
  line.finish();
  return done();
}

int Commands::copyOut(const CopyOutRequest& request, bool showProgress) {
  ProgressLine line(STDERR_FILENO);
  connect().copyOut(request, watcherOf(line, showProgress));
  line.finish();
  return done();
}

}  // namespace warden::client
