#pragma once
// A server with a port for /healthz and /metrics, and who asks it.

#include <map>

#include "tests/support/network-socket.h"
#include "tests/support/server-test.h"

namespace warden::test {

constexpr uint16_t HEALTH_PORT = 8900;

struct HttpAnswer {
  int status = 0;  // 0: none came
  std::string headers;
  std::string body;
};

HttpAnswer parseHttp(const std::string& received);

class HealthTest : public ServerTest {
 protected:
  void startHealth(ServerOptions options = {});

  std::optional<TcpConnection> dial() {
    return tryConnect(server().network(), "127.0.0.1", HEALTH_PORT);
  }

  HttpAnswer exchange(const std::string& request);
  // On a connection of its own, to its end or ANSWER.

  HttpAnswer get(const std::string& path);
  HttpAnswer health() { return get("/healthz"); }
  bool becomes(int status, const std::string& cause = "");
  // What /healthz says, within seconds.

  std::map<std::string, double> metrics();
  // By name and labels, as written. Throws for what is no line of the format.
  bool reaches(const std::string& metric, double value);
  // Within seconds.
};

}  // namespace warden::test
