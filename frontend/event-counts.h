#pragma once
// How often each event of a container has come, in all containers since the start.

#include <kj/string.h>
#include <stdint.h>

#include <map>
#include <string>

namespace warden::frontend {

class EventCounts {
 public:
  void add(kj::StringPtr event) { counts[event.cStr()] += 1; }
  // A text of the server's own, of which there are few: nothing that a client has named.

  const std::map<std::string, uint64_t>& all() const { return counts; }

 private:
  std::map<std::string, uint64_t> counts;
};

}  // namespace warden::frontend
