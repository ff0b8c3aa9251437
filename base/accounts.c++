#include "base/accounts.h"

#include <string.h>

namespace warden {

namespace {

constexpr size_t MAX_LINE_BYTES = 1024;
constexpr size_t PASSWD_FIELDS = 7;
constexpr size_t GROUP_FIELDS = 4;

using Text = kj::ArrayPtr<const char>;

kj::Vector<Text> split(Text text, char separator) {
  kj::Vector<Text> parts;
  const char* begin = text.begin();
  for (const char* p = text.begin();; ++p) {
    if (p == text.end() || *p == separator) {
      parts.add(kj::arrayPtr(begin, p));
      if (p == text.end()) return parts;
      begin = p + 1;
    }
  }
}

bool isClean(Text line) {
  if (line.size() == 0 || line.size() > MAX_LINE_BYTES) return false;
  for (unsigned char c : line) {
    if (c < 0x20 || c == 0x7f) return false;
  }
  return true;
}

bool isNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

template <typename Add>
void forEachLine(Text text, size_t fieldCount, Add&& add) {
  for (Text line : split(text, '\n')) {
    if (!isClean(line)) continue;
    auto fields = split(line, ':');
    if (fields.size() != fieldCount || fields[0].size() == 0) continue;
    add(line, fields);
  }
}

}  // namespace

kj::Maybe<uint32_t> parseAccountId(Text digits) {
  if (digits.size() == 0 || digits.size() > 10) return nullptr;
  uint64_t value = 0;
  for (char c : digits) {
    if (c < '0' || c > '9') return nullptr;
    value = value * 10 + (c - '0');
  }
  if (value >= UINT32_MAX) return nullptr;
  return static_cast<uint32_t>(value);
}

kj::Vector<PasswdEntry> parsePasswd(Text text) {
  kj::Vector<PasswdEntry> entries;
  forEachLine(text, PASSWD_FIELDS, [&](Text line, kj::Vector<Text>& fields) {
    KJ_IF_MAYBE (uid, parseAccountId(fields[2])) {
      KJ_IF_MAYBE (gid, parseAccountId(fields[3])) {
        entries.add(PasswdEntry{kj::heapString(fields[0]), *uid, *gid, kj::heapString(fields[5]),
                                kj::heapString(fields[6]), kj::heapString(line)});
      }
    }
  });
  return entries;
}

kj::Vector<GroupEntry> parseGroup(Text text) {
  kj::Vector<GroupEntry> entries;
  forEachLine(text, GROUP_FIELDS, [&](Text line, kj::Vector<Text>& fields) {
    KJ_IF_MAYBE (gid, parseAccountId(fields[2])) {
      kj::Vector<kj::String> members;
      for (Text member : split(fields[3], ',')) {
        if (member.size() > 0) members.add(kj::heapString(member));
      }
      entries.add(
          GroupEntry{kj::heapString(fields[0]), *gid, kj::mv(members), kj::heapString(line)});
    }
  });
  return entries;
}

bool isPlainAbsolutePath(kj::StringPtr path) {
  if (path.size() == 0 || path.size() > 255 || path[0] != '/') return false;
  for (char c : path) {
    if (!isNameCharacter(c) && c != '/' && c != '+') return false;
  }
  for (Text component : split(path.asArray(), '/')) {
    if (component.size() == 2 && component[0] == '.' && component[1] == '.') return false;
  }
  return true;
}

}  // namespace warden
