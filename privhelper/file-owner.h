#pragma once
// To whom a copy out of a container gives its files.

#include <kj/string.h>
#include <sys/types.h>

namespace warden::privhelper {

struct FileOwner {
  uid_t uid;
  gid_t gid;
};

FileOwner findFileOwner(kj::StringPtr text, kj::StringPtr passwd, kj::StringPtr group);
// `text` is USER:GROUP, each a number, which stands for itself, or a name that is looked up in
// these files (passwd(5), group(5)): name services would load libraries into a process that has
// more rights than they ought to have. Throws StepError.

}  // namespace warden::privhelper
