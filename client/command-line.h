#pragma once
// The command `warden`: one subcommand for each request.

#include <ostream>

namespace warden::client {

constexpr int EXIT_SERVER_ERROR = 1;  // the server refused or failed the request
constexpr int EXIT_USAGE = 2;         // the command line is wrong
constexpr int EXIT_CONNECTION = 3;  // no server, no valid answer, or output that cannot be written
constexpr int EXIT_JOB_KILLED = 255;  // the job was ended by a signal, or its status is unknown

int commandLine(int argc, const char* const* argv);
// Runs the command and returns its exit status. Of run, stream and link that is the job's.

}  // namespace warden::client
