#pragma once
// What each subcommand does, apart from how its command line is read.

#include <functional>
#include <string>

#include "client/client.h"
#include "client/progress-line.h"

namespace warden::client {

struct Settings {
  std::string socketPath;
  bool json = false;
  Timeout timeout;
};

class Commands {
  // Each method is one subcommand: asks the server, prints, and returns the exit status. Errors are
  // those of Client.

 public:
  explicit Commands(const Settings& settings) : settings(settings) {}

  int ping();
  int whoami();
  int echo(const std::string& message);
  int list();
  int listAll();
  int create(const CreateRequest& request);
  int info(const std::string& handle);
  int run(const SpawnRequest& request);
  // Spawn and Stream on one connection, so that output comes as the job writes it.
  int spawn(const SpawnRequest& request);
  int stream(const std::string& handle, uint32_t jobId);
  int link(const std::string& handle, uint32_t jobId);
  int stop(const StopRequest& request);
  int destroy(const std::string& handle);
  int limitMemory(const LimitMemoryRequest& request);
  int limitCpu(const LimitCpuRequest& request);
  int limitDisk(const LimitDiskRequest& request);
  int limitBandwidth(const LimitBandwidthRequest& request);
  int netIn(const NetInRequest& request);
  int netOut(const NetOutRequest& request);
  int copyIn(const CopyInRequest& request, bool showProgress);
  int copyOut(const CopyOutRequest& request, bool showProgress);
  // On standard error; where that is a terminal, and without JSON, also unasked.

 private:
  const Settings& settings;

  Client connect() const;
  int done() const;
  Client::CopyWatcher watcherOf(ProgressLine& line, bool showProgress) const;
  int streamTo(Client& client, const std::string& handle, uint32_t jobId);
  int finished(uint32_t jobId, const LinkResponse& result);
};

std::string readScript();
// All of standard input.

}  // namespace warden::client
