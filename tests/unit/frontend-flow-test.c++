// Creating containers and running jobs in them, through the whole core.

#include <gtest/gtest.h>

#include "frontend/container.h"
#include "tests/unit/frontend-test-client.h"

namespace warden::frontend {
namespace {

class ScarceCoreTest : public FlowTest {};

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

TEST_F(CoreTest, refusesCopiesThatMakeNoSense) {
  client->create("h");
  CopyInRequest in = named<CopyInRequest>("h");
  in.set_src_path("a");
  in.set_dst_path("/b");
  EXPECT_EQ(client->error(Message::CopyIn, in), "src_path must be an absolute path");
  in.set_src_path("/a");
  in.set_dst_path("");
  EXPECT_EQ(client->error(Message::CopyIn, in), "dst_path is empty");
  in.set_dst_path(std::string("/b\0c", 4));
  EXPECT_EQ(client->error(Message::CopyIn, in), "dst_path has a NUL byte");
  in.set_dst_path("/" + std::string(4095, 'b'));
  EXPECT_EQ(client->error(Message::CopyIn, in), "dst_path is longer than 4095 bytes");
  CopyOutRequest out = named<CopyOutRequest>("h");
  out.set_src_path("/a");
  out.set_dst_path("/b");
  for (auto owner : {"", ":", "a:", ":b", "a", "a:b:c", "a :b", "a\n:b"}) {
    out.set_owner(owner);
    EXPECT_EQ(client->error(Message::CopyOut, out),
              "owner must be USER:GROUP, each a name or a number of the host");
  }
}

TEST_F(CoreTest, refusesHostFilesThatMakeNoSense) {
  CreateRequest create;
  create.set_rootfs("x");
  EXPECT_EQ(client->error(Message::Create, create), "rootfs must be an absolute path");
  create.clear_rootfs();
  auto& bind = *create.add_bind_mounts();
  bind.set_src_path("/a");
  bind.set_dst_path("/proc/a");
  bind.set_mode(CreateRequest::BindMount::RO);
  EXPECT_EQ(client->error(Message::Create, create),
            "dst_path /proc/a is in the way of the container's own system: choose one outside of "
            "/proc, /sys and /dev");
  bind.set_src_path("a");
  EXPECT_EQ(client->error(Message::Create, create), "src_path must be an absolute path");
  EXPECT_TRUE(client->call<ListResponse>(Message::List, ListRequest()).handles().empty());
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
    EXPECT_EQ(
        client->error(Message::Create, named<CreateRequest>("h")),
        "could not create the container: mount overlay: No space left on device; free space or "
        "inodes where the depot is");
  }
  helper->failCreate = false;
  EXPECT_EQ(client->create("h"), "h");
}

TEST_F(CoreTest, passesOverSlotsThatContainersOfAnEarlierFrontendKeep) {
  helper->lostSlots = 2;
  client->create("one");
  client->create("two");
  EXPECT_EQ(helper->slots(), (std::vector<uint32_t>{0, 1, 2, 3}));
  EXPECT_EQ(client->error(Message::Create, CreateRequest()),
            "could not create the container: take slot: it belongs to a container that does not "
            "end; try again, and look into the helper's log if it lasts");
  // As soon as they are gone, they are used again.
  helper->lostSlots = 0;
  client->create("three");
  client->create("four");
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

TEST_F(ScarceCoreTest, refusesWhatThereAreNoDescriptorsForAndHarmsNothingElse) {
  descriptors = 2 * Container::DESCRIPTORS + Job::DESCRIPTORS;
  startCore();
  client->create("one");
  client->create("two");
  auto job = client->spawn("one", "sleep 0.3; echo out");
  EXPECT_NE(client->error(Message::Create, named<CreateRequest>("three")).find("descriptors"),
            std::string::npos);
  EXPECT_NE(client->error(Message::Run, Client::runRequest("two", "true")).find("descriptors"),
            std::string::npos);
  client->call<LinkResponse>(Message::Link, Client::linkRequest("one", job));
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(client->run("two", "echo out; echo err >&2").exit_status(), 0u);
  client->call<DestroyResponse>(Message::Destroy, named<DestroyRequest>("one"));
  client->create("three");
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
            "could not start the job: setrlimit fsize: Operation not permitted: the request is for "
            "more fsize than the hard limit that the server was started with; ask for less, or "
            "raise the server's limit (LimitFSIZE= of its systemd unit) and restart it");
  EXPECT_EQ(client->info("h").job_ids_size(), 0);
}

TEST_F(CoreTest, answersWhoeverWaitsForAJobThatCannotStart) {
  client->create("h");
  SpawnRequest request = named<SpawnRequest>("h");
  request.set_script("true");
  request.mutable_rlimits()->set_fsize(4711);
  auto linker = connect();
  auto streamer = connect();
  auto spawning = client->begin(Message::Spawn, request);
  auto link = linker->begin(Message::Link, Client::linkRequest("h", 1));
  auto stream = streamer->begin(Message::Stream, Client::streamRequest("h", 1));
  auto timeout = port.getTimer().afterDelay(5 * kj::SECONDS);
  spawning.wait(scope);
  kj::joinPromises(kj::arr(link.ignoreResult(), stream.ignoreResult()))
      .exclusiveJoin(kj::mv(timeout))
      .wait(scope);
  ASSERT_FALSE(linker->out.sent.empty());
  EXPECT_EQ(linker->last<LinkResponse>(Message::Link).exit_status(), 255u);
  ASSERT_FALSE(streamer->out.sent.empty());
  EXPECT_EQ(streamer->last<StreamResponse>(Message::Stream).exit_status(), 255u);
  EXPECT_EQ(client->error(Message::Link, Client::linkRequest("h", 1)), "no such job");
  for (int i = 0; i < 100 && helper->forgotten() == 0; ++i)
    sleep(10);
  EXPECT_EQ(helper->forgotten(), 1);
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
  auto response = client->run("h", "sleep 2 & echo started");
  EXPECT_EQ(response.stdout(), "started\n");
  EXPECT_EQ(response.exit_status(), 0u);
}

}  // namespace
}  // namespace warden::frontend
