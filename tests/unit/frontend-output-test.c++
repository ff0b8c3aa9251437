#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "base/unix-address.h"
#include "frontend/job-output.h"
#include "frontend/job.h"
#include "frontend/payload.h"
#include "tests/unit/frontend-test-peer.h"

namespace warden::frontend {
namespace {

using Moved = OutputSpool::Moved;

std::string contentOf(const FileRange& range) {
  std::string text(range.size, '\0');
  if (range.size > 0) {
    ssize_t n = pread(range.fd, text.data(), text.size(), range.offset);
    KJ_ASSERT(n == static_cast<ssize_t>(text.size()));
  }
  return text;
}

void put(int fd, const std::string& text) {
  writeAll(fd, kj::arrayPtr(text.data(), text.size()).asBytes());
}

class OutputSpoolTest : public ::testing::Test {
 protected:
  ~OutputSpoolTest() noexcept override = default;

  TemporaryDirectory directory;
  kj::Own<StateDirectory> state = kj::refcounted<StateDirectory>(directory.open());
  Pipe pipe = makePipe();

  std::string stdoutOf(const OutputSpool& spool) {
    return contentOf(spool.range(OutputStream::STDOUT, 0, UINT64_MAX));
  }
};

TEST_F(OutputSpoolTest, makesNoFileForAJobThatWritesNothing) {
  OutputSpool spool(kj::addRef(*state), 7, 100);
  EXPECT_EQ(spool.moveFromPipe(pipe.readEnd, OutputStream::STDOUT, 10).what, Moved::NOTHING);
  pipe.writeEnd = nullptr;
  EXPECT_EQ(spool.moveFromPipe(pipe.readEnd, OutputStream::STDOUT, 10).what, Moved::END);
  EXPECT_TRUE(directory.list().empty());
}

TEST_F(OutputSpoolTest, keepsTheOrderOfBytes) {
  OutputSpool spool(kj::addRef(*state), 7, 100);
  put(pipe.writeEnd, "one ");
  EXPECT_EQ(spool.moveFromPipe(pipe.readEnd, OutputStream::STDOUT, 100).bytes, 4u);
  put(pipe.writeEnd, "two");
  EXPECT_EQ(spool.moveFromPipe(pipe.readEnd, OutputStream::STDOUT, 2).bytes, 2u);
  EXPECT_EQ(spool.moveFromPipe(pipe.readEnd, OutputStream::STDOUT, 2).bytes, 1u);
  EXPECT_EQ(stdoutOf(spool), "one two");
  EXPECT_EQ(contentOf(spool.range(OutputStream::STDOUT, 4, 2)), "tw");
}

TEST_F(OutputSpoolTest, countsBothStreamsAgainstTheLimit) {
  OutputSpool spool(kj::addRef(*state), 7, 5);
  put(pipe.writeEnd, "abcdefgh");
  EXPECT_EQ(spool.moveFromPipe(pipe.readEnd, OutputStream::STDERR, 3).bytes, 3u);
  EXPECT_EQ(spool.moveFromPipe(pipe.readEnd, OutputStream::STDOUT, 100).bytes, 2u);
  EXPECT_EQ(spool.moveFromPipe(pipe.readEnd, OutputStream::STDOUT, 100).what, Moved::OVER_LIMIT);
  EXPECT_EQ(stdoutOf(spool), "de");
}

TEST_F(OutputSpoolTest, isNotOverTheLimitWhenExactlyFull) {
  OutputSpool spool(kj::addRef(*state), 7, 3);
  put(pipe.writeEnd, "abc");
  EXPECT_EQ(spool.moveFromPipe(pipe.readEnd, OutputStream::STDOUT, 100).bytes, 3u);
  EXPECT_EQ(spool.moveFromPipe(pipe.readEnd, OutputStream::STDOUT, 100).what, Moved::NOTHING);
  pipe.writeEnd = nullptr;
  EXPECT_EQ(spool.moveFromPipe(pipe.readEnd, OutputStream::STDOUT, 100).what, Moved::END);
}

TEST_F(OutputSpoolTest, goesOnWhereAnEarlierOneWas) {
  {
    OutputSpool spool(kj::addRef(*state), 7, 6);
    put(pipe.writeEnd, "abcde");
    spool.moveFromPipe(pipe.readEnd, OutputStream::STDOUT, 3);
    spool.moveFromPipe(pipe.readEnd, OutputStream::STDERR, 2);
  }
  put(pipe.writeEnd, "fgh");
  OutputSpool spool(kj::addRef(*state), 7, 6);
  spool.reopen();
  EXPECT_EQ(stdoutOf(spool), "abc");
  EXPECT_EQ(spool.moveFromPipe(pipe.readEnd, OutputStream::STDOUT, 100).bytes, 1u);
  EXPECT_EQ(spool.moveFromPipe(pipe.readEnd, OutputStream::STDOUT, 100).what, Moved::OVER_LIMIT);
  EXPECT_EQ(stdoutOf(spool), "abcf");
  EXPECT_EQ(contentOf(spool.range(OutputStream::STDERR, 0, 100)), "de");
}

TEST_F(OutputSpoolTest, removesItsFilesWhenTheJobIsDoneWith) {
  {
    OutputSpool spool(kj::addRef(*state), 7, 100);
    put(pipe.writeEnd, "x");
    spool.moveFromPipe(pipe.readEnd, OutputStream::STDERR, 100);
    EXPECT_EQ(directory.list(), std::vector<std::string>{"job-7.stderr"});
    spool.doneWith();
  }
  EXPECT_TRUE(directory.list().empty());
}

TEST_F(OutputSpoolTest, doesNotGoOnInAFileThatIsALink) {
  ASSERT_EQ(symlink("/etc/passwd", (directory.path() + "/job-7.stdout").c_str()), 0);
  OutputSpool spool(kj::addRef(*state), 7, 100);
  EXPECT_TRUE(kj::runCatchingExceptions([&]() { spool.reopen(); }) != nullptr);
}

TEST_F(OutputSpoolTest, refusesAFileThatIsThereAlready) {
  ASSERT_EQ(symlink("/etc/passwd", (directory.path() + "/job-7.stdout").c_str()), 0);
  OutputSpool spool(kj::addRef(*state), 7, 100);
  put(pipe.writeEnd, "x");
  EXPECT_TRUE(kj::runCatchingExceptions([&]() {
                spool.moveFromPipe(pipe.readEnd, OutputStream::STDOUT, 100);
              }) != nullptr);
}

class JobTest : public ::testing::Test, protected Job::Listener {
 protected:
  ~JobTest() noexcept override = default;

