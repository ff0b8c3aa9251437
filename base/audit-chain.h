#pragma once
// What makes a file of lines a chain: each line is a JSON object that carries its number and the
// digest of the line before it. Shared by who writes a trail and who verifies one.

#include <stdint.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace warden {

constexpr size_t MAX_AUDIT_LINE_BYTES = 64 * 1024;  // without the newline

std::string sha256Hex(std::string_view bytes);
// 64 lower case digits (FIPS 180-4).

std::string noDigest();
// What the first line of a trail has as the digest of the line before: 64 zeros.

struct AuditLink {
  uint64_t seq;
  std::string hash;  // of the line, without its newline
  bool operator==(const AuditLink&) const = default;
};

struct AuditHead {
  // The content of FILE.head: what the last line has to be, and with which number the oldest file
  // that is kept begins. One line of fixed length, so that it is overwritten in place.

  AuditLink last;
  uint64_t first;

  std::string text() const;
  static std::optional<AuditHead> parse(std::string_view text);
};
constexpr size_t AUDIT_HEAD_BYTES = 20 + 1 + 64 + 1 + 20 + 1;

struct AuditLine {
  // A line that is a record of a chain.

  AuditLink link;
  std::string prev;
  nlohmann::ordered_json object;

  static std::optional<AuditLine> parse(std::string_view line);
  // None: it is too long, no JSON object, or has no number and digest.
};

struct AuditTail {
  std::string line;  // the last whole line; empty: there is none
  std::string torn;  // what stands behind it without a newline
};
AuditTail readAuditTail(int file);
// Reads at most the last 256 KiB. Fails when these hold no newline, though the file is longer.

std::optional<AuditHead> readAuditHead(int file);

nlohmann::ordered_json auditText(std::string_view bytes, size_t limit = 1024);
// Bytes that anybody may have chosen, for a record: a string where they are UTF-8, else {"base64":
// "..."} (RFC 4648). What is longer than `limit` becomes {"start": ..., "bytes": the length of all
// of it}.

std::optional<std::string> bytesOfAuditText(const nlohmann::ordered_json& value);
// The other way round; the start where there is no more. None: it is nothing that auditText()
// makes.

std::string auditLine(const nlohmann::ordered_json& object);
// One line of ASCII, without the newline. What is not UTF-8 becomes U+FFFD.

}  // namespace warden
