// The core as the edge sees it, with real sockets and shells behind it.

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <sys/resource.h>
#include <unistd.h>

#include "frontend/core.h"
#include "tests/unit/frontend-test-peer.h"

namespace warden::frontend {
namespace {

class RecordingWriter final : public ResponseWriter {
 public:
  using ResponseWriter::send;

  struct Sent {
    Message::Type type;
    std::string payload;
  };
  std::vector<Sent> sent;
  bool blocked = false;  // takes nothing, as a client that does not read

  kj::Promise<void> send(Message::Type type, kj::Array<PayloadPart> payload) override {
    if (blocked) return kj::NEVER_DONE;
    std::string bytes;
    for (auto& part : payload) {
      if (part.is<FileRange>()) {
        auto& range = part.get<FileRange>();
        std::string chunk(range.size, '\0');
        KJ_ASSERT(pread(range.fd, chunk.data(), chunk.size(), range.offset) ==
                  static_cast<ssize_t>(chunk.size()));
        bytes += chunk;
      } else {
        auto& array = part.get<kj::Array<kj::byte>>();
        bytes.append(array.asChars().begin(), array.size());
      }
    }
    sent.push_back({type, bytes});
    return kj::READY_NOW;
  }
};

kj::Array<kj::byte> encode(const google::protobuf::MessageLite& message) {
  auto text = message.SerializeAsString();
  return kj::heapArray(kj::arrayPtr(text.data(), text.size()).asBytes());
}

class Client {
 public:
  Client(Core& core, kj::WaitScope& scope) : session(core.open(-1)), scope(scope) {}

  RecordingWriter out;
  kj::Own<Session> session;

  kj::Promise<Continuation> begin(Message::Type type,
                                  const google::protobuf::MessageLite& request) {
    return session->handle(type, encode(request), out);
  }

  template <typename Response, typename Request>
  Response call(Message::Type type, const Request& request) {
    auto continuation = begin(type, request).wait(scope);
    KJ_ASSERT(continuation == Continuation::KEEP_OPEN);
    return last<Response>(type);
  }

  template <typename Response>
  Response last(Message::Type type) {
    auto& sent = out.sent.back();
    KJ_ASSERT(sent.type == type, Message::Type_Name(sent.type).c_str(), errorText().c_str());
    Response response;
    KJ_ASSERT(response.ParseFromString(sent.payload));
    return response;
  }

  template <typename Request>
  std::string error(Message::Type type, const Request& request) {
    begin(type, request).wait(scope);
    return errorText();
  }

  std::string errorText() {
    if (out.sent.empty() || out.sent.back().type != Message::Error) return "no error";
    ErrorResponse response;
    KJ_ASSERT(response.ParseFromString(out.sent.back().payload));
    return response.message();
  }

  std::string create(const std::string& handle) {
    CreateRequest request;
    request.set_handle(handle);
    return call<CreateResponse>(Message::Create, request).handle();
  }

  uint32_t spawn(const std::string& handle, const std::string& script, bool discard = false) {
    SpawnRequest request;
    request.set_handle(handle);
    request.set_script(script);
    request.set_discard_output(discard);
    return call<SpawnResponse>(Message::Spawn, request).job_id();
  }

  InfoResponse info(const std::string& handle) {
    InfoRequest request;
    request.set_handle(handle);
    return call<InfoResponse>(Message::Info, request);
  }

  RunResponse run(const std::string& handle, const std::string& script) {
    return call<RunResponse>(Message::Run, runRequest(handle, script));
  }

  static RunRequest runRequest(const std::string& handle, const std::string& script) {
    RunRequest request;
    request.set_handle(handle);
    request.set_script(script);
    return request;
  }

  static LinkRequest linkRequest(const std::string& handle, uint32_t job) {
    LinkRequest request;
    request.set_handle(handle);
    request.set_job_id(job);
    return request;
  }

