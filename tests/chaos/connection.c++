#include "tests/chaos/connection.h"

#include <thread>

#include "tests/support/process.h"

namespace warden::chaos {

namespace {

constexpr auto CONNECT_TIME = std::chrono::seconds(20);
constexpr auto ANSWER_TIME = std::chrono::seconds(60);

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

bool Connection::connect() {
  if (client.has_value()) return true;
  auto deadline = Clock::now() + test::patient(CONNECT_TIME);
  while (Clock::now() < deadline) {
    try {
      client.emplace(server.connect());
      client->setTimeout(ANSWER_TIME);
      return true;
    } catch (const kj::Exception&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  journal.violation(who, "cannot connect for a long time");
  return false;
}

Fate Connection::judgeRefusal(const std::string& text) {
  lastMessage = text;
  journal.refused(text);
  if (contains(text, "internal error")) journal.violation(who, text);
  if (contains(text, "open files") && !lacksDescriptors()) journal.violation(who, text);
  if (contains(text, "too many connections")) {
    client.reset();
    return Fate::UNSENT;
  }
  return contains(text, "whether the request was carried out is not known") ? Fate::UNKNOWN
                                                                            : Fate::REFUSED;
}

// Said in the server's own words, and where it has few.
bool Connection::lacksDescriptors() const {
  return server.hasFewDescriptors() && contains(lastMessage, "limit on open files");
}

Fate Connection::receiveAnswer(const std::function<void(test::TestClient&)>& receive) {
  try {
    receive(*client);
    return Fate::ANSWERED;
  } catch (const test::ServerError& e) {
    return judgeRefusal(e.what());
  } catch (const test::ConnectionClosed&) {
  } catch (const kj::Exception& e) {
    journal.violation(who, e.getDescription().cStr());
  }
  client.reset();
  return Fate::UNKNOWN;
}

Fate Connection::attempt(const std::function<void(test::TestClient&)>& send,
                         const std::function<void(test::TestClient&)>& receive, bool walksAway) {
  if (!connect()) return Fate::UNSENT;
  Fate fate = Fate::UNKNOWN;
  try {
    send(*client);
    if (!walksAway) fate = receiveAnswer(receive);
  } catch (const test::ConnectionClosed&) {
    // Of what was sent a part may have arrived, also the whole.
    walksAway = true;
  }
  if (walksAway) client.reset();
  static constexpr const char* COUNTERS[] = {"answered", "refused", "unknown", "unsent"};
  journal.count(COUNTERS[static_cast<int>(fate)]);
  return fate;
}

}  // namespace warden::chaos
