// The command as its callers see it: arguments, standard streams, exit status.

#include "client-command-testing.h"

namespace warden::client {
namespace {

// Answers Spawn and Stream: "one" on stdout, "two" on stderr, "three" on stdout, then `status`.
void serveJob(Peer& peer, const std::function<void(const SpawnRequest&)>& check, uint32_t status) {
  check(peer.take<SpawnRequest>(Message::Spawn));
  SpawnResponse spawned;
  spawned.set_job_id(9);
  peer.answer(Message::Spawn, spawned);
  EXPECT_EQ(peer.take<StreamRequest>(Message::Stream).job_id(), 9u);
  for (const char* data : {"one", "two", "three\xff"}) {
    StreamResponse piece;
    piece.set_name(data == std::string("two") ? "stderr" : "stdout");
    piece.set_data(data);
    peer.answer(Message::Stream, piece);
  }
  StreamResponse last;
  last.set_exit_status(status);
  last.mutable_info()->set_state("active");
  peer.answer(Message::Stream, last);
}

TEST(WardenCommandTest, pings) {
  auto script = [](Peer& peer) {
    peer.take<PingRequest>(Message::Ping);
    peer.answer(Message::Ping, PingResponse());
  };
  auto result = runWith(script, {"ping"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out, "pong\n");
  EXPECT_EQ(runWith(script, {"--json", "ping"}).out, "{\"ok\":true}\n");
  EXPECT_EQ(runWith(script, {"ping", "--json"}).out, "{\"ok\":true}\n");
}

TEST(WardenCommandTest, runPassesOutputAndStatusOn) {
  auto result = runWith(
      [](Peer& peer) {
        serveJob(
            peer,
            [](const SpawnRequest& request) {
              EXPECT_EQ(request.handle(), "h");
              EXPECT_EQ(request.script(), "exit 42");
              EXPECT_FALSE(request.has_privileged());
              EXPECT_FALSE(request.has_rlimits());
              EXPECT_FALSE(request.has_log_tag());
            },
            42);
      },
      {"run", "h", "exit 42"});
  EXPECT_EQ(result.status, 42);
  EXPECT_EQ(result.out, "onethree\xff");
  EXPECT_EQ(result.err, "two");
}

TEST(WardenCommandTest, runPassesItsOptionsOn) {
  auto result = runWith(
      [](Peer& peer) {
        serveJob(
            peer,
            [](const SpawnRequest& request) {
              EXPECT_TRUE(request.privileged());
              EXPECT_TRUE(request.discard_output());
              EXPECT_EQ(request.log_tag(), "tag");
              EXPECT_EQ(request.rlimits().nofile(), 100u);
              EXPECT_EQ(request.rlimits().core(), UINT64_MAX);
              EXPECT_FALSE(request.rlimits().has_nproc());
            },
            0);
      },
      {"run", "--privileged", "--rlimit", "nofile=100", "--rlimit", "core=unlimited",
       "--discard-output", "--log-tag", "tag", "h", "true"});
  EXPECT_EQ(result.status, 0);
}

TEST(WardenCommandTest, runReadsTheScriptFromStandardInput) {
  std::string script("cat\nbinary \x00\xff\n", 14);
  for (std::vector<std::string> arguments :
       {std::vector<std::string>{"run", "h"}, {"run", "h", "-"}}) {
    auto check = [&](const SpawnRequest& request) { EXPECT_EQ(request.script(), script); };
    auto result = runWith([&](Peer& peer) { serveJob(peer, check, 255); }, arguments, script);
    EXPECT_EQ(result.status, 255);
  }
}

TEST(WardenCommandTest, runPrintsOneJsonObject) {
  auto result = runWith(
      [](Peer& peer) {
        serveJob(
            peer, [](const auto&) {}, 3);
      },
      {"--json", "run", "h", "x"});
  EXPECT_EQ(result.status, 3);
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(result.out,
            "{\"job_id\":9,\"exit_status\":3,\"stdout\":{\"base64\":\"b25ldGhyZWX/\"},"
            "\"stderr\":\"two\",\"info\":{\"state\":\"active\",\"events\":[],\"job_ids\":[]}}\n");
}

TEST(WardenCommandTest, linkPrintsOutputAndExitsWithTheStatus) {
  auto result = runWith(
      [](Peer& peer) {
        auto request = peer.take<LinkRequest>(Message::Link);
        EXPECT_EQ(request.handle(), "h");
        EXPECT_EQ(request.job_id(), 4294967295u);
        LinkResponse response;
        response.set_exit_status(255);
        response.set_stdout("out");
        response.set_stderr("err");
        peer.answer(Message::Link, response);
      },
      {"link", "h", "4294967295"});
  EXPECT_EQ(result.status, 255);
  EXPECT_EQ(result.out, "out");
  EXPECT_EQ(result.err, "err");
}

TEST(WardenCommandTest, aJobWithoutAStatusDoesNotLookSuccessful) {
  auto result = runWith(
      [](Peer& peer) {
        peer.takeMessage();
        peer.answer(Message::Link, LinkResponse());
      },
      {"link", "h", "1"});
  EXPECT_EQ(result.status, 255);
}

class HandleTest : public testing::TestWithParam<std::string> {};

TEST_P(HandleTest, isPassedOnAsItIs) {
  std::vector<std::string> arguments{"create", "--grace-time", "5"};
  if (GetParam().empty()) {
    arguments.insert(arguments.end(), {"--handle", ""});
  } else {
    arguments.push_back("--handle=" + GetParam());
  }
  auto created = runWith(
      [](Peer& peer) {
        auto request = peer.take<CreateRequest>(Message::Create);
        EXPECT_TRUE(request.has_handle());
        EXPECT_EQ(request.handle(), GetParam());
        EXPECT_EQ(request.grace_time(), 5u);
        CreateResponse response;
        response.set_handle(request.handle());
        peer.answer(Message::Create, response);
      },
      arguments);
  EXPECT_EQ(created.status, 0) << created.err;
  EXPECT_EQ(created.out, GetParam() + "\n");

  auto destroyed = runWith(
      [](Peer& peer) {
        EXPECT_EQ(peer.take<DestroyRequest>(Message::Destroy).handle(), GetParam());
        peer.answer(Message::Destroy, DestroyResponse());
      },
      {"destroy", "--", GetParam()});
  EXPECT_EQ(destroyed.status, 0) << destroyed.err;
  EXPECT_EQ(destroyed.out, "");
}

INSTANTIATE_TEST_SUITE_P(WardenCommandTest, HandleTest,
                         testing::Values("plain", "a/b", "", "ping", "-x", "--json", "h\xff\xfe",
                                         "with space", "a=b", "[1,2]", "\"quoted\"", "%"),
                         [](const auto& info) { return "number" + std::to_string(info.index); });

TEST(WardenCommandTest, createWithoutAHandleSendsNone) {
  auto result = runWith(
      [](Peer& peer) {
        auto request = peer.take<CreateRequest>(Message::Create);
        EXPECT_FALSE(request.has_handle());
        EXPECT_FALSE(request.has_grace_time());
        CreateResponse response;
        response.set_handle("0123456789a");
        peer.answer(Message::Create, response);
      },
      {"--json", "create"});
  EXPECT_EQ(result.out, "{\"handle\":\"0123456789a\"}\n");
}

TEST(WardenCommandTest, stopPassesItsFlagsOn) {
  auto result = runWith(
      [](Peer& peer) {
        auto request = peer.take<StopRequest>(Message::Stop);
        EXPECT_TRUE(request.kill());
        EXPECT_TRUE(request.background());
        peer.answer(Message::Stop, StopResponse());
      },
      {"stop", "--kill", "--background", "h"});
  EXPECT_EQ(result.status, 0);
}

void answerAll(Peer& peer) {
  EXPECT_TRUE(peer.take<ListRequest>(Message::List).all());
  ListResponse response;
  response.add_handles("one");
  auto& one = *response.add_containers();
  one.set_id("1j15k8992et");
  one.set_handle("one");
  one.set_state("active");
  auto& rest = *response.add_containers();
  rest.set_id("1j15k8992eu");
  rest.set_state("destroyed");
  rest.set_held_up_by("its processes do not end");
  rest.set_seconds(12);
  peer.answer(Message::List, response);
}

TEST(WardenCommandTest, listsAllWithWhatHoldsUpADestroy) {
  EXPECT_EQ(runWith(answerAll, {"list", "--all"}).out,
            "1j15k8992et active     one\n"
            "1j15k8992eu destroyed  (for 12 s: its processes do not end)\n");
  EXPECT_EQ(runWith(answerAll, {"--json", "list", "--all"}).out,
            R"({"handles":["one"],"containers":[{"id":"1j15k8992et","handle":"one",)"
            R"("state":"active"},{"id":"1j15k8992eu","state":"destroyed",)"
            R"("held_up_by":"its processes do not end","seconds":12}]})"
            "\n");
}

TEST(WardenCommandTest, listsHandlesWhereTheServerKnowsOfNoMore) {
  auto listed = runWith(
      [](Peer& peer) {
        peer.take<ListRequest>(Message::List);
        ListResponse response;
        response.add_handles("one");
        peer.answer(Message::List, response);
      },
      {"list", "--all"});
  EXPECT_EQ(listed.out, "one\n");
}

TEST(WardenCommandTest, listsAndEchoes) {
  auto listed = runWith(
      [](Peer& peer) {
        peer.take<ListRequest>(Message::List);
        ListResponse response;
        response.add_handles("one");
        response.add_handles("\xff");
        peer.answer(Message::List, response);
      },
      {"list"});
  EXPECT_EQ(listed.out, "one\n\xff\n");
  auto echoed = runWith(
      [](Peer& peer) {
        EchoResponse response;
        response.set_message(peer.take<EchoRequest>(Message::Echo).message());
        peer.answer(Message::Echo, response);
      },
      {"echo"}, "from\nstdin");
  EXPECT_EQ(echoed.out, "from\nstdin");
}

}  // namespace
}  // namespace warden::client