  static StreamRequest streamRequest(const std::string& handle, uint32_t job) {
    StreamRequest request;
    request.set_handle(handle);
    request.set_job_id(job);
    return request;
  }

  std::pair<std::string, std::string> streamed(StreamResponse& end) {
    std::pair<std::string, std::string> output;
    for (auto& sent : out.sent) {
      if (sent.type != Message::Stream) continue;
      StreamResponse response;
      KJ_ASSERT(response.ParseFromString(sent.payload));
      if (response.name() == "stdout") output.first += response.data();
      if (response.name() == "stderr") output.second += response.data();
      if (response.has_exit_status()) end = response;
    }
    return output;
  }

 private:
  kj::WaitScope& scope;
};

template <typename Request>
Request named(const std::string& handle) {
  Request request;
  request.set_handle(handle);
  return request;
}

class FlowTest : public ::testing::Test {
 protected:
  ~FlowTest() noexcept override = default;

  TemporaryDirectory image;
  TemporaryDirectory depot;
  Config config;
  kj::UnixEventPort port;
  kj::EventLoop loop{port};
  kj::WaitScope scope{loop};
  std::unique_ptr<HelperPeer> helper;
  std::unique_ptr<Core> core;
  kj::Promise<void> running = nullptr;
  bool helperLost = false;
  std::unique_ptr<Client> client;

  void SetUp() override {
    config.server.containerDepotPath = depot.path();
    config.server.containerRootfsPath = image.path();
    config.server.containerRlimits[RLIMIT_NOFILE] = 1024;
    config.user.poolSize = 4;
  }

  void startCore() {
    scope.setBusyPollInterval(64);
    auto sockets = makePacketPair();
    helper = std::make_unique<HelperPeer>(kj::mv(sockets.left), depot);
    core = std::make_unique<Core>(port, port.getTimer(), config, kj::mv(sockets.right),
                                  image.open(), "");
    running = core->run().eagerlyEvaluate([this](kj::Exception&&) { helperLost = true; });
    client = std::make_unique<Client>(*core, scope);
  }

  std::unique_ptr<Client> connect() { return std::make_unique<Client>(*core, scope); }

