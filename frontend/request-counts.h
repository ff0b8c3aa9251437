#pragma once
// How many requests of each type ended how, since the start.

#include <stdint.h>

#include <array>

#include "schema/warden.pb.h"

namespace warden::frontend {

enum class RequestOutcome {
  DONE,
  FAILED,       // answered with an Error
  UNDECODABLE,  // its connection was closed
  GONE,         // its client has gone before
};
constexpr size_t REQUEST_OUTCOMES = 4;

const char* nameOfRequest(Message::Type type);
// As in access rules and the audit trail: "copy_in".
const char* nameOf(RequestOutcome outcome);

class RequestCounts {
 public:
  void add(Message::Type type, RequestOutcome outcome) {
    counts[type][static_cast<size_t>(outcome)] += 1;
  }

  template <typename Function>
  void forEach(Function&& function) const {
    // Calls function(type, outcome, count) for those that there were.
    for (int type = 0; type < Message::Type_ARRAYSIZE; ++type) {
      for (size_t outcome = 0; outcome < REQUEST_OUTCOMES; ++outcome) {
        if (counts[type][outcome] == 0) continue;
        function(static_cast<Message::Type>(type), static_cast<RequestOutcome>(outcome),
                 counts[type][outcome]);
      }
    }
  }

 private:
  std::array<std::array<uint64_t, REQUEST_OUTCOMES>, Message::Type_ARRAYSIZE> counts{};
};

}  // namespace warden::frontend
