#include "client/client.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "base/unix-address.h"
#include "client-test-server.h"

namespace warden::client {
namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;

const std::string BINARY("h\xff\x00\xc3\x28\r\n", 7);

// Each response is malformed in its own way; `ping` must say so, and the connection must be closed.
void expectProtocolError(const std::string& response) {
  TestServer server([&](Peer& peer) {
    peer.take<PingRequest>(Message::Ping);
    peer.sendRaw(response);
    peer.waitUntilClosed();
  });
  Client client = Client::connect(server.path());
  EXPECT_THROW(client.ping(), ProtocolError) << response;
  EXPECT_THROW(client.ping(), ConnectionError) << response;
}

TEST(ClientTest, pings) {
  TestServer server([](Peer& peer) {
    peer.take<PingRequest>(Message::Ping);
    peer.answer(Message::Ping, PingResponse());
  });
  Client::connect(server.path()).ping();
}

TEST(ClientTest, carriesAnyBytesBothWays) {
  TestServer server([](Peer& peer) {
    auto create = peer.take<CreateRequest>(Message::Create);
    EXPECT_EQ(create.handle(), BINARY);
    CreateResponse created;
    created.set_handle(create.handle());
    peer.answer(Message::Create, created);
    EchoResponse echo;
    echo.set_message(peer.take<EchoRequest>(Message::Echo).message());
    peer.answer(Message::Echo, echo);
  });
  Client client = Client::connect(server.path());
  CreateRequest create;
  create.set_handle(BINARY);
  EXPECT_EQ(client.create(create), BINARY);
  EXPECT_EQ(client.echo(BINARY), BINARY);
}

TEST(ClientTest, throwsTheServersMessageAndGoesOn) {
  TestServer server([](Peer& peer) {
    peer.takeMessage();
    peer.refuse("unknown handle");
    peer.take<PingRequest>(Message::Ping);
    peer.answer(Message::Ping, PingResponse());
  });
  Client client = Client::connect(server.path());
  try {
    client.info("nobody");
    FAIL() << "no exception";
  } catch (const ServerError& error) {
    EXPECT_STREQ(error.what(), "unknown handle");
    EXPECT_EQ(error.response().message(), "unknown handle");
  }
  client.ping();
}

TEST(ClientTest, hasATextForAnErrorWithoutOne) {
  TestServer server([](Peer& peer) {
    peer.takeMessage();
    peer.answer(Message::Error, ErrorResponse());
  });
  Client client = Client::connect(server.path());
  EXPECT_THROW(
      {
        try {
          client.ping();
        } catch (const ServerError& error) {
          EXPECT_STRNE(error.what(), "");
          throw;
        }
      },
      ServerError);
}

TEST(ClientTest, streamsInOrderAndReturnsTheLastResponse) {
  TestServer server([](Peer& peer) {
    auto request = peer.take<StreamRequest>(Message::Stream);
    EXPECT_EQ(request.job_id(), 7u);
    for (int i = 0; i < 500; ++i) {
      StreamResponse piece;
      piece.set_name(i % 3 == 0 ? "stderr" : "stdout");
      piece.set_data(std::to_string(i) + BINARY);
      peer.answer(Message::Stream, piece);
    }
    StreamResponse last;
    last.set_exit_status(42);
    last.mutable_info()->set_state("active");
    peer.answer(Message::Stream, last);
    peer.take<PingRequest>(Message::Ping);
    peer.answer(Message::Ping, PingResponse());
  });
  Client client = Client::connect(server.path());
  int next = 0;
  auto last = client.stream("h", 7, [&](const StreamResponse& piece) {
    EXPECT_EQ(piece.data(), std::to_string(next) + BINARY);
    EXPECT_EQ(piece.name(), next % 3 == 0 ? "stderr" : "stdout");
    ++next;
  });
  EXPECT_EQ(next, 500);
  EXPECT_EQ(last.exit_status(), 42u);
  EXPECT_EQ(last.info().state(), "active");
  client.ping();
}

TEST(ClientTest, canBeUsedAfterAnErrorInTheMiddleOfAStream) {
  TestServer server([](Peer& peer) {
    peer.take<StreamRequest>(Message::Stream);
    StreamResponse piece;
    piece.set_data("x");
    peer.answer(Message::Stream, piece);
    peer.refuse("no such job");
    peer.take<PingRequest>(Message::Ping);
    peer.answer(Message::Ping, PingResponse());
  });
  Client client = Client::connect(server.path());
  EXPECT_THROW(client.stream("h", 1, [](const auto&) {}), ServerError);
  client.ping();
}

TEST(ClientTest, closesTheConnectionWhenTheReceiverOfAStreamThrows) {
  TestServer server([](Peer& peer) {
    peer.take<StreamRequest>(Message::Stream);
    StreamResponse piece;
    piece.set_data("x");
    peer.answer(Message::Stream, piece);
    peer.waitUntilClosed();
  });
  Client client = Client::connect(server.path());
  struct Mine {};
  EXPECT_THROW(client.stream("h", 1, [](const auto&) { throw Mine(); }), Mine);
  EXPECT_THROW(client.ping(), ConnectionError);
}

TEST(ClientTest, refusesMalformedResponses) {
  expectProtocolError("-5\r\n");
  expectProtocolError("0x10\r\n");
  expectProtocolError("99999999999999\r\n");
  expectProtocolError("garbage");
  expectProtocolError("0\r\n\r\n");                               // no message
  expectProtocolError("5\r\nhello\r\n");                          // not protobuf
  expectProtocolError("2\r\n\x08\x5b\r\n");                       // no payload field
  expectProtocolError(std::string("4\r\n\x08\x5b\x12\x00xx"sv));  // not terminated
}

TEST(ClientTest, refusesAnUnknownType) {
  expectProtocolError(std::string("4\r\n\x08\x63\x12\x00\r\n"sv));
}

TEST(ClientTest, refusesTheAnswerToAnotherRequest) {
  expectProtocolError(encodeFrame(Message::List, ""));
}

TEST(ClientTest, refusesAnErrorThatIsNone) {
  expectProtocolError(encodeFrame(Message::Error, "\x12\xff"));
}

TEST(ClientTest, refusesAResponseWithoutARequiredField) {
  TestServer server([](Peer& peer) {
    peer.takeMessage();
    peer.sendRaw(encodeFrame(Message::Create, ""));
    peer.waitUntilClosed();
  });
  Client client = Client::connect(server.path());
  EXPECT_THROW(client.create(), ProtocolError);
  EXPECT_THROW(client.ping(), ConnectionError);
}

TEST(ClientTest, refusesWhatComesUnasked) {
  TestServer server([](Peer& peer) {
    peer.takeMessage();
    std::string pong = encodeFrame(Message::Ping, "");
    peer.sendRaw(pong + pong);
    peer.waitUntilClosed();
  });
  Client client = Client::connect(server.path());
  client.ping();
  EXPECT_THROW(client.ping(), ProtocolError);
}

TEST(ClientTest, doesNotAllocateWhatIsOnlyAnnounced) {
  TestServer server([](Peer& peer) {
    peer.takeMessage();
    peer.sendRaw("1000000000\r\nshort");
    peer.waitUntilClosed();
  });
  ClientOptions options;
  options.timeout = 100ms;
  Client client = Client::connect(server.path(), options);
  rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  EXPECT_THROW(client.ping(), TimeoutError);
  getrusage(RUSAGE_SELF, &after);
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, 16 * 1024);  // KiB
}

