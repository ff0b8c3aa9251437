// The edge on a real unix socket, with a session of the test's own behind it.

#include <sys/resource.h>

#include "tests/unit/frontend-edge-testing.h"

namespace warden::frontend {
namespace {

TEST_F(EdgeTest, answersRequestsInOrder) {
  start();
  Client client(address);
  EXPECT_EQ(client.ask(Message::Echo, "one"), "Echo:one");
  EXPECT_EQ(client.ask(Message::Ping), "Ping:");
}

TEST_F(EdgeTest, answersPipelinedRequestsOneAfterTheOther) {
  start();
  Client client(address);
  client.send(Message::Create, "slow");
  for (int i = 0; i < 200; ++i)
    client.send(Message::Echo, std::to_string(i));
  EXPECT_EQ(client.receive(), "Create:slow");
  for (int i = 0; i < 200; ++i)
    EXPECT_EQ(client.receive(), "Echo:" + std::to_string(i));
}

TEST_F(EdgeTest, servesConnectionsConcurrently) {
  start();
  Client waiting(address);
  waiting.send(Message::Link);
  Client client(address);
  EXPECT_EQ(client.ask(Message::Echo, "x"), "Echo:x");
}

TEST_F(EdgeTest, sendsFilesBetweenMemory) {
  start();
  Client client(address);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(client.ask(Message::Stream) == "Stream:before" + fileContent + "after");
  }
}

TEST_F(EdgeTest, servesOthersWhileAClientDoesNotRead) {
  start();
  Client greedy(address);
  greedy.send(Message::Stream);
  Client flooding(address);
  std::string large(60000, 'x');
  fcntl(flooding.fd, F_SETFL, O_NONBLOCK);
  auto frame = encodeFrame(Message::Echo, bytesOf(large));
  // The server stops reading when its answers are not taken, so this flood ends.
  size_t sent = 0;
  for (int idle = 0; idle < 20;) {
    ssize_t n = ::send(flooding.fd, frame.begin() + sent % frame.size(),
                       frame.size() - sent % frame.size(), MSG_NOSIGNAL);
    if (n > 0) {
      sent += n;
      idle = 0;
    } else {
      ++idle;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    ASSERT_LT(sent, 16u << 20);
  }
  Client client(address);
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(client.ask(Message::Ping), "Ping:");
}

TEST_F(EdgeTest, answersAfterTheClientHasShutDownItsSendingSide) {
  start();
  Client client(address);
  client.send(Message::Create, "slow");
  client.send(Message::Echo, "last");
  shutdown(client.fd, SHUT_WR);
  EXPECT_EQ(client.receive(), "Create:slow");
  EXPECT_EQ(client.receive(), "Echo:last");
  EXPECT_EQ(client.receive(), "end");
}

TEST_F(EdgeTest, dropsTheRequestWhenTheClientDisconnects) {
  start();
  {
    Client client(address);
    client.send(Message::Link);
    EXPECT_TRUE(eventually([&]() { return shared.linking == 1; }));
    EXPECT_EQ(shared.dropped, 0);
  }
  EXPECT_TRUE(eventually([&]() { return shared.dropped == 1 && shared.sessions == 0; }));
  EXPECT_EQ(connectionCount(), 0u);
}

TEST_F(EdgeTest, beginsTheRequestOfAClientThatHasGoneAlready) {
  start();
  for (int i = 1; i <= 20; ++i) {
    Client(address).send(Message::Link);
    EXPECT_TRUE(eventually([&]() { return shared.linking == i && shared.dropped == i; }));
  }
}

TEST_F(EdgeTest, endsTheStreamOfAClientThatDisconnects) {
  start();
  {
    Client client(address);
    client.send(Message::Stream);
    char c;
    EXPECT_EQ(recv(client.fd, &c, 1, 0), 1);
  }
  EXPECT_TRUE(eventually([&]() { return shared.sessions == 0; }));
}

TEST_F(EdgeTest, answersABugWithANumberThatTheLogRepeats) {
  start();
  Client client(address);
  EXPECT_NE(client.ask(Message::Info).find("internal error (number 1)"), std::string::npos);
  EXPECT_NE(client.ask(Message::Info).find("internal error (number 2)"), std::string::npos);
  EXPECT_EQ(client.ask(Message::Ping), "Ping:");
  EXPECT_NE(logText.str().find("internal error 2: "), std::string::npos);
  EXPECT_NE(logText.str().find("a bug of the test"), std::string::npos);
}

TEST_F(EdgeTest, closesWhenAResponseCannotBeCompleted) {
  start();
  Client client(address);
  EXPECT_EQ(client.ask(Message::NetIn), "end");
}

TEST_F(EdgeTest, closesAfterAnUndecodableFrame) {
  start();
  for (const std::string malformed :
       {"-5\r\n", "0x10\r\n", "99999999999\r\n", "no length", "3\r\nabc\r\n", "1048577\r\n"}) {
    Client client(address);
    client.send(Message::Create, "slow");
    client.send(Message::Echo, "x");
    client.sendRaw(malformed + std::string(100000, 'z'));
    EXPECT_EQ(client.receive(), "Create:slow");
    EXPECT_EQ(client.receive(), "Echo:x");
    EXPECT_EQ(client.receive(), "end") << malformed;
  }
}

TEST_F(EdgeTest, logsUndecodableFramesOnceASecond) {
  start();
  auto since = std::chrono::steady_clock::now();
  for (int i = 0; i < 50; ++i) {
    Client client(address);
    client.sendRaw("-5\r\n");
    EXPECT_EQ(client.receive(), "end");
  }
  auto seconds = std::chrono::floor<std::chrono::seconds>(std::chrono::steady_clock::now() - since);
  const std::string line = "closed: undecodable frame: the length is no number\n";
  std::string text = logText.str();
  int lines = 0;
  for (size_t at = 0; (at = text.find(line, at)) != std::string::npos; at += line.size())
    ++lines;
  EXPECT_GE(lines, 1) << text;
  EXPECT_LE(lines, 1 + seconds.count()) << text;
}

TEST_F(EdgeTest, closesWhenTheSessionAsksForIt) {
  start();
  Client client(address);
  client.send(Message::Stop);
  client.send(Message::Ping);
  EXPECT_EQ(client.receive(), "Stop:");
  EXPECT_EQ(client.receive(), "end");
}

TEST_F(EdgeTest, closesWhenTheClientEndsInTheMiddleOfAFrame) {
  start();
  Client client(address);
  client.sendRaw("100\r\nabc");
  shutdown(client.fd, SHUT_WR);
  EXPECT_EQ(client.receive(), "end");
}

TEST_F(EdgeTest, refusesConnectionsOverTheLimit) {
  start(2);
  Client first(address), second(address);
  EXPECT_EQ(first.ask(Message::Ping), "Ping:");
  EXPECT_EQ(second.ask(Message::Ping), "Ping:");
  Client third(address);
  EXPECT_NE(third.receive().find("too many connections"), std::string::npos);
  EXPECT_EQ(third.receive(), "end");
  first.fd = nullptr;
  EXPECT_TRUE(eventually([&]() { return connectionCount() == 1; }));
  EXPECT_EQ(Client(address).ask(Message::Ping), "Ping:");
}

TEST_F(EdgeTest, boundsWhatAllUnfinishedRequestsHold) {
  start(1000, 2 << 20);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 16; ++i) {
    clients.push_back(std::make_unique<Client>(address));
    auto part = "1000000\r\n" + std::string(600000, 'x');
    ::send(clients.back()->fd, part.data(), part.size(), MSG_NOSIGNAL);
  }
  EXPECT_TRUE(eventually([&]() { return connectionCount() <= 4; }));
  EXPECT_EQ(Client(address).ask(Message::Ping), "Ping:");
  clients.clear();
  EXPECT_TRUE(eventually([&]() { return connectionCount() == 0; }));
  EXPECT_EQ(Client(address).ask(Message::Echo, std::string(900000, 'x')).size(), 900005u);
  EXPECT_NE(logText.str().find("take too much memory"), std::string::npos);
}

TEST_F(EdgeTest, boundsWhatAllUnreadResponsesHold) {
  start(1000, 64 << 20, 4 << 20);
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 16; ++i) {
    clients.push_back(std::make_unique<Client>(address));
    clients.back()->send(Message::Echo, std::string(900000, 'x'));
  }
  EXPECT_TRUE(eventually([&]() { return connectionCount() <= 5; })) << connectionCount();
  // One who reads is served, also when the response is large.
  EXPECT_EQ(Client(address).ask(Message::Ping), "Ping:");
  clients.clear();
  EXPECT_TRUE(eventually([&]() { return connectionCount() == 0; }));
  EXPECT_EQ(Client(address).ask(Message::Echo, std::string(900000, 'x')).size(), 900005u);
  EXPECT_NE(logText.str().find("unread responses take too much memory"), std::string::npos);
}

