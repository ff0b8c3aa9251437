// The frontend is killed before every single system call that it makes for a request. What its
// successor finds of a create, a destroy or a change is all of it or nothing; the output of a job
// is with the client, or the successor has it. An answer that the client has got holds.

#include <gtest/gtest.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/support/host-files.h"
#include "tests/support/limits.h"
#include "tests/support/server-test.h"
#include "tests/support/traced-process.h"

namespace warden::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr char HANDLE[] = "step";

// A frontend that has answered and makes no call for so long has no step left.
constexpr auto QUIET = milliseconds(100);

// It reads the request, records it, asks the helper, hears from it and answers; create takes more.
constexpr unsigned LEAST_STEPS_OF_CREATE = 20;
constexpr unsigned LEAST_STEPS_OF_DESTROY = 10;
constexpr unsigned LEAST_STEPS_OF_OTHERS = 5;

constexpr char SLEEPS[] = "exec sleep 100000";
constexpr char SCRIPT[] = "echo run >> runs; echo out; echo err >&2; exit 3";

template <typename Response>
void expectWhole(const Response& response) {
  EXPECT_EQ(response.exit_status(), 3u);
  EXPECT_EQ(response.stdout(), "out\n");
  EXPECT_EQ(response.stderr(), "err\n");
}

bool waits(const TracedProcess::Call& call) {
  return call.entered && (call.number == SYS_epoll_wait || call.number == SYS_epoll_pwait ||
                          call.number == SYS_epoll_pwait2);
}

class FrontendKilledTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerOptions options;
    // What one step would keep from those after it, these lack soon.
    options.slots = 4;
    options.config = {{"network.release_delay", "0"}};
    start(std::move(options));
    // The state to come back to is that of a frontend which has followed another.
    pid_t first = server().frontendPid();
    kill(first, SIGKILL);
    awaitSuccessor(first);
    warmUp(server());
    takeNewBaseline();
  }

  void createAndKill(const CreateRequest& request, const std::string& script) {
    unsigned steps = forEveryStep([&](unsigned step) {
      TestClient client = connect();
      bool reached = sendAndKill(client, request, step);
      bool answered = answerOf<CreateResponse>(client).has_value();
      EXPECT_TRUE(answered || reached);
      if (isListed()) {
        EXPECT_EQ(connect().info(HANDLE).state(), "active");
        EXPECT_EQ(connect().output(HANDLE, script), "alive\n");
        connect().destroy(HANDLE);
        ++whole;
      } else {
        EXPECT_FALSE(answered) << "its creation was acknowledged";
      }
      return reached;
    });
    EXPECT_GE(steps, LEAST_STEPS_OF_CREATE);
  }

  void destroyAndKill() {
    unsigned steps = forEveryStep([&](unsigned step) {
      furnish();
      TestClient client = connect();
      bool reached = sendAndKill(client, destroyRequest(HANDLE), step);
      bool answered = answerOf<DestroyResponse>(client).has_value();
      EXPECT_TRUE(answered || reached);
      if (isListed()) {
        EXPECT_FALSE(answered) << "its destruction was acknowledged";
        expectAsFurnished();
        connect().destroy(HANDLE);
        EXPECT_FALSE(isListed());
        ++whole;
      }
      return reached;
    });
    EXPECT_GE(steps, LEAST_STEPS_OF_DESTROY);
  }

  // `check` is given what the client was answered, and what the successor answers a link of the
  // job.
  template <typename Request, typename Check>
  void startAndKill(const Request& request, Check&& check) {
    using Response = typename RequestTraits<Request>::Response;
    unsigned steps = forEveryStep([&](unsigned step) {
      TestClient client = connect();
      client.create(HANDLE);
      uint32_t job = client.spawn(HANDLE, "exit") + 1;
      bool reached = sendAndKill(client, request, step);
      std::optional<Response> answer = answerOf<Response>(client);
      EXPECT_TRUE(answer || reached);
      std::optional<LinkResponse> found = tryLink(job);
      if (answer) check(*answer, found, job);
      if (found) {
        expectWhole(*found);
        ++whole;
      }
      bool started = answer || found;
      EXPECT_EQ(connect().output(HANDLE, "touch runs; cat runs"), started ? "run\n" : "");
      return reached;
    });
    EXPECT_GE(steps, LEAST_STEPS_OF_OTHERS);
  }

  // `isMade` looks whether the successor has the change.
  template <typename Request, typename Look>
  void changeAndKill(const Request& request, Look&& isMade) {
    unsigned steps = forEveryStep([&](unsigned step) {
      TestClient client = connect();
      client.create(HANDLE);
      client.spawn(HANDLE, SLEEPS);
      bool reached = sendAndKill(client, request, step);
      auto answer = answerOf<typename RequestTraits<Request>::Response>(client);
      EXPECT_TRUE(answer || reached);
      bool made = isMade(answer);
      EXPECT_TRUE(made || !answer) << "it was acknowledged";
      whole += made;
      return reached;
    });
    EXPECT_GE(steps, LEAST_STEPS_OF_OTHERS);
  }

 private:
  unsigned whole = 0;     // as often as that was found
  uint64_t lastCall = 0;  // before which the frontend was killed
  uint32_t job = 0;
  std::vector<std::string> network;  // of the furnished container

  // `killAt` returns whether there was such a step. Returns how many there were.
  template <typename Function>
  unsigned forEveryStep(Function&& killAt) {
    for (unsigned step = 0;; ++step) {
      SCOPED_TRACE("killed before call " + std::to_string(step));
      bool reached = killAt(step);
      takeOver(park());  // and nothing is left
      if (!reached || HasFailure()) {
        printf("%u steps; whole after %u of them; the last is system call %lu\n", step, whole,
               lastCall);
        EXPECT_GT(whole, 0u);
        EXPECT_LT(whole, step);
        return step;
      }
    }
  }

  // Kills the frontend before the call of this number, counted from where it hears of the request.
  template <typename Request>
  bool sendAndKill(TestClient& client, const Request& request, unsigned step) {
    client.ping();
    pid_t pid = server().frontendPid();
    TracedProcess frontend(pid);
    while (!waits(frontend.awaitCall()))
      frontend.goOn();
    client.send(request);
    frontend.goOn();
    unsigned passed = 0;
    auto end = std::chrono::steady_clock::now() + patient(seconds(30));
    while (std::chrono::steady_clock::now() < end) {
      auto call = frontend.awaitCall(QUIET);
      if (!call) {
        if (client.hasInput(milliseconds(0))) return false;
        continue;
      }
      if (call->entered && passed++ == step) {
        lastCall = call->number;
        frontend.kill();
        awaitSuccessor(pid);
        return true;
      }
      frontend.goOn();
    }
    ADD_FAILURE() << "no answer";
    return false;
  }

  void awaitSuccessor(pid_t of) {
    EXPECT_TRUE(waitUntil([&]() {
      auto now = server().findFrontend();
      return now.has_value() && *now != of;
    }));
    server().waitUntilServing();
  }

  // A frame that its death cut short is no answer.
  template <typename Response>
  std::optional<Response> answerOf(TestClient& client) {
    try {
      return client.receive<Response>();
    } catch (const ConnectionClosed&) {
      return std::nullopt;
    }
  }

  std::optional<LinkResponse> tryLink(uint32_t job) {
    try {
      return connect().link(HANDLE, job);
    } catch (const ServerError& error) {
      EXPECT_STREQ(error.what(), "no such job");
      return std::nullopt;
    }
  }

  bool isListed() {
    auto handles = connect().list();
    return std::find(handles.begin(), handles.end(), HANDLE) != handles.end();
  }

  void furnish() {
    TestClient client = connect();
    client.create(HANDLE);
    limitMemory(client, HANDLE, 64 * MIB);
    NetInRequest port;
    port.set_handle(HANDLE);
    port.set_container_port(80);
    client.call(port);
    job = client.spawn(HANDLE, SLEEPS);
    network = networkObjects(server().network());
  }

  void expectAsFurnished() {
    TestClient client = connect();
    auto info = client.info(HANDLE);
    EXPECT_EQ(info.state(), "active");
    ASSERT_EQ(info.job_ids_size(), 1);
    EXPECT_EQ(info.job_ids(0), job);
    EXPECT_EQ(limitMemory(client, HANDLE), 64 * MIB);
    EXPECT_EQ(memoryInKernel(server(), idOf(HANDLE)), 64 * MIB);
    EXPECT_EQ(networkObjects(server().network()), network);
    EXPECT_EQ(client.output(HANDLE, "ps | grep -c '[s]leep 100000'"), "1\n");
  }
};

