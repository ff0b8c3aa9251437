#pragma once
// The subcommands for limits and the network: how their command lines are read.

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "client/commands.h"

namespace warden::client {

std::optional<uint64_t> parseSize(const std::string& text);
// A number of bytes, with K, M, G or T for powers of 1024. None: it is not that, or too large.

class LimitOptions {
  // What the options of the chosen subcommand are read into.

 public:
  LimitOptions(CLI::App& app, Commands& commands, std::function<int()>& action);
  // Declares the subcommands; the chosen one sets `action`. All are borrowed.

  LimitOptions(const LimitOptions&) = delete;

 private:
  CLI::App& app;
  Commands& commands;
  std::function<int()>& action;

  LimitMemoryRequest memory;
  LimitCpuRequest cpu;
  LimitDiskRequest disk;
  LimitBandwidthRequest bandwidth;
  NetInRequest netIn;
  NetOutRequest netOut;

  template <typename Request>
  CLI::App* add(const char* name, const char* description, Request& request,
                int (Commands::*run)(const Request&));
  void addLimitMemory();
  void addLimitCpu();
  void addLimitDisk();
  void addLimitBandwidth();
  void addNetIn();
  void addNetOut();
};

}  // namespace warden::client
