// How the command ends: usage, causes, and readers that are slow or have gone.

#include "client-command-testing.h"

namespace warden::client {
namespace {

TEST(WardenCommandTest, namesItselfTheCommandAndTheCauseWhenTheServerRefuses) {
  auto result = runWith(
      [](Peer& peer) {
        peer.takeMessage();
        peer.refuse("container with handle: \x1b[2Jh already exists.");
      },
      {"create", "--handle", "h"});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "warden: create: container with handle: \\x1b[2Jh already exists.\n");
}

TEST(WardenCommandTest, exitsWith2ForUsage) {
  for (std::vector<std::string> arguments : std::vector<std::vector<std::string>>{
           {},
           {"frob"},
           {"info"},
           {"info", "a", "b"},
           {"ping", "x"},
           {"link", "h", "-1"},
           {"link", "h", "4294967296"},
           {"link", "h", "x"},
           {"create", "--grace-time", "-1"},
           {"run", "h", "--rlimit", "nofile"},
           {"run", "h", "--rlimit", "foo=1"},
           {"run", "h", "--rlimit", "nofile=-1"},
           {"run", "h", "--rlimit", "nofile="},
           {"run", "h", "--rlimit", "nofile=18446744073709551616"},
           {"limit-memory"},
           {"limit-memory", "h", "-1"},
           {"limit-memory", "h", "1.5G"},
           {"limit-memory", "h", "1KB"},
           {"limit-memory", "h", "K"},
           {"limit-memory", "h", ""},
           {"limit-memory", "h", "16777216T"},
           {"limit-memory", "h", "18446744073709551616"},
           {"limit-cpu", "h", "1K"},
           {"limit-cpu", "h", "-1"},
           {"limit-disk", "h", "--byte", "x"},
           {"limit-disk", "h", "--inode", "1K"},
           {"limit-disk", "h", "1"},
           {"limit-bandwidth", "h", "1"},
           {"limit-bandwidth", "h", "1", "unlimited"},
           {"net-in", "h", "--host-port", "-1"},
           {"net-in", "h", "--host-port", "4294967296"},
           {"net-in", "h", "--container-port", "http"},
           {"net-out", "h", "--protocol", "sctp"},
           {"net-out", "h", "--protocol", "0"},
           {"net-out", "h", "--port", "x"},
           {"net-out", "h", "--icmp-type", "x"},
           {"net-out"},
           {"--timeout", "0", "ping"}}) {
    auto result = runCommand(arguments);
    EXPECT_EQ(result.status, 2) << testing::PrintToString(arguments);
    EXPECT_EQ(result.err.rfind("warden: ", 0), 0u) << result.err;
    EXPECT_EQ(result.out, "");
  }
}

TEST(WardenCommandTest, helpIsNoError) {
  auto result = runCommand({"--help"});
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.out.find("Exit status"), std::string::npos);
  EXPECT_EQ(runCommand({"run", "--help"}).status, 0);
}

TEST(WardenCommandTest, exitsWith3WithoutAServerOrAValidAnswer) {
  auto nobody = runCommand({"--socket", "/nonexistent/sock", "ping"});
  EXPECT_EQ(nobody.status, 3);
  EXPECT_EQ(nobody.err,
            "warden: ping: cannot connect to /nonexistent/sock: No such file or directory\n");
  EXPECT_EQ(runWith([](Peer& peer) { peer.takeMessage(); }, {"ping"}).status, 3);
  EXPECT_EQ(runWith([](Peer& peer) { peer.sendRaw("garbage"); }, {"ping"}).status, 3);
  EXPECT_EQ(
      runWith([](Peer& peer) { peer.waitUntilClosed(); }, {"--timeout", "0.05", "ping"}).status, 3);
}

TEST(WardenCommandTest, takesTheSocketFromTheEnvironment) {
  setenv("WARDEN_SOCKET", "/nonexistent/from-environment", 1);
  auto result = runCommand({"ping"});
  unsetenv("WARDEN_SOCKET");
  EXPECT_NE(result.err.find("/nonexistent/from-environment"), std::string::npos) << result.err;
}

