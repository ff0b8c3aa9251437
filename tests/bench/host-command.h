#pragma once
// What a job costs without any container: the same shell, started on the host by posix_spawn(3)
// (which does not copy the caller's memory), with the same script on its stdin, pipes for stdout
// and stderr, both read to their end, and waited for.

#include <string>
#include <vector>

namespace warden::bench {

class HostCommand {
 public:
  HostCommand(std::string program, std::string name, std::string script,
              std::vector<std::string> arguments = {});
  // `name` is argv[0]: which applet a busybox is.

  void run();
  // Ends this process with a message when the program cannot be started or does not exit with 0.

 private:
  std::string program, name, script;
  std::vector<std::string> arguments;
};

}  // namespace warden::bench
