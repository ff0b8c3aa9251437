#include "frontend/log.h"

#include <errno.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <syslog.h>
#include <unistd.h>

#include <mutex>
#include <vector>

namespace warden::frontend {

namespace {

constexpr const char* PATTERN = "%Y-%m-%dT%H:%M:%S.%eZ warden-frontend[%P] %l: %v";

// Appends `text` with control characters spelled out.
void appendPrintable(std::string& line, spdlog::string_view_t text) {
  constexpr char DIGITS[] = "0123456789abcdef";
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      line += c;
    } else {
      line += {'\\', 'x', DIGITS[byte >> 4], DIGITS[byte & 15]};
    }
  }
}

class FdSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit FdSink(int fd) : fd(fd) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t text;
    formatter_->format(message, text);
    std::string line;
    appendPrintable(line, {text.data(), text.size()});
    line += '\n';
    // A log that cannot be written (disk full, reader gone) must not end the server.
    size_t done = 0;
    while (done < line.size()) {
      ssize_t n = write(fd, line.data() + done, line.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      done += n;
    }
  }

  void flush_() override {}

 private:
  int fd;
};

class SafeSyslogSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit SafeSyslogSink(const std::string& identity) : identity(identity) {
    openlog(this->identity.c_str(), LOG_PID | LOG_NDELAY, LOG_USER);
  }
  ~SafeSyslogSink() override { closelog(); }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    std::string line;
    appendPrintable(line, message.payload);
    syslog(priority(message.level), "%s", line.c_str());
  }

  void flush_() override {}

 private:
  std::string identity;  // openlog(3) keeps the pointer

  static int priority(spdlog::level::level_enum level) {
    switch (level) {
      case spdlog::level::trace:
      case spdlog::level::debug:
        return LOG_DEBUG;
      case spdlog::level::info:
        return LOG_INFO;
      case spdlog::level::warn:
        return LOG_WARNING;
      default:
        return LOG_ERR;
    }
  }
};

}  // namespace

std::shared_ptr<spdlog::logger> makeLogger(const Config::Logging& logging, int fd) {
  std::vector<spdlog::sink_ptr> sinks;
  auto file = std::make_shared<FdSink>(fd);
  // The sink ends the line itself.
  file->set_formatter(
      std::make_unique<spdlog::pattern_formatter>(PATTERN, spdlog::pattern_time_type::utc, ""));
  sinks.push_back(std::move(file));
  if (logging.syslog) sinks.push_back(std::make_shared<SafeSyslogSink>(*logging.syslog));
  auto logger = std::make_shared<spdlog::logger>("frontend", sinks.begin(), sinks.end());
  logger->set_level(spdlog::level::from_str(logging.level));
  return logger;
}

void KjLog::logMessage(kj::LogSeverity severity, const char* file, int line, int,
                       kj::String&& text) {
  auto level = severity == kj::LogSeverity::INFO      ? spdlog::level::info
               : severity == kj::LogSeverity::WARNING ? spdlog::level::warn
                                                      : spdlog::level::err;
  logger.log(level, "{}:{}: {}", file, line, text.cStr());
}

}  // namespace warden::frontend
