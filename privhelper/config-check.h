#pragma once
// What --check-config does: the checks of a start, without the start.

#include <string>
#include <vector>

namespace warden::privhelper {

std::vector<std::string> findMistakes(const std::string& path, bool passedSockets);
// Of a configuration file: what is wrong in it, and what it names that is not on this machine, or
// not as a server needs it. Each begins with the file, and the line where the key is there. Makes
// and changes nothing, and connects to nothing but the journal. `passedSockets`: the service
// manager holds warden.sock.

}  // namespace warden::privhelper
