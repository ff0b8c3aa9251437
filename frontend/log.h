#pragma once
// The frontend's log: one line a message, to a descriptor that the helper opened, and to syslog.

#include <kj/exception.h>
#include <spdlog/logger.h>

#include <memory>

#include "base/config.h"

namespace warden::frontend {

std::shared_ptr<spdlog::logger> makeLogger(const Config::Logging& logging, int fd);
// Writes to `fd`, which it borrows, and to syslog (facility user) when an identity is configured;
// that connection is opened here, before the sandbox closes. Lines begin with the time in UTC, the
// process id and the level. Control characters in a message are written as \xNN: what a client
// sends cannot forge a line. Each line is one write(2), so lines of processes that share the file
// stay whole.

class KjLog : public kj::ExceptionCallback {
  // Passes what the KJ library logs on to the logger, while it exists.

 public:
  explicit KjLog(spdlog::logger& logger) : logger(logger) {}

  void logMessage(kj::LogSeverity severity, const char* file, int line, int contextDepth,
                  kj::String&& text) override;

 private:
  spdlog::logger& logger;
};

}  // namespace warden::frontend
