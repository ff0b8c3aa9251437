#include "frontend/syslog-lines.h"

#include <kj/debug.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

namespace warden::frontend {

namespace {

constexpr int FACILITY_USER = 1 << 3;

bool isTagCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-' || c == '/';
}

kj::String makeTag(kj::ArrayPtr<const char> wanted) {
  auto tag = kj::heapString(wanted.slice(0, kj::min(wanted.size(), SyslogLines::MAX_TAG_BYTES)));
  for (char& c : tag) {
    if (!isTagCharacter(c)) c = '_';
  }
  return kj::str("warden.", tag);
}

}  // namespace

SyslogSocket::SyslogSocket(const std::optional<std::string>& path)
    : address(path.value_or("/dev/log")) {
  int fd;
  tzset();  // reads its file once, before the sandbox closes
  KJ_SYSCALL(fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  socket = Fd(fd);
}

void SyslogSocket::send(Severity severity, kj::StringPtr tag, kj::ArrayPtr<const char> line) const {
  // The month's name must be English whatever the locale, which is why strftime is not used.
  static constexpr const char* MONTHS[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  time_t now = time(nullptr);
  tm local;
  localtime_r(&now, &local);
  char stamp[64];
  snprintf(stamp, sizeof(stamp), "<%d>%s %2d %02d:%02d:%02d ", FACILITY_USER | severity,
           MONTHS[local.tm_mon], local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec);
  auto head = kj::str(static_cast<const char*>(stamp), tag, ": ");
  iovec parts[] = {{head.begin(), head.size()}, {const_cast<char*>(line.begin()), line.size()}};
  msghdr message{};
  message.msg_name = const_cast<sockaddr*>(address.get());
  message.msg_namelen = address.size();
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  // Sent by name each time: the daemon's socket is another one after it restarts.
  (void)sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

SyslogLines::SyslogLines(const SyslogSocket& socket, SyslogSocket::Severity severity,
                         kj::ArrayPtr<const char> tag)
    : socket(socket), severity(severity), tag(makeTag(tag)) {}

void SyslogLines::resume(kj::ArrayPtr<const char> piece) {
  for (char c : piece)
    addToLine(c);
}

void SyslogLines::add(kj::ArrayPtr<const char> output) {
  for (char c : output) {
    if (c == '\n') {
      flush();
      continue;
    }
    addToLine(c);
    if (line.size() >= MAX_LINE_BYTES) flush();
  }
}

void SyslogLines::addToLine(char c) {
  // Control characters would let a job forge messages in a log file.
  bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  line.add(control ? ' ' : c);
}

void SyslogLines::finish() {
  flush();
}

void SyslogLines::flush() {
  if (line.size() > 0) socket.send(severity, tag, line);
  line.clear();
}

}  // namespace warden::frontend