TEST(ClientTest, saysWhenTheServerHangsUp) {
  for (std::string_view sent : {""sv, "12"sv, "4\r\n\x08\x5b\x12"sv}) {
    TestServer server([&](Peer& peer) {
      peer.takeMessage();
      peer.sendRaw(sent);
    });
    Client client = Client::connect(server.path());
    EXPECT_THROW(client.ping(), ConnectionError) << sent;
  }
}

TEST(ClientTest, survivesAServerThatHangsUpWhileARequestIsSent) {
  TestServer server([](Peer&) {});
  Client client = Client::connect(server.path());
  EXPECT_THROW(client.echo(std::string(32 << 20, 'x')), ConnectionError);
}

TEST(ClientTest, timesOutWhenNoAnswerComes) {
  TestServer server([](Peer& peer) { peer.waitUntilClosed(); });
  ClientOptions options;
  options.timeout = 50ms;
  Client client = Client::connect(server.path(), options);
  auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(client.ping(), TimeoutError);
  auto took = std::chrono::steady_clock::now() - start;
  EXPECT_GE(took, 50ms);
  EXPECT_LT(took, 5s);
  EXPECT_THROW(client.ping(), ConnectionError);
}

TEST(ClientTest, timesOutWhenAnAnswerComesOneByteAtATime) {
  TestServer server([](Peer& peer) {
    peer.takeMessage();
    peer.sendRaw("900000\r\n");
    for (;;) {
      peer.sendRaw("x");
      std::this_thread::sleep_for(5ms);
    }
  });
  ClientOptions options;
  options.timeout = 100ms;
  Client client = Client::connect(server.path(), options);
  EXPECT_THROW(client.ping(), TimeoutError);
}

