#include "client/output.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/audit-chain.h"

namespace warden::client {

using Json = nlohmann::ordered_json;

namespace {

// Length of the well-formed UTF-8 sequence at the start of `bytes`; 0: there is none.
size_t utf8Length(std::string_view bytes) {
  auto at = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  unsigned char first = at(0);
  if (first < 0x80) return 1;
  size_t length = first >= 0xc2 && first <= 0xdf   ? 2
                  : first >= 0xe0 && first <= 0xef ? 3
                  : first >= 0xf0 && first <= 0xf4 ? 4
                                                   : 0;
  if (length == 0 || bytes.size() < length) return 0;
  unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (at(1) < low || at(1) > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  return length;
}

// C0, DEL, and C1, which begins with 0xc2 in UTF-8.
bool isControl(std::string_view sequence) {
  auto first = static_cast<unsigned char>(sequence[0]);
  if (sequence.size() == 1) return first < 0x20 || first == 0x7f;
  return first == 0xc2 && static_cast<unsigned char>(sequence[1]) < 0xa0;
}

}  // namespace

void write(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(n);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      pollfd p{fd, POLLOUT, 0};
      poll(&p, 1, -1);
    } else if (errno != EINTR) {
      int error = errno;
      std::string name = fd == STDOUT_FILENO ? "standard output" : "standard error";
      throw OutputError("cannot write to " + name + ": " + strerror(error));
    }
  }
}

bool isUtf8(std::string_view bytes) {
  while (!bytes.empty()) {
    size_t length = utf8Length(bytes);
    if (length == 0) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

std::string shown(const std::string& bytes) {
  return (isatty(STDOUT_FILENO) == 1 ? printable(bytes) : bytes) + "\n";
}

std::string printable(std::string_view bytes) {
  constexpr char HEX[] = "0123456789abcdef";
  std::string text;
  while (!bytes.empty()) {
    size_t length = utf8Length(bytes);
    std::string_view sequence = bytes.substr(0, std::max<size_t>(length, 1));
    if (length > 0 && !isControl(sequence)) {
      text += sequence;
    } else {
      for (unsigned char c : sequence)
        text.append({'\\', 'x', HEX[c >> 4], HEX[c & 15]});
    }
    bytes.remove_prefix(sequence.size());
  }
  return text;
}

Json bytesToJson(std::string_view bytes) {
  return auditText(bytes, SIZE_MAX);
}

std::string dump(const Json& value) {
  return value.dump() + "\n";
}

}  // namespace warden::client
