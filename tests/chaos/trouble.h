#pragma once
// What is done to the server while clients ask it. All from one thread, the one that has started
// it.

#include "tests/chaos/model.h"
#include "tests/support/test-server.h"

namespace warden::chaos {

class TroubleMaker {
 public:
  TroubleMaker(test::TestServer& server, Model& model, Journal& journal)
      : server(server), model(model), journal(journal) {}

  void make(const Trouble& trouble);
  // Ends what it has begun, but for processes that it killed.

  void keepRunning();
  // Starts the server when it has ended. That it has without having been killed is a violation.

 private:
  test::TestServer& server;
  Model& model;
  Journal& journal;
  bool endIsExpected = false;

  void kill(pid_t pid);
  void killFrontend();
  void killHelper(pid_t pid);
  void killServer();
  void killWshd(uint32_t pick);
  void pauseProcess(pid_t pid, const Trouble& trouble);
  void fillDisk(const Trouble& trouble);
  void flood(const Trouble& trouble);
  void exhaustPids(uint32_t pick);
  pid_t wshdOf(uint32_t pick, bool harms);
  void noteEnd(Clock::time_point from);
};

}  // namespace warden::chaos
