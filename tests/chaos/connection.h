#pragma once
// A client's connection that may break at any moment, and what became of its requests.

#include <functional>
#include <optional>
#include <string>

#include "tests/chaos/model.h"
#include "tests/support/test-server.h"

namespace warden::chaos {

enum class Fate {
  ANSWERED,
  REFUSED,  // nothing was done
  UNKNOWN,  // it was sent, and done wholly or not at all
  UNSENT,
};

class Connection {
 public:
  Connection(const test::TestServer& server, Journal& journal, std::string who)
      : server(server), journal(journal), who(std::move(who)) {}

  template <typename Request, typename Response>
  Fate ask(const Request& request, Response& response, bool walksAway = false) {
    return attempt([&](test::TestClient& client) { client.send(request); },
                   [&](test::TestClient& client) { response = client.receive<Response>(); },
                   walksAway);
  }

  Fate attempt(const std::function<void(test::TestClient&)>& send,
               const std::function<void(test::TestClient&)>& receive, bool walksAway);
  // An answer that does not come in time is a violation.

  const std::string& message() const { return lastMessage; }
  // Of REFUSED.
  bool lacksDescriptors() const;
  // Whether that says, as is documented, that the server has none left.

  void close() { client.reset(); }

 private:
  const test::TestServer& server;
  Journal& journal;
  std::string who;
  std::optional<test::TestClient> client;
  std::string lastMessage;

  bool connect();
  Fate receiveAnswer(const std::function<void(test::TestClient&)>& receive);
  Fate judgeRefusal(const std::string& text);
};

}  // namespace warden::chaos
