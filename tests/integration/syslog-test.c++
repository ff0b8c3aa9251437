// What of a server reaches syslog: lines of jobs that have a log_tag, and the server's own.

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <regex>
#include <thread>

#include "base/unix-address.h"
#include "tests/support/network-namespace.h"
#include "tests/support/server-test.h"

namespace warden::test {
namespace {

using std::chrono::milliseconds;
using Lines = std::vector<std::string>;

class SyslogDaemon {
  // The other end: a datagram socket, in a directory of its own that every user may enter.

 public:
  SyslogDaemon() {
    KJ_REQUIRE(mkdtemp(directory.data()) != nullptr);
    KJ_SYSCALL(chmod(directory.c_str(), 0755));
    open();
  }
  ~SyslogDaemon() noexcept {
    close();
    std::filesystem::remove_all(directory);
  }

  std::string path() const { return directory + "/log"; }

  void restart() {
    close();
    open();
  }

  Lines messages() {
    std::lock_guard<std::mutex> lock(mutex);
    return received;
  }

  // Of the messages that begin with `head`, what follows their time.
  Lines messages(const std::string& head) {
    static const std::regex TIME("[A-Z][a-z]{2} [ 1-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-6][0-9] ");
    Lines found;
    for (const auto& message : messages()) {
      std::smatch time;
      if (message.compare(0, head.size(), head) != 0) continue;
      auto rest = message.substr(head.size());
      if (std::regex_search(rest, time, TIME, std::regex_constants::match_continuous)) {
        found.push_back(time.suffix());
      } else {
        ADD_FAILURE() << "a message without its time: " << message;
      }
    }
    return found;
  }

 private:
  std::string directory = testDirectory() + "/warden-syslog-XXXXXX";
  Fd socket;
  std::thread reader;
  std::mutex mutex;
  Lines received;

  void open() {
    // How many messages wait for the reader is fixed when the socket is made. The kernel's default
    // is 10; systemd sets 512.
    NetworkNamespace network = NetworkNamespace::make();
    network.setSysctl("net/unix/max_dgram_qlen", "512");
    int raw = network.in([]() { return ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0); });
    KJ_REQUIRE(raw >= 0);
    socket = Fd(raw);
    UnixAddress address(path());
    KJ_SYSCALL(bind(socket, address.get(), address.size()));
    KJ_SYSCALL(chmod(path().c_str(), 0666));
    reader = std::thread([this]() { read(); });
  }

  void close() {
    KJ_SYSCALL(shutdown(socket, SHUT_RD));
    reader.join();
    socket = nullptr;
    KJ_SYSCALL(unlink(path().c_str()));
  }

  void read() {
    char buffer[4096];
    ssize_t n;
    while ((n = recv(socket, buffer, sizeof(buffer), 0)) > 0) {
      std::lock_guard<std::mutex> lock(mutex);
      received.emplace_back(buffer, n);
    }
  }
};

// Priorities of facility user (RFC 3164, section 4.1.1).
constexpr char INFO[] = "<14>";
constexpr char WARNING[] = "<12>";
constexpr char ERROR[] = "<11>";

class WithDaemonTest : public ServerTest {
 protected:
  SyslogDaemon daemon;

  // All that begin with `head`.
  void expectMessages(const std::string& head, const Lines& expected) {
    waitUntil([&]() { return daemon.messages(head).size() >= expected.size(); });
    EXPECT_EQ(daemon.messages(head), expected);
  }
};

class SyslogTest : public WithDaemonTest {
 protected:
  void SetUp() override { startWith({{"server.syslog_socket", daemon.path()}}); }

  uint32_t spawnTagged(const std::string& handle, const std::string& script,
                       const std::string& tag = "app") {
    SpawnRequest request = spawnRequest(handle, script);
    request.set_log_tag(tag);
    return connect().call(request).job_id();
  }
};

TEST_F(SyslogTest, hasTheLinesOfAJobByStreamAndUnderItsTag) {
  std::string handle = connect().create();
  uint32_t job = spawnTagged(handle, "echo one; echo 'a  \ttab'; echo bad >&2; printf last", "a b");
  auto answer = connect().link(handle, job);
  EXPECT_EQ(answer.stdout(), "one\na  \ttab\nlast");
  expectMessages(INFO, {"warden.a_b: one", "warden.a_b: a   tab", "warden.a_b: last"});
  expectMessages(ERROR, {"warden.a_b: bad"});
  EXPECT_EQ(daemon.messages().size(), 4u);
}

TEST_F(SyslogTest, hasTheLinesOfRunAndOfDiscardedOutput) {
  TestClient client = connect();
  std::string handle = client.create();
  RunRequest request = runRequest(handle, "echo kept");
  request.set_log_tag("run");
  EXPECT_EQ(client.call(request).stdout(), "kept\n");
  request.set_script("echo not kept");
  request.set_discard_output(true);
  EXPECT_EQ(client.call(request).stdout(), "");
  request.clear_log_tag();
  client.call(request);
  expectMessages(INFO, {"warden.run: kept", "warden.run: not kept"});
}

TEST_F(SyslogTest, hasTheLinesThatComeAfterADaemonWasStartedAgain) {
  TestClient client = connect();
  std::string handle = client.create();
  RunRequest request = runRequest(handle, "echo before");
  request.set_log_tag("app");
  client.call(request);
  expectMessages(INFO, {"warden.app: before"});
  daemon.restart();
  request.set_script("echo after");
  client.call(request);
  expectMessages(INFO, {"warden.app: before", "warden.app: after"});
}

enum class Killed { FRONTEND, HELPER };

class SyslogRecoveryTest : public SyslogTest, public ::testing::WithParamInterface<Killed> {
 protected:
  std::string spoolOf(const std::string& id, uint32_t job, const char* stream) {
    return server().depotPath() + "/" + id + "/state/job-" + std::to_string(job) + "." + stream;
  }

