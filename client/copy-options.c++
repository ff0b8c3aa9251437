#include "client/copy-options.h"

#include <filesystem>

namespace warden::client {

namespace {

constexpr char FOOTER[] =
    "\nWhat is copied, and where it goes, is as with rsync -r -p --links: a slash at the end of "
    "SOURCE\n"
    "copies what is in the directory, otherwise the directory itself. Files in the container "
    "belong "
    "to\n"
    "vcap; paths of the container are seen by vcap, from its home.";

void positional(CLI::App* command, const char* name, const char* description,
                std::function<void(const std::string&)> set) {
  command->add_option_function<std::string>(name, std::move(set), description)
      ->required()
      ->type_name("");
}

}  // namespace

std::string absolutePath(const std::string& path) {
  // An empty path is the server's to refuse.
  return path.empty() ? path : std::filesystem::absolute(path).string();
}

CreateRequest::BindMount parseBindMount(const std::string& text) {
  CreateRequest::BindMount mount;
  mount.set_mode(CreateRequest::BindMount::RO);
  std::string rest = text;
  if (rest.size() > 3 && (rest.ends_with(":ro") || rest.ends_with(":rw"))) {
    if (rest.ends_with(":rw")) mount.set_mode(CreateRequest::BindMount::RW);
    rest.resize(rest.size() - 3);
  }
  size_t colon = rest.find(':');
  if (colon == 0 || colon == std::string::npos || colon + 1 == rest.size()) {
    throw CLI::ValidationError("--bind-mount", "not SOURCE:TARGET[:ro|:rw]: " + text);
  }
  mount.set_src_path(absolutePath(rest.substr(0, colon)));
  mount.set_dst_path(rest.substr(colon + 1));
  return mount;
}

CopyOptions::CopyOptions(CLI::App& app, Commands& commands, std::function<int()>& action) {
  using Text = const std::string&;

  auto* copyIn = app.add_subcommand("copy-in", "copy files of the host into a container");
  positional(copyIn, "HANDLE", "of the container", [this](Text value) { in.set_handle(value); });
  positional(copyIn, "SOURCE", "on the host",
             [this](Text value) { in.set_src_path(absolutePath(value)); });
  positional(copyIn, "TARGET", "in the container", [this](Text value) { in.set_dst_path(value); });
  copyIn->callback(
      [this, &commands, &action] { action = [&] { return commands.copyIn(in, showProgress); }; });

  auto* copyOut = app.add_subcommand("copy-out", "copy files of a container to the host");
  positional(copyOut, "HANDLE", "of the container", [this](Text value) { out.set_handle(value); });
  positional(copyOut, "SOURCE", "in the container",
             [this](Text value) { out.set_src_path(value); });
  positional(copyOut, "TARGET", "on the host",
             [this](Text value) { out.set_dst_path(absolutePath(value)); });
  copyOut
      ->add_option_function<std::string>(
          "--owner", [this](Text value) { out.set_owner(value); },
          "whose the files are to be on the host (default: yours)")
      ->type_name("USER:GROUP");
  copyOut->callback(
      [this, &commands, &action] { action = [&] { return commands.copyOut(out, showProgress); }; });

  for (auto* command : {copyIn, copyOut}) {
    command->add_flag("--progress", showProgress,
                      "say on standard error how far the copy is, a line a second; on a terminal "
                      "that is the default, in one line (not with --json)");
    command->footer(FOOTER);
  }
}

}  // namespace warden::client
