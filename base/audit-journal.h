#pragma once
// A copy of the trail for the system's journal, by its native protocol
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/): one datagram an entry.

#include <stdint.h>

#include <string>

#include "base/fd.h"

namespace warden {

constexpr kj::StringPtr JOURNAL_SOCKET = "/run/systemd/journal/socket"_kj;

class AuditJournal {
 public:
  explicit AuditJournal(kj::StringPtr socketPath = JOURNAL_SOCKET);
  // Connects; no path is used afterwards. Fails where there is no such socket.

  bool send(const std::string& line, uint64_t seq, const std::string& hash);
  // False: the journal did not take it (it does not run, or does not keep up). Never waits.

 private:
  Fd socket;
};

}  // namespace warden
