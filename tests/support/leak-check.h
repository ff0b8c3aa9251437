#pragma once
// Whether something is left behind: the kernel objects and files of a server as a list of words,
// compared before and after.

#include <chrono>
#include <set>
#include <string>

#include "tests/support/test-server.h"

namespace warden::test {

using Snapshot = std::multiset<std::string>;

Snapshot takeSnapshot(const TestServer& server);
// One item for each mount (of the test's own mount namespace and of each that a process of the
// server is in), cgroup directory, process, open descriptor of helper and frontend, namespace,
// bound socket, loop device of a file of the server, depot entry and file of the server's own
// directory, and of the server's network namespace each interface, qdisc, table,
// chain, rule, set and element. Items carry no number that differs between two of a kind.

class LeakCheck {
 public:
  explicit LeakCheck(const TestServer& server);
  // Takes what is there now as the state to come back to. To be called when the server has served
  // one container before, so that what it opens at first use and keeps is there.

  void expectNothingLeaked(std::chrono::milliseconds patience = std::chrono::seconds(5)) const;
  // Fails the test with the difference when it has not vanished and nothing has changed for
  // `patience`.

  std::string findLeaks(std::chrono::milliseconds patience = std::chrono::seconds(5)) const;
  // The same difference as text, a line each; "" when there is none.

 private:
  const TestServer& server;
  Snapshot before;
};

}  // namespace warden::test
