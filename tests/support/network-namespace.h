#pragma once
// Network namespaces of tests: a server's, another machine's, a container's. What a test does to
// the network it does in one of these; the host's own is never touched.

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/fd.h"
#include "tests/support/process.h"

namespace warden::test {

class NetworkNamespace {
 public:
  static NetworkNamespace make();
  // A fresh one, with loopback up, that does not forward: what a machine is after its start. It
  // ends with the last process in it and the last descriptor of it.

  static NetworkNamespace of(pid_t pid);
  // That a process is in. Throws when the process has ended.

  int fd() const { return space.get(); }

  template <typename Function>
  auto in(Function&& function) const {
    // Calls it with this thread in the namespace. A socket stays in the namespace that it was made
    // in; so what `function` opens can be used outside of it.
    Visit visit(space);
    return function();
  }

  ProgramResult run(const std::vector<std::string>& arguments) const;
  // As runProgram().

  std::string output(const std::vector<std::string>& arguments) const;
  // stdout of a program that must succeed; throws with its stderr when it does not.

  void setSysctl(const std::string& name, const std::string& value) const;
  std::string sysctl(const std::string& name) const;
  // `name` as a path below /proc/sys: "net/ipv4/ip_forward". Without the newline.

 private:
  explicit NetworkNamespace(Fd space) : space(kj::mv(space)) {}

  class Visit {
   public:
    explicit Visit(int to);
    ~Visit();
    KJ_DISALLOW_COPY(Visit);

   private:
    Fd home;
  };

  Fd space;
};

std::vector<std::string> interfaceNames(const NetworkNamespace& network);

std::vector<std::string> networkObjects(const NetworkNamespace& network);
// One item for each interface, each qdisc, class and filter of traffic control, and each table,
// chain, rule, set and element of nf_tables, sorted; without numbers that the kernel counts on
// (handles, counters, timers). Equal before and after: nothing was changed.

std::vector<std::string> serverNetworkObjects(const NetworkNamespace& network);
// Those of them that a warden server makes: interfaces of containers, shaping, every table.

}  // namespace warden::test