TEST_F(EdgeTest, waitsWhileDescriptorsAreShort) {
  start();
  Client first(address);
  EXPECT_EQ(first.ask(Message::Ping), "Ping:");
  Client second(address);
  EXPECT_EQ(second.ask(Message::Ping), "Ping:");
  rlimit before;
  getrlimit(RLIMIT_NOFILE, &before);
  Fd next = duplicate(first.fd);
  // The client's socket takes the last number, so that the server has none.
  rlimit short_{static_cast<rlim_t>(next.get() + 1), before.rlim_max};
  next = nullptr;
  setrlimit(RLIMIT_NOFILE, &short_);
  Client waiting(address);
  ASSERT_TRUE(waiting.fd != nullptr);
  waiting.send(Message::Ping);
  timespec usedBefore, usedAfter;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &usedBefore);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &usedAfter);
  EXPECT_EQ(first.ask(Message::Ping), "Ping:");
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(waiting.receive(), "Ping:");
  double used =
      (usedAfter.tv_sec - usedBefore.tv_sec) * 1e3 + (usedAfter.tv_nsec - usedBefore.tv_nsec) / 1e6;
  EXPECT_LT(used, 100) << "ms of processor time while waiting 300 ms";
  EXPECT_NE(logText.str().find("connections have to wait"), std::string::npos);
}