// A job that writes for ever into a pipe nobody reads any more, as in `warden run ... | head`.
int statusWithClosedOutput(bool ignoreSigpipe) {
  TestServer server([](Peer& peer) {
    peer.take<SpawnRequest>(Message::Spawn);
    SpawnResponse spawned;
    spawned.set_job_id(1);
    peer.answer(Message::Spawn, spawned);
    peer.take<StreamRequest>(Message::Stream);
    StreamResponse piece;
    piece.set_name("stdout");
    piece.set_data("y\n");
    for (;;)
      peer.answer(Message::Stream, piece);
  });
  Pipe out = makePipe(), err = makePipe();
  Fd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  auto old = signal(SIGPIPE, ignoreSigpipe ? SIG_IGN : SIG_DFL);
  pid_t pid =
      start({"--socket", server.path(), "run", "h", "yes"}, null, out.writeEnd, err.writeEnd);
  signal(SIGPIPE, old);
  out.writeEnd = nullptr;
  err.writeEnd = nullptr;
  char first;
  EXPECT_EQ(read(out.readEnd, &first, 1), 1);
  out.readEnd = nullptr;
  std::string errors = drain(err.readEnd);
  if (ignoreSigpipe) {
    EXPECT_EQ(errors, "warden: run: cannot write to standard output: Broken pipe\n");
  }
  return waitFor(pid);
}

TEST(WardenCommandTest, endsBySigpipeWhenItsReaderHasGone) {
  EXPECT_EQ(statusWithClosedOutput(false), 128 + SIGPIPE);
}

TEST(WardenCommandTest, endsWithAnErrorWhenItsReaderHasGoneAndSigpipeIsIgnored) {
  EXPECT_EQ(statusWithClosedOutput(true), 3);
}

// What a job writes must never be what the server takes for a request.
void expectNothingSentWithout(int descriptor) {
  size_t sent = 1;
  Pipe errors = makePipe();
  {
    TestServer server([&](Peer& peer) {
      peer.take<SpawnRequest>(Message::Spawn);
      SpawnResponse spawned;
      spawned.set_job_id(1);
      peer.answer(Message::Spawn, spawned);
      peer.take<StreamRequest>(Message::Stream);
      StreamResponse piece;
      piece.set_name(descriptor == STDOUT_FILENO ? "stdout" : "stderr");
      piece.set_data("a request");
      peer.answer(Message::Stream, piece);
      sent = peer.waitUntilClosed();
    });
    Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    int out = null, err = errors.writeEnd;
    (descriptor == STDOUT_FILENO ? out : err) = -1;
    EXPECT_EQ(waitFor(start({"--socket", server.path(), "run", "h", "x"}, null, out, err)), 3);
  }
  errors.writeEnd = nullptr;
  EXPECT_EQ(sent, 0u);
  if (descriptor != STDOUT_FILENO) return;
  EXPECT_EQ(drain(errors.readEnd),
            "warden: run: cannot write to standard output: Bad file descriptor\n");
}

TEST(WardenCommandTest, sendsNoOutputToTheServerWhenItsOwnIsClosed) {
  expectNothingSentWithout(STDOUT_FILENO);
  expectNothingSentWithout(STDERR_FILENO);
}

TEST(WardenCommandTest, saysWhenTheDiskIsFull) {
  TestServer server([](Peer& peer) {
    peer.takeMessage();
    peer.answer(Message::Ping, PingResponse());
  });
  Fd full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  if (full.get() < 0) GTEST_SKIP() << "needs /dev/full";
  Pipe err = makePipe();
  Fd null(open("/dev/null", O_RDONLY | O_CLOEXEC));
  pid_t pid = start({"--socket", server.path(), "ping"}, null, full, err.writeEnd);
  err.writeEnd = nullptr;
  EXPECT_EQ(drain(err.readEnd),
            "warden: ping: cannot write to standard output: No space left on device\n");
  EXPECT_EQ(waitFor(pid), 3);
}

TEST(WardenCommandTest, waitsForAReaderOfANonblockingPipe) {
  std::string large(1 << 20, 'x');
  TestServer server([&](Peer& peer) {
    EchoResponse response;
    response.set_message(peer.take<EchoRequest>(Message::Echo).message() + large);
    peer.answer(Message::Echo, response);
  });
  Pipe out = makePipe();
  setNonblocking(out.writeEnd);
  Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  pid_t pid = start({"--socket", server.path(), "echo", ""}, null, out.writeEnd, null);
  out.writeEnd = nullptr;
  poll(nullptr, 0, 100);
  EXPECT_EQ(drain(out.readEnd), large);
  EXPECT_EQ(waitFor(pid), 0);
}

}  // namespace
}  // namespace warden::client
