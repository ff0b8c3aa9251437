// How containers end: stop, destroy, loss, shutdown, limits and grace times, through the whole
// core.

#include <gtest/gtest.h>

#include "tests/unit/frontend-test-client.h"

namespace warden::frontend {
namespace {

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

TEST_F(CoreTest, answersThoseWhoWaitForAJobThatStartsInADestroyedContainer) {
  client->create("h");
  helper->holdSpawns = true;
  auto runner = connect();
  auto linker = connect();
  auto streamer = connect();
  auto run = runner->begin(Message::Run, Client::runRequest("h", "true"));
  sleep(20);
  auto jobs = client->info("h").job_ids();
  ASSERT_EQ(jobs.size(), 1);
  auto link = linker->begin(Message::Link, Client::linkRequest("h", jobs[0]));
  auto stream = streamer->begin(Message::Stream, Client::streamRequest("h", jobs[0]));
  client->call<DestroyResponse>(Message::Destroy, named<DestroyRequest>("h"));
  run.wait(scope);
  link.wait(scope);
  stream.wait(scope);
  auto expectEnd = [&](const auto& answer) {
    EXPECT_EQ(answer.exit_status(), 255u);
    EXPECT_EQ(answer.info().state(), "active");
    ASSERT_EQ(answer.info().job_ids_size(), 1);
    EXPECT_EQ(answer.info().job_ids(0), jobs[0]);
  };
  expectEnd(runner->last<RunResponse>(Message::Run));
  expectEnd(linker->last<LinkResponse>(Message::Link));
  expectEnd(streamer->last<StreamResponse>(Message::Stream));
  EXPECT_EQ(helper->containers(), 0u);
}

TEST_F(CoreTest, saysThatAJobCouldNotStartWhenTheFirstProcessDiesBefore) {
  client->create("h");
  helper->holdSpawns = true;
  auto run = client->begin(Message::Run, Client::runRequest("h", "true"));
  sleep(20);
  helper->killFirstProcesses();
  run.wait(scope);
  EXPECT_EQ(client->errorText(),
            "the connection to the container's first process is lost: the container can only be "
            "destroyed");
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
  EXPECT_EQ(
      client->error(Message::Destroy, named<DestroyRequest>("h")),
      "could not destroy the container: remove cgroup: Device or resource busy; try again, and "
      "look into the helper's log if it lasts");
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
  EXPECT_EQ(info.events(0), "the container's first process ended");
  client->call<DestroyResponse>(Message::Destroy, named<DestroyRequest>("h"));
}

TEST_F(CoreTest, stopsAContainerWhoseFirstProcessTalksNonsense) {
  client->create("h");
  auto job = client->spawn("h", "sleep 60");
  auto link = client->begin(Message::Link, Client::linkRequest("h", job));
  helper->sendAsFirstProcesses("garbage");
  link.wait(scope);
  EXPECT_EQ(client->last<LinkResponse>(Message::Link).exit_status(), 255u);
  auto info = client->info("h");
  EXPECT_EQ(info.state(), "stopped");
  ASSERT_EQ(info.events_size(), 1);
  EXPECT_EQ(info.events(0), "the connection to the container's first process was lost");
  client->call<DestroyResponse>(Message::Destroy, named<DestroyRequest>("h"));
  EXPECT_EQ(helper->containers(), 0u);
}

TEST_F(CoreTest, leavesJobsAtShutdownAndCompletesCreates) {
  client->create("h");
  helper->createDelayMs = 50;
  auto linker = connect();
  auto link = linker->begin(Message::Run, Client::runRequest("h", "sleep 60"));
  sleep(20);
  auto create = connect();
  auto creating = create->begin(Message::Create, named<CreateRequest>("late"));
  core->shutdown().wait(scope);
  EXPECT_EQ(helper->containers(), 2u);
  EXPECT_FALSE(link.poll(scope));
  EXPECT_EQ(client->info("h").state(), "active");
  EXPECT_EQ(client->error(Message::Create, CreateRequest()),
            "the server is shutting down; try again when it serves again");
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

TEST_F(FlowTest, saysOfNoContainerThatItIsGoneWhenTheHelperIs) {
  auto sockets = makePacketPair();
  Core core(port, port.getTimer(), config, kj::mv(sockets.right), image.open(), host, descriptors);
  running = core.run().eagerlyEvaluate([this](kj::Exception&&) { helperLost = true; });
  for (int i = 0; i < 2; ++i) {
    auto packet = KJ_ASSERT_NONNULL(receivePacket(sockets.left));
    auto request = packet.getRoot<schema::HelperRequest>();
    capnp::MallocMessageBuilder message;
    auto reply = message.initRoot<schema::HelperReply>();
    reply.setSequence(request.getSequence());
    if (request.isListContainers()) {
      reply.initContainers().initWhole(1).set(0, 1);
    } else {
      reply.setDone();
    }
    sendPacket(sockets.left, message);
  }
  sockets.left = nullptr;
  Client asking(core, scope);
  auto list = asking.begin(Message::List, ListRequest());
  sleep(50);
  EXPECT_TRUE(helperLost);
  EXPECT_TRUE(asking.out.sent.empty());
}

}  // namespace
}  // namespace warden::frontend