  // Whether the frontend has sent all lines that it has taken from the job.
  bool isBetweenLines(const std::string& id, uint32_t job) {
    auto taken = [&](const char* stream) {
      auto text = readFile(spoolOf(id, job, stream));
      return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
    };
    std::this_thread::sleep_for(milliseconds(20));  // what is sent is read in that time
    return taken("stdout") == daemon.messages(INFO).size() &&
           taken("stderr") == daemon.messages(ERROR).size();
  }

  // A line that is taken and not sent when the frontend is killed is lost.
  void stopFrontendBetweenLines(const std::string& id, uint32_t job) {
    pid_t frontend = server().frontendPid();
    bool stopped = waitUntil([&]() {
      kill(frontend, SIGSTOP);
      waitUntil([&]() { return statusField(frontend, "State")[0] == 'T'; });
      if (isBetweenLines(id, job)) return true;
      kill(frontend, SIGCONT);
      return false;
    });
    ASSERT_TRUE(stopped) << "lines are missing, or too many: " << daemon.messages().size();
  }

  void restart() {
    if (GetParam() == Killed::FRONTEND) return server().replaceFrontend();
    server().killHelper();
    server().start();
  }
};

TEST_P(SyslogRecoveryTest, everyLineComesOnceInOrderAndWhole) {
  constexpr int LINES = 600;
  std::string handle = connect().create(), id = idOf(handle);
  // Each line in two pieces, 5 ms apart, on both streams.
  uint32_t job = spawnTagged(
      handle,
      "i=0; while [ $i -lt " + std::to_string(LINES) +
          " ]; do printf \"$i begun \"; printf \"$i begun \" >&2; usleep 5000; echo and ended; "
          "echo and ended >&2; i=$((i+1)); usleep 5000; done");
  int kills = 0;
  for (; connect().info(handle).job_ids_size() > 0; ++kills) {
    std::this_thread::sleep_for(milliseconds(700));
    if (GetParam() == Killed::FRONTEND) {
      ASSERT_NO_FATAL_FAILURE(stopFrontendBetweenLines(id, job));
    }
    restart();
  }
  EXPECT_GE(kills, 3);
  connect().link(handle, job);
  Lines expected;
  for (int i = 0; i < LINES; ++i)
    expected.push_back("warden.app: " + std::to_string(i) + " begun and ended");
  expectMessages(INFO, expected);
  expectMessages(ERROR, expected);
}

TEST_P(SyslogRecoveryTest, aLineThatWasBegunBeforeComesWhole) {
  std::string handle = connect().create();
  connect().run(handle, "mkfifo -m 666 /tmp/go");
  std::string longPart(2000, 'x');
  uint32_t job = spawnTagged(handle, "echo first; printf 'begun '; printf " + longPart +
                                         " >&2; read word < /tmp/go; echo and $word; echo y >&2");
  // Long lines come in pieces of 900 bytes.
  std::string piece = "warden.app: " + std::string(900, 'x');
  expectMessages(INFO, {"warden.app: first"});
  expectMessages(ERROR, {piece, piece});
  restart();
  connect().run(handle, "echo ended > /tmp/go");
  EXPECT_EQ(connect().link(handle, job).stdout(), "first\nbegun and ended\n");
  expectMessages(INFO, {"warden.app: first", "warden.app: begun and ended"});
  expectMessages(ERROR, {piece, piece, "warden.app: " + std::string(200, 'x') + "y"});
}

INSTANTIATE_TEST_SUITE_P(, SyslogRecoveryTest, ::testing::Values(Killed::FRONTEND, Killed::HELPER),
                         [](const auto& info) {
                           return info.param == Killed::FRONTEND ? "frontendKilled"
                                                                 : "helperKilled";
                         });

class SyslogOfTheServerTest : public WithDaemonTest {
 protected:
  void startWithIdentity(const std::string& level) {
    ServerOptions options;
    options.systemLog = daemon.path();
    options.config = {{"logging.syslog", "warden-here"},
                      {"logging.level", level},
                      {"server.quota", "{disk_quota_enabled: false}"}};
    start(kj::mv(options));
  }

  // As syslog should have the log's lines of a level.
  Lines linesOfLog(const std::string& level) {
    std::regex wanted("[^ ]+ warden-frontend(\\[[0-9]+\\]) " + level + ": (.*)");
    Lines lines;
    for (const auto& line : splitLines(readFile(server().logPath()))) {
      std::smatch parts;
      if (std::regex_match(line, parts, wanted)) {
        lines.push_back("warden-here" + parts[1].str() + ": " + parts[2].str());
      }
    }
    return lines;
  }
};

TEST_F(SyslogOfTheServerTest, hasTheLinesOfTheLogFileUnderTheIdentity) {
  startWithIdentity("info");
  server().replaceFrontend();
  auto informed = linesOfLog("info"), warned = linesOfLog("warning");
  std::string own = "warden-here[" + std::to_string(server().frontendPid()) + "]: serving";
  ASSERT_FALSE(informed.empty());
  EXPECT_EQ(informed.back().compare(0, own.size(), own), 0) << informed.back();
  expectMessages(INFO, informed);
  expectMessages(WARNING, warned);
}

TEST_F(SyslogOfTheServerTest, hasTheLinesOfJobsToo) {
  startWithIdentity("error");
  TestClient client = connect();
  RunRequest request = runRequest(client.create(), "echo line");
  request.set_log_tag("app");
  client.call(request);
  expectMessages(INFO, {"warden.app: line"});
}

}  // namespace
}  // namespace warden::test