TEST_F(EdgeTest, drainsIdleConnectionsAndThoseThatWaitForJobs) {
  start();
  Client idle(address), linking(address), halfFrame(address), creating(address);
  EXPECT_EQ(idle.ask(Message::Ping), "Ping:");
  linking.send(Message::Link);
  halfFrame.sendRaw("100\r\nabc");
  creating.send(Message::Create, "slow");
  creating.send(Message::Echo, "never answered");
  EXPECT_TRUE(eventually([&]() { return shared.linking == 1 && connectionCount() == 4; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  drain();
  EXPECT_EQ(idle.receive(), "end");
  EXPECT_EQ(linking.receive(), "end");
  EXPECT_EQ(halfFrame.receive(), "end");
  EXPECT_FALSE(drained);
  EXPECT_EQ(creating.receive(), "Create:slow");
  EXPECT_EQ(creating.receive().substr(0, 3), "end");
  EXPECT_TRUE(eventually([&]() { return drained.load(); }));
  EXPECT_FALSE(accepting);
  EXPECT_EQ(shared.dropped, 1);
  EXPECT_TRUE(Client(address).fd == nullptr);
}

TEST_F(EdgeTest, drainsAtOnceWithoutConnections) {
  start();
  drain();
  EXPECT_TRUE(eventually([&]() { return drained.load(); }));
}

TEST_F(EdgeTest, keepsNoBufferForIdleConnections) {
  start(100000);
  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  constexpr int COUNT = 2000;
  auto residentKilobytes = []() {
    long pages = 0, resident = 0;
    FILE* file = fopen("/proc/self/statm", "re");
    EXPECT_EQ(fscanf(file, "%ld %ld", &pages, &resident), 2);
    fclose(file);
    return resident * 4;
  };
  Client first(address);
  EXPECT_EQ(first.ask(Message::Echo, std::string(30000, 'x')).size(), 30005u);
  long before = residentKilobytes();
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < COUNT; ++i) {
    clients.push_back(std::make_unique<Client>(address));
    ASSERT_EQ(clients.back()->ask(Message::Echo, std::string(10000, 'x')).size(), 10005u);
  }
  long used = residentKilobytes() - before;
  RecordProperty("kilobytes", used);
#if !defined(__SANITIZE_ADDRESS__)
  EXPECT_LT(used, COUNT * 4) << "KiB for " << COUNT << " idle connections";
#endif
}

}  // namespace
}  // namespace warden::frontend
