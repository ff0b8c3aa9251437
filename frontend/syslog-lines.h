#pragma once
// Lines of job output as syslog messages.

#include <kj/string.h>
#include <kj/vector.h>

#include <optional>
#include <string>

#include "base/fd.h"
#include "base/unix-address.h"

namespace warden::frontend {

class SyslogSocket {
  // Datagrams to the local syslog daemon, in the local form of RFC 3164 (no host name). Never
  // blocks: what the daemon does not take is lost, as syslog permits.

 public:
  explicit SyslogSocket(const std::optional<std::string>& path);
  // None: /dev/log.

  enum Severity { ERROR = 3, INFO = 6 };
  void send(Severity severity, kj::StringPtr tag, kj::ArrayPtr<const char> line) const;
  // Facility user. `line` is text without control characters.

 private:
  Fd socket;
  UnixAddress address;
};

class SyslogLines {
  // Cuts one stream of a job into lines.

 public:
  SyslogLines(const SyslogSocket& socket, SyslogSocket::Severity severity,
              kj::ArrayPtr<const char> tag);
  // The messages' tag is warden.TAG, with MAX_TAG_BYTES of it; what could break out of the tag's
  // place becomes "_".

  void resume(kj::ArrayPtr<const char> piece);
  // Before the first add(): what an earlier process has not sent of the line that it was in, less
  // than MAX_LINE_BYTES.
  void add(kj::ArrayPtr<const char> output);
  void finish();
  // Sends the last line, if it has no newline.

  static constexpr size_t MAX_TAG_BYTES = 48;

  static constexpr size_t MAX_LINE_BYTES = 900;
  // Longer lines are sent in pieces, so that a whole message is at most 1024 bytes (RFC 3164, 4.1).

 private:
  const SyslogSocket& socket;
  SyslogSocket::Severity severity;
  kj::String tag;
  kj::Vector<char> line;

  void addToLine(char c);
  void flush();
};

}  // namespace warden::frontend
