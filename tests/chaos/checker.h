#pragma once
// After a round: whether the server is what its answers have promised.

#include "tests/chaos/copies.h"
#include "tests/support/leak-check.h"

namespace warden::chaos {

class Checker {
 public:
  Checker(test::TestServer& server, Model& model, Journal& journal, Trees& trees,
          std::chrono::milliseconds settlingTime)
      : server(server),
        model(model),
        journal(journal),
        trees(trees),
        settlingTime(settlingTime),
        connection(server, journal, "check") {}
  // `settlingTime`: what is removed in the background may take so long.

  void check(Random& random);
  // With no client and no trouble. Resolves what the model does not know.

  void clear(const test::LeakCheck& leaks);
  // Destroys all containers; what is left is a leak.

 private:
  test::TestServer& server;
  Model& model;
  Journal& journal;
  Trees& trees;
  std::chrono::milliseconds settlingTime;
  Connection connection;

  std::set<std::string> list();
  void violation(const std::string& what) { journal.violation("check", what); }
  void resolve(ContainerModel& container, bool listed);
  void checkContainer(ContainerModel& container, Random& random,
                      const std::vector<std::string>& network);
  void checkLimits(ContainerModel& container);
  void checkNetwork(ContainerModel& container, const InfoResponse& info,
                    const std::vector<std::string>& network);
  void checkJobs(ContainerModel& container, Random& random);
  void checkJob(ContainerModel& container, uint32_t id, JobModel& job);
  void checkCopies(ContainerModel& container);
  void checkUse(ContainerModel& container);
  bool hasFirstProcess(const std::string& id);
  void checkHost(const std::set<std::string>& ids, const std::set<std::string>& harmed);
  // `harmed`: those whose first process may have been killed, also a moment before; without it they
  // have lost their interface.
};

}  // namespace warden::chaos
