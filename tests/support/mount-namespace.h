#pragma once
// Mount namespaces of tests, in which files of the machine are others.

#include <map>
#include <string>

#include "base/fd.h"

namespace warden::test {

Fd makeMountNamespace(const std::map<std::string, std::string>& files,
                      const std::string& directory);
// A copy of the test's, in which the file at each path is another one: path -> the other's path.
// What is not there, as /dev/log may not be, is made in an overlay over its directory, whose upper
// layer lies in `directory`. The namespace lives as long as its descriptor.

}  // namespace warden::test
