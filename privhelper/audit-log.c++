#include "privhelper/audit-log.h"

#include <time.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace warden::privhelper {

namespace {

using Json = nlohmann::ordered_json;

// Of what a hostile frontend gave as an id.
constexpr size_t LONGEST_ID = 64;

std::string timestamp() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc;
  gmtime_r(&now.tv_sec, &utc);
  char text[64];
  size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  snprintf(text + n, sizeof(text) - n, ".%06ldZ", now.tv_nsec / 1000);
  return text;
}

const char* nameOf(Outcome outcome) {
  switch (outcome) {
    case Outcome::DONE:
      return "done";
    case Outcome::REFUSED:
      return "refused";
    case Outcome::FAILED:
      return "failed";
  }
  return "";
}

void writeLine(int fd, const Json& object) {
  // Bytes that are not UTF-8 become U+FFFD: the line is always valid JSON.
  std::string line = object.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
  (void)!write(fd, line.data(), line.size());
}

}  // namespace

void AuditLog::record(kj::StringPtr operation, kj::StringPtr container, Outcome outcome,
                      kj::StringPtr cause, uint64_t durationUs) {
  Json object = {{"time", timestamp()}, {"from", "privhelper"}, {"operation", operation.cStr()}};
  if (container.size() > 0) {
    object["container"] = std::string(container.begin(), kj::min(container.size(), LONGEST_ID));
  }
  object["outcome"] = nameOf(outcome);
  if (cause.size() > 0) object["cause"] = std::string(cause.begin(), cause.size());
  if (durationUs != 0) object["duration_us"] = durationUs;
  writeLine(output, object);
}

void AuditLog::note(kj::StringPtr message) {
  writeLine(output,
            Json{{"time", timestamp()}, {"from", "privhelper"}, {"message", message.cStr()}});
}

}  // namespace warden::privhelper