TEST(ClientTest, timesOutWhenTheServerDoesNotRead) {
  TestServer server([](Peer& peer) { peer.waitUntilClosedUnread(); });
  ClientOptions options;
  options.timeout = 100ms;
  Client client = Client::connect(server.path(), options);
  EXPECT_THROW(client.echo(std::string(32 << 20, 'x')), TimeoutError);
}

TEST(ClientTest, takesAnAnswerInTinyPieces) {
  TestServer server([](Peer& peer) {
    peer.takeMessage();
    EchoResponse echo;
    echo.set_message(BINARY);
    for (char c : encodeFrame(Message::Echo, echo.SerializeAsString())) {
      peer.sendRaw({&c, 1});
      std::this_thread::sleep_for(1ms);
    }
  });
  ClientOptions options;
  options.timeout = 10s;
  EXPECT_EQ(Client::connect(server.path(), options).echo("?"), BINARY);
}

TEST(ClientTest, isNotDisturbedBySignals) {
  // An interval timer interrupts whatever system call the client is in, a thousand times a second.
  struct sigaction action {
  }, old;
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, &old);
  std::string large(8 << 20, 'x');
  {
    TestServer server([&](Peer& peer) {
      sigset_t alarms;
      sigemptyset(&alarms);
      sigaddset(&alarms, SIGALRM);
      pthread_sigmask(SIG_BLOCK, &alarms, nullptr);  // the client's thread gets them
      for (int i = 0; i < 5; ++i) {
        EchoResponse echo;
        echo.set_message(peer.take<EchoRequest>(Message::Echo).message());
        std::this_thread::sleep_for(10ms);
        peer.answer(Message::Echo, echo);
      }
    });
    itimerval often{{0, 1000}, {0, 1000}};
    setitimer(ITIMER_REAL, &often, nullptr);
    Client client = Client::connect(server.path());
    for (int i = 0; i < 5; ++i)
      EXPECT_TRUE(client.echo(large) == large);
    itimerval never{};
    setitimer(ITIMER_REAL, &never, nullptr);
  }
  sigaction(SIGALRM, &old, nullptr);
}

TEST(ClientTest, namesThePathItCannotConnectTo) {
  try {
    Client::connect("/nonexistent/warden.sock");
    FAIL() << "no exception";
  } catch (const ConnectionError& error) {
    EXPECT_NE(std::string(error.what()).find("/nonexistent/warden.sock"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("No such file"), std::string::npos);
  }
}

TEST(ClientTest, refusesPathsThatCannotBeSockets) {
  EXPECT_THROW(Client::connect(""), ConnectionError);
  EXPECT_THROW(Client::connect("/" + std::string(200, 'x')), ConnectionError);
  EXPECT_THROW(Client::connect(std::string("/tmp/a\0b", 8)), ConnectionError);
}

TEST(ClientTest, givesUpConnectingToAServerThatDoesNotAccept) {
  char pattern[] = "/tmp/warden-client-test.XXXXXX";
  std::string directory = mkdtemp(pattern), path = directory + "/sock";
  UnixAddress address(path);
  Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(listener, address.get(), address.size()), 0);
  ASSERT_EQ(listen(listener, 0), 0);
  ClientOptions options;
  options.connectTimeout = 100ms;
  std::vector<Client> waiting;
  EXPECT_THROW(
      {
        for (int i = 0; i < 10; ++i)
          waiting.push_back(Client::connect(path, options));
      },
      TimeoutError);
  unlink(path.c_str());
  rmdir(directory.c_str());
}

TEST(ClientTest, refusesRequestsThatLackARequiredField) {
  TestServer server([](Peer& peer) { peer.waitUntilClosed(); });
  Client client = Client::connect(server.path());
  EXPECT_THROW(client.spawn(SpawnRequest()), std::invalid_argument);
}

TEST(ClientTest, callsWithEncodedRequests) {
  TestServer server([](Peer& peer) {
    auto request = peer.take<LimitCpuRequest>(Message::LimitCpu);
    LimitCpuResponse response;
    response.set_limit_in_shares(request.limit_in_shares() + 1);
    peer.answer(Message::LimitCpu, response);
  });
  LimitCpuRequest request;
  request.set_handle("h");
  request.set_limit_in_shares(1023);
  LimitCpuResponse response;
  Client client = Client::connect(server.path());
  ASSERT_TRUE(
      response.ParseFromString(client.call(Message::LimitCpu, request.SerializeAsString())));
  EXPECT_EQ(response.limit_in_shares(), 1024u);
}

}  // namespace
}  // namespace warden::client
