#pragma once
// The fixture of tests of what of containers outlives the helper: a server whose frontend is the
// test, so that it sees what each helper knows.

#include "tests/escape/hostile-test.h"
#include "tests/support/network-host.h"
#include "tests/support/network-socket.h"

namespace warden::test {

enum class End {
  KILL_FRONTEND,  // SIGKILL
  KILL_BROKER,    // likewise; the others of the helper, and the frontend, follow
  KILL_ALL,       // all processes of the server at once
  TERM,
  USR2,
  KILL_LAUNCHER,
  KILL_SWEEPER,
  KILL_PORTER,
  KILL_OBSERVER,
};

class RecoveryHelperTest : public HostileFrontendTest {
 protected:
  pid_t create(const std::string& id, uint32_t slot);
  // Its wshd.

  void end(End how);
  // Expects the exit status that belongs to it.
  void start();
  // A helper, and the connection with it.
  void restart(End how);
  // Both; of the frontend alone, when only it is ended.

  std::vector<std::string> whole();
  std::vector<std::string> dying();

  void expectAlive(const std::string& id, pid_t wshd);
  // It can be adopted, is the same process as before, and wshd answers; twice.
  void expectGone(const std::string& id);
  // Nobody knows it, and nothing of it is there, soon.

  void call(const HelperConnection::Fill& fill, schema::HelperReply::Which expected);
  void mapPort(const std::string& id, uint16_t hostPort, uint16_t containerPort);
  void allowOut(const std::string& id, uint32_t first, uint32_t last,
                schema::Protocol protocol = schema::Protocol::ALL, bool log = false);
  void limitBandwidth(const std::string& id, uint64_t rate, uint64_t burst);

  std::string recordPath(const std::string& id) const {
    return server->depotPath() + "/" + id + "/helper.state";
  }

 private:
  void endByDeathOf(pid_t pid);
  void awaitEnd();
};

bool wshdAnswers(int connection);
// A ping, on the second descriptor of a reply.

std::vector<End> allEnds();
std::string endName(const ::testing::TestParamInfo<End>& info);

}  // namespace warden::test
