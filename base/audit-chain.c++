#include "base/audit-chain.h"

#include <errno.h>
#include <kj/debug.h>
#include <kj/encoding.h>
#include <nettle/sha2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace warden {

using Json = nlohmann::ordered_json;

namespace {

constexpr off_t MAX_TAIL_BYTES = 256 * 1024;

std::string readAt(int file, off_t from, size_t length) {
  std::string text(length, '\0');
  size_t done = 0;
  while (done < length) {
    ssize_t n;
    KJ_SYSCALL(n = pread(file, text.data() + done, length - done, from + done));
    if (n == 0) break;
    done += n;
  }
  text.resize(done);
  return text;
}

bool isDigest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

std::optional<uint64_t> parseNumber(std::string_view digits) {
  uint64_t value = 0;
  for (char c : digits) {
    if (c < '0' || c > '9' || __builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, static_cast<uint64_t>(c - '0'), &value)) {
      return std::nullopt;
    }
  }
  return value;
}

bool isUtf8(const std::string& text) {
  try {
    (void)Json(text).dump();
    return true;
  } catch (const Json::exception&) {
    return false;
  }
}

// Cut between characters, where it has any.
std::string_view startOf(std::string_view bytes, size_t limit) {
  while (limit > 0 && (static_cast<unsigned char>(bytes[limit]) & 0xc0) == 0x80)
    --limit;
  return bytes.substr(0, limit);
}

}  // namespace

std::string sha256Hex(std::string_view bytes) {
  constexpr char HEX[] = "0123456789abcdef";
  sha256_ctx context;
  sha256_init(&context);
  sha256_update(&context, bytes.size(), reinterpret_cast<const uint8_t*>(bytes.data()));
  uint8_t digest[SHA256_DIGEST_SIZE];
  sha256_digest(&context, sizeof(digest), digest);
  std::string text;
  text.reserve(2 * sizeof(digest));
  for (uint8_t byte : digest)
    text.append({HEX[byte >> 4], HEX[byte & 15]});
  return text;
}

std::string noDigest() {
  return std::string(64, '0');
}

std::string AuditHead::text() const {
  char text[AUDIT_HEAD_BYTES + 1];
  snprintf(text, sizeof(text), "%020lu %.64s %020lu\n", last.seq, last.hash.c_str(), first);
  return std::string(text, AUDIT_HEAD_BYTES);
}

std::optional<AuditHead> AuditHead::parse(std::string_view text) {
  if (text.size() != AUDIT_HEAD_BYTES || text[20] != ' ' || text[85] != ' ' || text[106] != '\n') {
    return std::nullopt;
  }
  auto seq = parseNumber(text.substr(0, 20));
  auto hash = text.substr(21, 64);
  auto first = parseNumber(text.substr(86, 20));
  if (!seq || !first || !isDigest(hash)) return std::nullopt;
  return AuditHead{{*seq, std::string(hash)}, *first};
}

std::optional<AuditLine> AuditLine::parse(std::string_view line) {
  if (line.size() > MAX_AUDIT_LINE_BYTES) return std::nullopt;
  AuditLine result;
  result.object = Json::parse(line, nullptr, /* exceptions */ false);
  if (!result.object.is_object()) return std::nullopt;
  auto seq = result.object.find("seq");
  auto prev = result.object.find("prev");
  if (seq == result.object.end() || !seq->is_number_unsigned() || prev == result.object.end() ||
      !prev->is_string() || !isDigest(prev->get_ref<const std::string&>())) {
    return std::nullopt;
  }
  result.link = {seq->get<uint64_t>(), sha256Hex(line)};
  result.prev = prev->get<std::string>();
  return result;
}

AuditTail readAuditTail(int file) {
  struct stat status;
  KJ_SYSCALL(fstat(file, &status));
  off_t from = std::max<off_t>(status.st_size - MAX_TAIL_BYTES, 0);
  std::string text = readAt(file, from, status.st_size - from);
  size_t end = text.rfind('\n');
  if (end == text.npos) {
    KJ_REQUIRE(from == 0, "the audit trail ends with no line: move the file away");
    return {"", text};
  }
  size_t begin = end == 0 ? text.npos : text.rfind('\n', end - 1);
  begin = begin == text.npos ? 0 : begin + 1;
  return {text.substr(begin, end - begin), text.substr(end + 1)};
}

std::optional<AuditHead> readAuditHead(int file) {
  return AuditHead::parse(readAt(file, 0, AUDIT_HEAD_BYTES + 1));
}

Json auditText(std::string_view bytes, size_t limit) {
  if (bytes.size() > limit) {
    return Json{{"start", auditText(startOf(bytes, limit), limit)}, {"bytes", bytes.size()}};
  }
  std::string text(bytes);
  if (isUtf8(text)) return text;
  auto raw = kj::arrayPtr(reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size());
  return Json{{"base64", kj::encodeBase64(raw).cStr()}};
}

std::optional<std::string> bytesOfAuditText(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_object()) return std::nullopt;
  auto start = value.find("start");
  if (start != value.end()) return bytesOfAuditText(*start);
  auto base64 = value.find("base64");
  if (base64 == value.end() || !base64->is_string()) return std::nullopt;
  auto text = base64->get<std::string>();
  auto bytes = kj::decodeBase64(kj::arrayPtr(text.data(), text.size()));
  if (bytes.hadErrors) return std::nullopt;
  return std::string(bytes.asChars().begin(), bytes.size());
}

std::string auditLine(const Json& object) {
  return object.dump(-1, ' ', true, Json::error_handler_t::replace);
}

}  // namespace warden
