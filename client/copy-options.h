#pragma once
// The subcommands that move files, and the host paths of create: how their command lines are read.

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "client/commands.h"

namespace warden::client {

std::string absolutePath(const std::string& path);
// Of a path of the host, from the working directory. A slash at the end stays, as it has a meaning.

CreateRequest::BindMount parseBindMount(const std::string& text);
// SOURCE:TARGET, or SOURCE:TARGET:ro or :rw; without it, ro. Throws CLI::ValidationError.

class CopyOptions {
  // What the options of the chosen subcommand are read into.

 public:
  CopyOptions(CLI::App& app, Commands& commands, std::function<int()>& action);
  // Declares the subcommands; the chosen one sets `action`. All are borrowed.

  CopyOptions(const CopyOptions&) = delete;

 private:
  CopyInRequest in;
  CopyOutRequest out;
  bool showProgress = false;
};

}  // namespace warden::client