  kj::UnixEventPort port;
  kj::EventLoop loop{port};
  kj::WaitScope scope{loop};
  TemporaryDirectory directory;
  kj::Own<StateDirectory> state = kj::refcounted<StateDirectory>(directory.open());
  Config config;
  SocketPair helperSockets = makePacketPair();
  HelperClient helper{port, port.getTimer(), kj::mv(helperSockets.left)};
  std::string syslogPath = directory.path() + "/log";
  SyslogSocket syslog{std::optional<std::string>(syslogPath)};
  Fd nullDevice{open("/dev/null", O_WRONLY | O_CLOEXEC)};
  Pipe scratch = makePipe();
  Budget budget{1000};
  PortPool ports{PortRange{61000, 10}};
  AccessPolicy access;
  UserCounts users;
  FairLimit requests{1};
  EventCounts counts;
  Services services{port,   port.getTimer(), config,     access,  users, helper,   syslog,
                    budget, ports,           nullDevice, scratch, "C",   requests, counts};
  Pipe out = makePipe();
  Pipe err = makePipe();
  std::vector<std::string> events;
  int endings = 0;

  void jobMustEnd(Job&, kj::StringPtr event) override { events.push_back(event.cStr()); }
  void jobEnded(Job&) override { ++endings; }

  kj::Own<Job> start(OutputOptions options = {}) {
    auto job = kj::refcounted<Job>(services, kj::addRef(*state), 1, kj::mv(options),
                                   KJ_ASSERT_NONNULL(budget.take(Job::DESCRIPTORS)),
                                   static_cast<Job::Listener&>(*this));
    job->started({kj::mv(out.readEnd), kj::mv(err.readEnd)});
    return job;
  }