TEST_F(FrontendKilledTest, beforeEveryCallOfACreate) {
  createAndKill(createRequest(HANDLE), "echo alive");
}

TEST_F(FrontendKilledTest, beforeEveryCallOfADestroy) {
  destroyAndKill();
}

TEST_F(FrontendKilledTest, beforeEveryCallOfARun) {
  // The successor has the job for a while longer than the client has its end.
  startAndKill(runRequest(HANDLE, SCRIPT),
               [](const RunResponse& answer, const auto&, uint32_t) { expectWhole(answer); });
}

TEST_F(FrontendKilledTest, beforeEveryCallOfASpawn) {
  startAndKill(spawnRequest(HANDLE, SCRIPT),
               [](const SpawnResponse& answer, const auto& found, uint32_t job) {
                 EXPECT_EQ(answer.job_id(), job);
                 EXPECT_TRUE(found) << "its start was acknowledged";
               });
}

TEST_F(FrontendKilledTest, beforeEveryCallOfAStop) {
  changeAndKill(stopRequest(HANDLE), [this](const auto&) {
    TestClient client = connect();
    bool stopped = client.info(HANDLE).state() == "stopped";
    // What was begun goes on; what was not has touched no process.
    EXPECT_TRUE(waitUntil([&]() { return client.info(HANDLE).job_ids().empty() == stopped; }));
    return stopped;
  });
}

TEST_F(FrontendKilledTest, beforeEveryCallOfALimit) {
  changeAndKill(memoryRequest(HANDLE, 64 * MIB), [this](const auto&) {
    TestClient client = connect();
    uint64_t limit = limitMemory(client, HANDLE);
    EXPECT_EQ(memoryInKernel(server(), idOf(HANDLE)), limit);
    return limit == 64 * MIB;
  });
}

TEST_F(FrontendKilledTest, beforeEveryCallOfAMappedPort) {
  connect().create(HANDLE);
  size_t without = networkObjects(server().network()).size();
  connect().destroy(HANDLE);
  NetInRequest request;
  request.set_handle(HANDLE);
  request.set_container_port(80);
  changeAndKill(request, [&](const std::optional<NetInResponse>& answer) {
    size_t before = networkObjects(server().network()).size();
    NetInResponse another = connect().call(request);
    size_t after = networkObjects(server().network()).size();
    if (answer) {
      EXPECT_NE(another.host_port(), answer->host_port());
    }
    EXPECT_GT(after, before);
    return before > without;
  });
}

class FrontendKilledWithFilesTest : public FrontendKilledTest {
 protected:
  void SetUp() override {
    host = testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-host";
    std::filesystem::create_directories(host);
    writeFile(host + "/file", "alive\n");
    FrontendKilledTest::SetUp();
  }

  void TearDown() override {
    FrontendKilledTest::TearDown();
    std::filesystem::remove_all(host);
  }

  std::string host;
};

TEST_F(FrontendKilledWithFilesTest, beforeEveryCallOfACreateWithABindMount) {
  createAndKill(bindRequest(HANDLE, host, "/data"), "cat /data/file");
}

}  // namespace
}  // namespace warden::test
