#include "privhelper/file-owner.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/accounts.h"
#include "base/fd.h"
#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

constexpr size_t LARGEST_FILE = 16 << 20;
constexpr char STEP[] = "find the owner of the copy";

template <typename Entry>
uint32_t findId(kj::StringPtr name, kj::StringPtr file,
                kj::Vector<Entry> (*parse)(kj::ArrayPtr<const char>), uint32_t Entry::*id) {
  KJ_IF_MAYBE (number, parseAccountId(name)) {
    return *number;
  }
  Fd fd(step(STEP, [&] { return open(file.cStr(), O_RDONLY | O_CLOEXEC | O_NOCTTY); }));
  auto content = readAll(fd, LARGEST_FILE);
  for (auto& entry : parse(content.asChars())) {
    if (entry.name == name) return entry.*id;
  }
  throw StepError(STEP, 0,
                  kj::str("'", name, "' is not in the host's ", file,
                          "; give its number if it is known elsewhere"));
}

}  // namespace

FileOwner findFileOwner(kj::StringPtr text, kj::StringPtr passwd, kj::StringPtr group) {
  const char* colon = strchr(text.cStr(), ':');
  if (colon == nullptr || colon == text.begin() || colon + 1 == text.end() ||
      strchr(colon + 1, ':') != nullptr) {
    throw StepError(STEP, 0, "it is not USER:GROUP");
  }
  auto user = kj::heapString(text.begin(), colon - text.begin());
  return {findId<PasswdEntry>(user, passwd, parsePasswd, &PasswdEntry::uid),
          findId<GroupEntry>(text.slice(user.size() + 1), group, parseGroup, &GroupEntry::gid)};
}

}  // namespace warden::privhelper
