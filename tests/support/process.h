#pragma once
// Files, processes and waiting, as tests see them: by /proc and in strings.

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace warden::test {

std::string readFile(const std::string& path);
// The whole content. Throws when it cannot be read.

std::optional<std::string> tryReadFile(const std::string& path);
// None where it cannot be opened or read: files of /proc vanish with their process.

void writeFile(const std::string& path, const std::string& content, mode_t mode = 0644);

std::vector<std::string> splitLines(const std::string& text);

std::chrono::milliseconds patient(std::chrono::milliseconds time);
// `time` multiplied by $WARDEN_TEST_PATIENCE (1 when unset): what an emulated machine needs for
// what another does in `time`. For every upper bound; waitUntil, runProgram and TestClient do it
// themselves.

bool waitUntil(const std::function<bool()>& condition,
               std::chrono::milliseconds timeout = std::chrono::seconds(10));
// Asks again every 10 ms. False: it was still not so after patient(timeout).

std::vector<pid_t> allProcesses();

std::vector<pid_t> descendants(pid_t ancestor);
// Children, their children and so on, as of one look at /proc; zombies are left out.

std::string statusField(pid_t pid, const std::string& name);
// A field of /proc/PID/status (proc(5)), without surrounding blanks; "" when the process has ended.

std::string executableOf(pid_t pid);
// What /proc/PID/exe points to, without " (deleted)"; "" for a process that has ended.

bool runsProgram(pid_t pid, const std::string& program);
// Whether the process executes this very file, by whatever path it was started.

bool isAlive(pid_t pid);
// False for a zombie, too.

std::vector<std::string> openDescriptors(pid_t pid);
// What each descriptor refers to (readlink of /proc/PID/fd/N), without inode numbers, sorted; files
// of its own directory in /proc as /proc/self/...

std::map<int, std::string> descriptorTable(pid_t pid);
// What each descriptor refers to, with inode numbers: equal for two processes, it is the same pipe
// or socket. Not so for "anon_inode:[...]", which are all one inode.

struct ProgramResult {
  int exitStatus;  // 128 + N when ended by signal N
  std::string out;
  std::string err;
};

ProgramResult runProgram(const std::vector<std::string>& arguments,
                         std::chrono::seconds timeout = std::chrono::seconds(60));
// Runs a program by its path, with nothing on its stdin. It is killed when the time is over; then
// the call throws.

}  // namespace warden::test
