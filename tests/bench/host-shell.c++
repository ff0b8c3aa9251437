// warden-bench-host-shell: the time that a shell, or another runtime's command, takes on the host
// (tests/bench/host-command.h).

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "tests/bench/host-command.h"
#include "tests/bench/statistics.h"

int main(int argc, char** argv) {
  using namespace warden::bench;
  CLI::App app("Time of starting a shell on the host, with a script on stdin, until it has ended");
  std::string shell = "/bin/sh", name = "sh", script = "true", label = "host_shell";
  std::vector<std::string> arguments;
  int iterations = 1000;
  app.add_option("--shell", shell, "the program to run");
  app.add_option("--name", name, "its argv[0]: which applet a busybox is");
  app.add_option("--script", script);
  app.add_option("--label", label, "the name of the result");
  app.add_option("arguments", arguments, "further arguments of the program, after --");
  app.add_option("--iterations", iterations)->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);

  HostCommand command(shell, name, script, arguments);
  for (int i = 0; i < 20; ++i)
    command.run();
  Series series;
  for (int i = 0; i < iterations; ++i) {
    double start = nowUs();
    command.run();
    series.add(nowUs() - start);
  }
  Results results;
  results.add(label, series);
  fputs(results.json().c_str(), stdout);
}