  void sleep(int milliseconds) {
    port.getTimer().afterDelay(milliseconds * kj::MILLISECONDS).wait(scope);
  }
};

class CoreTest : public FlowTest {
 protected:
  void SetUp() override {
    FlowTest::SetUp();
    startCore();
  }
};

TEST_F(CoreTest, answersPingAndEcho) {
  client->call<PingResponse>(Message::Ping, PingRequest());
  EchoRequest echo;
  echo.set_message("\xff\x00z");
  EXPECT_EQ(client->call<EchoResponse>(Message::Echo, echo).message(), echo.message());
}

TEST_F(CoreTest, closesOnAnUndecodableRequest) {
  EXPECT_EQ(client->begin(Message::Link, PingRequest()).wait(scope), Continuation::CLOSE);
  EXPECT_EQ(client->begin(Message::NetIn, PingRequest()).wait(scope), Continuation::CLOSE);
  EXPECT_EQ(client->begin(Message::Error, PingRequest()).wait(scope), Continuation::CLOSE);
  EXPECT_TRUE(client->out.sent.empty());
}

TEST_F(CoreTest, refusesWhatItDoesNotServe) {
  client->create("h");
  EXPECT_EQ(client->error(Message::NetIn, named<NetInRequest>("h")),
            "net_in is not supported by this server version");
  EXPECT_EQ(client->error(Message::LimitDisk, named<LimitDiskRequest>("h")),
            "limit_disk is not supported by this server version");
  CreateRequest create;
  create.set_rootfs("/x");
  EXPECT_EQ(client->error(Message::Create, create),
            "rootfs is not supported by this server version");
}

TEST_F(CoreTest, takesAnyHandle) {
  for (std::string handle : {std::string(), std::string("a/b"), std::string("\xff\0\n", 3)}) {
    EXPECT_EQ(client->create(handle), handle);
    EXPECT_EQ(client->info(handle).state(), "active");
    client->call<DestroyResponse>(Message::Destroy, named<DestroyRequest>(handle));
    EXPECT_EQ(client->error(Message::Info, named<InfoRequest>(handle)), "unknown handle");
  }
}

TEST_F(CoreTest, namesAContainerByItsIdAndListsIt) {
  auto handle = client->call<CreateResponse>(Message::Create, CreateRequest()).handle();
  EXPECT_EQ(handle.size(), 11u);
  auto list = client->call<ListResponse>(Message::List, ListRequest());
  ASSERT_EQ(list.handles_size(), 1);
  EXPECT_EQ(list.handles(0), handle);
  auto info = client->info(handle);
  EXPECT_EQ(info.container_path(), depot.path() + "/" + handle);
  EXPECT_EQ(info.events_size(), 0);
  EXPECT_EQ(info.job_ids_size(), 0);
}

TEST_F(CoreTest, refusesATakenHandleEvenWhileItIsBeingCreated) {
  helper->createDelayMs = 50;
  auto other = connect();
  auto creating = client->begin(Message::Create, named<CreateRequest>("h"));
  EXPECT_EQ(other->error(Message::Create, named<CreateRequest>("h")),
            "container with handle: h already exists.");
  EXPECT_EQ(other->error(Message::Spawn,
                         [] {
                           SpawnRequest r;
                           r.set_handle("h");
                           r.set_script("");
                           return r;
                         }()),
            "Container state must be one of 'active', current state is 'born'");
  creating.wait(scope);
  EXPECT_EQ(client->last<CreateResponse>(Message::Create).handle(), "h");
}

TEST_F(CoreTest, givesEverythingBackWhenACreateFails) {
  helper->failCreate = true;
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(client->error(Message::Create, named<CreateRequest>("h")),
              "could not create the container: mount overlay: No space left on device");
  }
  helper->failCreate = false;
  EXPECT_EQ(client->create("h"), "h");
}

TEST_F(CoreTest, completesACreateWhoseClientHasGone) {
  helper->createDelayMs = 30;
  { auto dropped = client->begin(Message::Create, named<CreateRequest>("h")); }
  sleep(100);
  EXPECT_EQ(client->info("h").state(), "active");
}

TEST_F(CoreTest, refusesMoreContainersThanThePoolHas) {
  for (int i = 0; i < 4; ++i)
    client->create(std::to_string(i));
  EXPECT_NE(client->error(Message::Create, CreateRequest()).find("user.pool_size"),
            std::string::npos);
  client->call<DestroyResponse>(Message::Destroy, named<DestroyRequest>("2"));
  client->create("again");
  EXPECT_EQ(helper->slots(), (std::vector<uint32_t>{0, 1, 2, 3, 2}));
}

TEST_F(CoreTest, runsAJobAndReturnsItsOutputAndStatus) {
  client->create("h");
  auto response = client->run("h", "echo out; echo err >&2; exit 7");
  EXPECT_EQ(response.exit_status(), 7u);
  EXPECT_EQ(response.stdout(), "out\n");
  EXPECT_EQ(response.stderr(), "err\n");
  EXPECT_EQ(response.info().state(), "active");
  // The job is gone, and wshd has been told.
  EXPECT_EQ(client->error(Message::Link, Client::linkRequest("h", 1)), "no such job");
  while (helper->forgotten() == 0)
    sleep(1);
}

TEST_F(CoreTest, givesJobsExactlyTheDocumentedEnvironment) {
  setenv("LANG", "", 1);
  client->create("h");
  auto response =
      client->run("h", "cat /proc/self/environ | tr '\\0' '\\n' | sort | grep -v ^PWD=");
  EXPECT_EQ(response.stdout().find("HOME=/home/vcap\nLANG="), 0u) << response.stdout();
  EXPECT_NE(response.stdout().find("PATH=/bin:/usr/bin\nUSER=vcap\n"), std::string::npos);
}

TEST_F(CoreTest, reportsAJobThatCannotStart) {
  client->create("h");
  auto request = Client::runRequest("h", "true");
  request.mutable_rlimits()->set_fsize(4711);
  EXPECT_EQ(client->error(Message::Run, request),
            "could not start the job: setrlimit fsize: Operation not permitted");
  EXPECT_EQ(client->info("h").job_ids_size(), 0);
}

TEST_F(CoreTest, answersEveryLinkerOfAnUnfinishedJob) {
  client->create("h");
  auto job = client->spawn("h", "sleep 0.1; echo done");
  EXPECT_EQ(client->info("h").job_ids(0), job);
  auto other = connect();
  auto first = client->begin(Message::Link, Client::linkRequest("h", job));
  auto second = other->begin(Message::Link, Client::linkRequest("h", job));
  first.wait(scope);
  second.wait(scope);
  EXPECT_EQ(client->last<LinkResponse>(Message::Link).stdout(), "done\n");
  EXPECT_EQ(other->last<LinkResponse>(Message::Link).stdout(), "done\n");
  EXPECT_EQ(client->error(Message::Link, Client::linkRequest("h", job)), "no such job");
}

TEST_F(CoreTest, keepsAnAnswerUntilAClientHasReceivedIt) {
  client->create("h");
  auto job = client->spawn("h", "echo kept");
  {
    auto stalled = connect();
    stalled->out.blocked = true;
    auto lost = stalled->begin(Message::Link, Client::linkRequest("h", job));
    sleep(100);
  }
  auto response = client->call<LinkResponse>(Message::Link, Client::linkRequest("h", job));
  EXPECT_EQ(response.stdout(), "kept\n");
}

TEST_F(CoreTest, streamsTheWholeOutputToSeveralClients) {
  client->create("h");
  auto job = client->spawn("h", "echo a; echo b >&2; sleep 0.1; head -c 3000000 /dev/zero; exit 5");
  auto other = connect();
  auto first = client->begin(Message::Stream, Client::streamRequest("h", job));
  sleep(30);
  auto second = other->begin(Message::Stream, Client::streamRequest("h", job));
  first.wait(scope);
  second.wait(scope);
  for (auto* c : {client.get(), other.get()}) {
    StreamResponse end;
    auto [out, err] = c->streamed(end);
    EXPECT_EQ(out, "a\n" + std::string(3000000, '\0'));
    EXPECT_EQ(err, "b\n");
    EXPECT_EQ(end.exit_status(), 5u);
    EXPECT_FALSE(end.has_data());
    EXPECT_FALSE(end.has_name());
    EXPECT_EQ(end.info().state(), "active");
  }
}

TEST_F(CoreTest, leavesAJobIntactWhenAStreamingClientGoes) {
  client->create("h");
  auto job = client->spawn("h", "echo one; sleep 0.1; echo two");
  {
    auto gone = connect();
    auto stream = gone->begin(Message::Stream, Client::streamRequest("h", job));
    sleep(50);
  }
  client->begin(Message::Stream, Client::streamRequest("h", job)).wait(scope);
  StreamResponse end;
  EXPECT_EQ(client->streamed(end).first, "one\ntwo\n");
}

TEST_F(CoreTest, endsAJobWhenItsShellEnds) {
  client->create("h");
  auto response = client->run("h", "sleep 30 & echo started");
  EXPECT_EQ(response.stdout(), "started\n");
  EXPECT_EQ(response.exit_status(), 0u);
}

TEST_F(CoreTest, stopsWithTermAndThenRefusesJobs) {
  client->create("h");
  auto job = client->spawn("h", "sleep 60");
  client->call<StopResponse>(Message::Stop, named<StopRequest>("h"));
  EXPECT_EQ(client->info("h").state(), "stopped");
  auto link = client->call<LinkResponse>(Message::Link, Client::linkRequest("h", job));
  EXPECT_EQ(link.exit_status(), 255u);
  EXPECT_EQ(client->error(Message::Run, Client::runRequest("h", "true")),
            "Container state must be one of 'active', current state is 'stopped'");
  client->call<StopResponse>(Message::Stop, named<StopRequest>("h"));
  client->call<DestroyResponse>(Message::Destroy, named<DestroyRequest>("h"));
}

TEST_F(CoreTest, killsAtOnceWhenAsked) {
  client->create("h");
  auto job = client->spawn("h", "trap '' TERM; while :; do sleep 1; done");
  sleep(50);
  StopRequest background = named<StopRequest>("h");
  background.set_background(true);
  client->call<StopResponse>(Message::Stop, background);
  EXPECT_EQ(client->info("h").job_ids_size(), 1);
  StopRequest kill = named<StopRequest>("h");
  kill.set_kill(true);
  client->call<StopResponse>(Message::Stop, kill);
  auto link = client->call<LinkResponse>(Message::Link, Client::linkRequest("h", job));
  EXPECT_EQ(link.exit_status(), 255u);
}

TEST_F(CoreTest, answersThoseWhoWaitForAJobOfADestroyedContainer) {
  client->create("h");
  auto job = client->spawn("h", "echo early; sleep 60");
  auto linker = connect();
  auto streamer = connect();
  auto runner = connect();
  auto link = linker->begin(Message::Link, Client::linkRequest("h", job));
  auto stream = streamer->begin(Message::Stream, Client::streamRequest("h", job));
  auto run = runner->begin(Message::Run, Client::runRequest("h", "sleep 60"));
  sleep(50);
  client->call<DestroyResponse>(Message::Destroy, named<DestroyRequest>("h"));
  link.wait(scope);
  stream.wait(scope);
  run.wait(scope);
  auto answer = linker->last<LinkResponse>(Message::Link);
  EXPECT_EQ(answer.exit_status(), 255u);
  EXPECT_EQ(answer.stdout(), "early\n");
  EXPECT_EQ(answer.info().state(), "active");
  StreamResponse end;
  EXPECT_EQ(streamer->streamed(end).first, "early\n");
  EXPECT_EQ(end.exit_status(), 255u);
  EXPECT_EQ(runner->last<RunResponse>(Message::Run).exit_status(), 255u);
  EXPECT_EQ(helper->containers(), 0u);
}

TEST_F(CoreTest, aSecondDestroyWaitsForTheFirst) {
  client->create("h");
  helper->destroyDelayMs = 50;
  auto other = connect();
  auto first = client->begin(Message::Destroy, named<DestroyRequest>("h"));
  auto second = other->begin(Message::Destroy, named<DestroyRequest>("h"));
  EXPECT_EQ(connect()->error(Message::Info, named<InfoRequest>("h")),
            "Container state must be one of 'active, stopped', current state is 'destroyed'");
  EXPECT_EQ(connect()->error(Message::Create, named<CreateRequest>("h")),
            "container with handle: h already exists.");
  first.wait(scope);
  second.wait(scope);
  client->last<DestroyResponse>(Message::Destroy);
  other->last<DestroyResponse>(Message::Destroy);
  EXPECT_EQ(client->error(Message::Destroy, named<DestroyRequest>("h")), "unknown handle");
}

TEST_F(CoreTest, canDestroyAgainWhenADestroyHasFailed) {
  client->create("h");
  helper->failDestroy = true;
  EXPECT_EQ(client->error(Message::Destroy, named<DestroyRequest>("h")),
            "could not destroy the container: remove cgroup: Device or resource busy");
  helper->failDestroy = false;
  client->call<DestroyResponse>(Message::Destroy, named<DestroyRequest>("h"));
  EXPECT_EQ(helper->containers(), 0u);
}

TEST_F(CoreTest, stopsAContainerWhoseFirstProcessDies) {
  client->create("h");
  auto job = client->spawn("h", "sleep 60");
  auto link = client->begin(Message::Link, Client::linkRequest("h", job));
  helper->killFirstProcesses();
  link.wait(scope);
  auto answer = client->last<LinkResponse>(Message::Link);
  EXPECT_EQ(answer.exit_status(), 255u);
  sleep(150);
  auto info = client->info("h");
  EXPECT_EQ(info.state(), "stopped");
  ASSERT_EQ(info.events_size(), 1);
  client->call<DestroyResponse>(Message::Destroy, named<DestroyRequest>("h"));
}

TEST_F(CoreTest, endsJobsAtShutdownAndCompletesCreates) {
  client->create("h");
  helper->createDelayMs = 50;
  auto linker = connect();
  auto link = linker->begin(Message::Run, Client::runRequest("h", "sleep 60"));
  sleep(20);
  auto create = connect();
  auto creating = create->begin(Message::Create, named<CreateRequest>("late"));
  core->shutdown().wait(scope);
  EXPECT_EQ(helper->containers(), 2u);
  link.wait(scope);
  EXPECT_EQ(linker->last<RunResponse>(Message::Run).exit_status(), 255u);
  EXPECT_EQ(client->error(Message::Create, CreateRequest()), "the server is shutting down");
}

TEST_F(CoreTest, reportsALostHelper) {
  helper->createDelayMs = 50;
  auto creating = client->begin(Message::Create, CreateRequest());
  helper.reset();
  sleep(100);
  EXPECT_TRUE(helperLost);
}

class LimitedCoreTest : public FlowTest {};

TEST_F(LimitedCoreTest, endsAJobOverTheOutputLimit) {
  config.server.jobOutputLimit = 1000;
  startCore();
  client->create("h");
  auto response = client->run("h", "yes");
  EXPECT_EQ(response.exit_status(), 255u);
  EXPECT_EQ(response.stdout().size(), 1000u);
  ASSERT_EQ(response.info().events_size(), 1);
  EXPECT_EQ(response.info().events(0), "command exceeded maximum output");
  auto job = client->spawn("h", "head -c 100000 /dev/zero; exit 3", true);
  auto link = client->call<LinkResponse>(Message::Link, Client::linkRequest("h", job));
  EXPECT_EQ(link.exit_status(), 3u);
  EXPECT_EQ(link.stdout(), "");
}

TEST_F(LimitedCoreTest, destroysAfterTheGraceTimeOfTheLastReferencingConnection) {
  config.server.containerGraceTime = 1;
  startCore();
  auto creator = connect();
  creator->create("h");
  CreateRequest request;
  request.set_handle("long");
  request.set_grace_time(1000);
  creator->call<CreateResponse>(Message::Create, request);
  // This connection was there before the container and has not named it, so it does not count.
  creator.reset();
  sleep(500);
  EXPECT_EQ(helper->containers(), 2u);
  sleep(800);
  EXPECT_EQ(helper->containers(), 1u);
}

TEST_F(LimitedCoreTest, keepsAContainerWhileAConnectionThatSawItIsOpen) {
  config.server.containerGraceTime = 0;
  startCore();
  auto creator = connect();
  creator->create("h");
  auto later = connect();
  creator.reset();
  sleep(50);
  EXPECT_EQ(client->info("h").state(), "active");  // names it, and so references it
  later.reset();
  sleep(50);
  EXPECT_EQ(helper->containers(), 1u);
  client.reset();
  sleep(100);
  EXPECT_EQ(helper->containers(), 0u);
}

TEST_F(LimitedCoreTest, startsTheGraceTimeOfAContainerWhoseCreatorLeftEarly) {
  config.server.containerGraceTime = 0;
  startCore();
  helper->createDelayMs = 30;
  auto creator = connect();
  { auto dropped = creator->begin(Message::Create, named<CreateRequest>("h")); }
  creator.reset();
  sleep(150);
  EXPECT_EQ(helper->containers(), 0u);
}

}  // namespace
}  // namespace warden::frontend