  std::string outputOf(Job& job, OutputStream stream) {
    return contentOf(job.output().range(stream, 0, UINT64_MAX));
  }
};

TEST_F(JobTest, takesWhatIsInThePipesWhenItEnds) {
  auto job = start();
  put(out.writeEnd, "late");
  put(err.writeEnd, "words");
  // The write ends stay open, as children of the shell would hold them.
  job->exited(3);
  EXPECT_TRUE(job->ended());
  EXPECT_EQ(job->status(), 3u);
  EXPECT_EQ(endings, 1);
  EXPECT_EQ(outputOf(*job, OutputStream::STDOUT), "late");
  EXPECT_EQ(outputOf(*job, OutputStream::STDERR), "words");
}

TEST_F(JobTest, endsWhenItsExitIsReportedBeforeItsStart) {
  auto job = kj::refcounted<Job>(services, kj::addRef(*state), 1, OutputOptions(),
                                 KJ_ASSERT_NONNULL(budget.take(Job::DESCRIPTORS)),
                                 static_cast<Job::Listener&>(*this));
  job->exited(4);
  EXPECT_FALSE(job->ended());
  put(out.writeEnd, "x");
  job->started({kj::mv(out.readEnd), kj::mv(err.readEnd)});
  EXPECT_EQ(job->status(), 4u);
  EXPECT_EQ(outputOf(*job, OutputStream::STDOUT), "x");
}

TEST_F(JobTest, movesEverythingThatAFastWriterWrites) {
  config.server.jobOutputLimit = 1 << 30;
  auto job = start();
  constexpr size_t SIZE = 24 * 1024 * 1024;
  std::string pattern(SIZE, '\0');
  for (size_t i = 0; i < SIZE; ++i)
    pattern[i] = static_cast<char>(i * 2654435761u >> 24);
  std::thread writer([&]() {
    put(out.writeEnd, pattern);
    out.writeEnd = nullptr;
  });
  while (job->output().size(OutputStream::STDOUT) < SIZE)
    job->whenChanged().wait(scope);
  writer.join();
  job->exited(0);
  EXPECT_TRUE(outputOf(*job, OutputStream::STDOUT) == pattern);
}

TEST_F(JobTest, isEndedOverTheLimitAndKeepsWhatThereWas) {
  config.server.jobOutputLimit = 10;
  auto job = start();
  put(out.writeEnd, "0123456789abc");
  while (events.empty())
    port.getTimer().afterDelay(1 * kj::MILLISECONDS).wait(scope);
  EXPECT_EQ(events, std::vector<std::string>{"command exceeded maximum output"});
  EXPECT_FALSE(job->ended());
  job->exited(0);
  EXPECT_EQ(job->status(), 255u);
  EXPECT_EQ(outputOf(*job, OutputStream::STDOUT), "0123456789");
  EXPECT_EQ(events.size(), 1u);
}

TEST_F(JobTest, noticesTheLimitAtItsEnd) {
  config.server.jobOutputLimit = 10;
  auto job = start();
  put(err.writeEnd, "0123456789abc");
  job->exited(0);
  EXPECT_EQ(job->status(), 255u);
  EXPECT_EQ(events.size(), 1u);
}

TEST_F(JobTest, discardsWithoutLimitWhenAsked) {
  config.server.jobOutputLimit = 10;
  OutputOptions options;
  options.discard = true;
  auto job = start(kj::mv(options));
  std::thread writer([&]() {
    put(out.writeEnd, std::string(3 << 20, 'x'));
    out.writeEnd = nullptr;
    put(err.writeEnd, "done");
  });
  port.getTimer().afterDelay(10 * kj::MILLISECONDS).wait(scope);
  while (true) {
    int left = 0;
    port.getTimer().afterDelay(1 * kj::MILLISECONDS).wait(scope);
    if (out.writeEnd == nullptr && left == 0) break;
  }
  writer.join();
  job->exited(0);
  EXPECT_EQ(job->status(), 0u);
  EXPECT_EQ(job->output().size(OutputStream::STDOUT), 0u);
  EXPECT_TRUE(directory.list().empty());
}

class SyslogTest : public JobTest {
 protected:
  SyslogTest() {
    int raw;
    KJ_SYSCALL(raw = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    daemon = Fd(raw);
    UnixAddress address(syslogPath);
    KJ_SYSCALL(bind(daemon, address.get(), address.size()));
  }
  ~SyslogTest() noexcept override = default;

  Fd daemon;

  std::vector<std::string> received() {
    std::vector<std::string> messages;
    char buffer[2048];
    ssize_t n;
    while ((n = recv(daemon, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
      messages.emplace_back(buffer, n);
    return messages;
  }

  // Without what syslog puts before them.
  std::vector<std::string> receivedLines() {
    auto lines = received();
    for (auto& line : lines)
      line = line.substr(line.find(": ") + 2);
    return lines;
  }

  // A job that has written `output` under an earlier frontend.
  kj::Own<Job> startAgain(const std::string& output) {
    {
      Pipe pipe = makePipe();
      OutputSpool spool(kj::addRef(*state), 1, 1 << 20);
      put(pipe.writeEnd, output);
      spool.moveFromPipe(pipe.readEnd, OutputStream::STDOUT, output.size());
    }
    auto job = kj::refcounted<Job>(services, kj::addRef(*state), 1, OutputOptions{false, "app"},
                                   KJ_ASSERT_NONNULL(budget.take(Job::DESCRIPTORS)),
                                   static_cast<Job::Listener&>(*this));
    job->reopenOutput();
    job->started({kj::mv(out.readEnd), kj::mv(err.readEnd)});
    return job;
  }
};

TEST_F(SyslogTest, aLineThatAnEarlierFrontendHasBegunIsSentWhole) {
  auto job = startAgain("first\nbeg");
  put(out.writeEnd, "un\nlast");
  job->exited(0);
  EXPECT_EQ(receivedLines(), (std::vector<std::string>{"begun", "last"}));
}

TEST_F(SyslogTest, whatAnEarlierFrontendHasSentIsNotSentAgain) {
  std::string long1(SyslogLines::MAX_LINE_BYTES, 'x');
  for (std::string before : {std::string("first\n"), std::string(), long1, "first\n" + long1}) {
    auto job = startAgain(before);
    put(out.writeEnd, "more\n");
    job->exited(0);
    EXPECT_EQ(receivedLines(), std::vector<std::string>{"more"}) << before;
    job->doneWith();
    job = nullptr;
    out = makePipe();
    err = makePipe();
  }
}

TEST_F(SyslogTest, ofALongLineOnlyThePieceThatIsMissingIsSent) {
  std::string part(20'000, 'x');
  auto job = startAgain("first\n" + part);
  put(out.writeEnd, "yz\n");
  job->exited(0);
  size_t rest = part.size() % SyslogLines::MAX_LINE_BYTES;
  EXPECT_EQ(receivedLines(), std::vector<std::string>{std::string(rest, 'x') + "yz"});
}

TEST_F(SyslogTest, sendsLinesWithATag) {
  OutputOptions options;
  options.logTag = "my app\n<0>";
  auto job = start(kj::mv(options));
  put(out.writeEnd, "hello\nwor\x01ld");
  put(err.writeEnd, "oops\n");
  job->exited(0);
  auto messages = received();
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(messages[0].substr(0, 4), "<14>");
  EXPECT_NE(messages[0].find(" warden.my_app__0_: hello"), std::string::npos) << messages[0];
  EXPECT_NE(messages[1].find(": wor ld"), std::string::npos) << messages[1];
  EXPECT_EQ(messages[2].substr(0, 4), "<11>");
  EXPECT_EQ(outputOf(*job, OutputStream::STDOUT), "hello\nwor\x01ld");
}

// The pipe is wshd's, too, and with it whether reading waits.
TEST_F(SyslogTest, aPipeThatIsMadeToBlockHoldsUpNobody) {
  Fd others = duplicate(out.readEnd);
  auto job = start(OutputOptions{true, "app"});
  setNonblocking(others, false);
  put(out.writeEnd, "line\n");
  for (int i = 0; i < 3; ++i)
    port.getTimer().afterDelay(10 * kj::MILLISECONDS).wait(scope);
  EXPECT_EQ(receivedLines(), std::vector<std::string>{"line"});
  job->exited(0);
}

TEST_F(JobTest, encodesALinkResponseThatProtobufReads) {
  auto job = start();
  std::string binary("\0\xff\r\n", 4);
  put(out.writeEnd, binary);
  job->exited(9);
  InfoResponse info;
  info.set_state("active");
  std::string encoded;
  for (auto& part : linkPayload(*job, info)) {
    if (part.is<FileRange>()) {
      encoded += contentOf(part.get<FileRange>());
    } else {
      auto& bytes = part.get<kj::Array<kj::byte>>();
      encoded.append(bytes.asChars().begin(), bytes.size());
    }
  }
  LinkResponse response;
  ASSERT_TRUE(response.ParseFromString(encoded));
  EXPECT_EQ(response.exit_status(), 9u);
  EXPECT_EQ(response.stdout(), binary);
  EXPECT_TRUE(response.has_stderr());
  EXPECT_EQ(response.stderr(), "");
  EXPECT_EQ(response.info().state(), "active");
}

}  // namespace
}  // namespace warden::frontend
