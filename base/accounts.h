#pragma once
// passwd(5) and group(5), as whoever may have written them: hostile until parsed.

#include <kj/array.h>
#include <kj/string.h>
#include <kj/vector.h>
#include <stdint.h>

namespace warden {

struct PasswdEntry {
  kj::String name;
  uint32_t uid;
  uint32_t gid;
  kj::String home;
  kj::String shell;
  kj::String line;  // as in the file, without the newline
};

struct GroupEntry {
  kj::String name;
  uint32_t gid;
  kj::Vector<kj::String> members;
  kj::String line;
};

kj::Vector<PasswdEntry> parsePasswd(kj::ArrayPtr<const char> text);
kj::Vector<GroupEntry> parseGroup(kj::ArrayPtr<const char> text);
// The lines that are well formed, in their order. Passed over: a wrong number of fields, a name
// that is empty, an id that is not a plain decimal number below 2^32 - 1, control characters, a
// line over 1024 bytes.

kj::Maybe<uint32_t> parseAccountId(kj::ArrayPtr<const char> digits);
// Decimal digits only, below 2^32 - 1 (which chown(2) takes for "unchanged").

bool isPlainAbsolutePath(kj::StringPtr path);
// Absolute, at most 255 bytes of [A-Za-z0-9._/+-], no component "..".

}  // namespace warden
