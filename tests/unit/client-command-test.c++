// The command as its callers see it: arguments, standard streams, exit status.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "client-test-server.h"

namespace warden::client {
namespace {

struct Result {
  int status = -1;  // exit status, or 128 + signal
  std::string out;
  std::string err;
};

std::string drain(int fd) {
  auto bytes = readAll(fd, 1 << 28);
  return std::string(bytes.asChars().begin(), bytes.size());
}

pid_t start(std::vector<std::string> arguments, int in, int out, int err) {
  arguments.insert(arguments.begin(), WARDEN_COMMAND);
  std::vector<char*> argv;
  for (auto& argument : arguments)
    argv.push_back(argument.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_adddup2(&actions, out, 1);
  posix_spawn_file_actions_adddup2(&actions, err, 2);
  pid_t pid = -1;
  EXPECT_EQ(posix_spawn(&pid, WARDEN_COMMAND, &actions, nullptr, argv.data(), environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

int waitFor(pid_t pid) {
  int status;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Result runCommand(std::vector<std::string> arguments, const std::string& input = "") {
  Pipe out = makePipe(), err = makePipe();
  kj::ArrayPtr<const char> bytes(input.data(), input.size());
  Fd in = makeSealedMemfd("input", bytes.asBytes());
  pid_t pid = start(std::move(arguments), in, out.writeEnd, err.writeEnd);
  out.writeEnd = nullptr;
  err.writeEnd = nullptr;
  Result result;
  std::thread errors([&] { result.err = drain(err.readEnd); });
  result.out = drain(out.readEnd);
  errors.join();
  result.status = waitFor(pid);
  return result;
}

Result runWith(std::function<void(Peer&)> script, std::vector<std::string> arguments,
               const std::string& input = "") {
  TestServer server(std::move(script));
  arguments.insert(arguments.begin(), {"--socket", server.path()});
  return runCommand(std::move(arguments), input);
}

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

// Runs a command, checks its request, and answers with `response`.
template <typename Request, typename Response>
Result runAsking(Message::Type type, const std::function<void(const Request&)>& check,
                 const Response& response, std::vector<std::string> arguments) {
  return runWith(
      [&](Peer& peer) {
        auto request = peer.take<Request>(type);
        EXPECT_EQ(request.handle(), "h");
        check(request);
        peer.answer(type, response);
      },
      std::move(arguments));
}

TEST(WardenCommandTest, createPassesItsNetworkOn) {
  auto result = runWith(
      [](Peer& peer) {
        EXPECT_EQ(peer.take<CreateRequest>(Message::Create).network(), "10.254.0.5");
        CreateResponse response;
        response.set_handle("h");
        peer.answer(Message::Create, response);
      },
      {"create", "--network", "10.254.0.5"});
  EXPECT_EQ(result.out, "h\n");
}

TEST(WardenCommandTest, limitMemoryTakesSizes) {
  const std::pair<const char*, uint64_t> cases[] = {
      {"0", 0},
      {"4096", 4096},
      {"100K", 100 << 10},
      {"100M", 100 << 20},
      {"1G", 1 << 30},
      {"2T", uint64_t(2) << 40},
      {"unlimited", UINT64_MAX},
      {"18446744073709551615", UINT64_MAX},
  };
  for (auto [text, bytes] : cases) {
    LimitMemoryResponse response;
    response.set_limit_in_bytes(100 << 20);
    auto check = [bytes = bytes](const LimitMemoryRequest& request) {
      EXPECT_EQ(request.limit_in_bytes(), bytes);
    };
    auto result = runAsking<LimitMemoryRequest>(Message::LimitMemory, check, response,
                                                {"limit-memory", "h", text});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.out, "limit_in_bytes                          104857600 bytes (100.0 MiB)\n");
  }
}

TEST(WardenCommandTest, limitMemoryPrintsTheLimit) {
  LimitMemoryResponse response;
  response.set_limit_in_bytes(9223372036854771712u);
  auto check = [](const LimitMemoryRequest& request) {
    EXPECT_FALSE(request.has_limit_in_bytes());
  };
  auto text =
      runAsking<LimitMemoryRequest>(Message::LimitMemory, check, response, {"limit-memory", "h"});
  EXPECT_EQ(text.out, "limit_in_bytes                          unlimited\n");
  auto json = runAsking<LimitMemoryRequest>(Message::LimitMemory, check, response,
                                            {"--json", "limit-memory", "h"});
  EXPECT_EQ(json.out, "{\"limit_in_bytes\":9223372036854771712}\n");
}

TEST(WardenCommandTest, limitCpuTakesShares) {
  LimitCpuResponse response;
  response.set_limit_in_shares(512);
  auto set = runAsking<LimitCpuRequest>(
      Message::LimitCpu, [](const auto& request) { EXPECT_EQ(request.limit_in_shares(), 512u); },
      response, {"limit-cpu", "h", "512"});
  EXPECT_EQ(set.out, "limit_in_shares                         512 shares\n");
  auto read = runAsking<LimitCpuRequest>(
      Message::LimitCpu, [](const auto& request) { EXPECT_FALSE(request.has_limit_in_shares()); },
      response, {"limit-cpu", "h", "--json"});
  EXPECT_EQ(read.out, "{\"limit_in_shares\":512}\n");
}

TEST(WardenCommandTest, limitDiskTakesAllTwelveFields) {
  LimitDiskResponse response;
  response.set_block_hard(2);
  response.set_inode_soft(0);
  auto check = [](const LimitDiskRequest& request) {
    EXPECT_EQ(request.byte_limit(), 1024u);
    EXPECT_EQ(request.byte(), 2u);
    EXPECT_EQ(request.byte_soft(), 0u);
    EXPECT_TRUE(request.has_byte_soft());
    EXPECT_EQ(request.byte_hard(), 4u << 20);
    EXPECT_EQ(request.block_limit(), 5u);
    EXPECT_EQ(request.block(), 6u);
    EXPECT_EQ(request.block_soft(), 7u);
    EXPECT_EQ(request.block_hard(), 8u);
    EXPECT_EQ(request.inode_limit(), 9u);
    EXPECT_EQ(request.inode(), 10u);
    EXPECT_EQ(request.inode_soft(), 11u);
    EXPECT_EQ(request.inode_hard(), 12u);
  };
  auto result = runAsking<LimitDiskRequest>(
      Message::LimitDisk, check, response,
      {"limit-disk",   "h",  "--byte-limit",  "1K", "--byte",  "2",  "--byte-soft",  "unlimited",
       "--byte-hard",  "4M", "--block-limit", "5",  "--block", "6",  "--block-soft", "7",
       "--block-hard", "8",  "--inode-limit", "9",  "--inode", "10", "--inode-soft", "11",
       "--inode-hard", "12"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out,
            "block_hard                              2 blocks\n"
            "inode_soft                              unlimited\n");
}

TEST(WardenCommandTest, limitDiskWithoutOptionsSetsNothing) {
  auto check = [](const LimitDiskRequest& request) {
    LimitDiskRequest empty;
    empty.set_handle("h");
    EXPECT_EQ(request.SerializeAsString(), empty.SerializeAsString());
  };
  auto result = runAsking<LimitDiskRequest>(Message::LimitDisk, check, LimitDiskResponse(),
                                            {"--json", "limit-disk", "h"});
  EXPECT_EQ(result.out, "{}\n");
  auto text = runAsking<LimitDiskRequest>(Message::LimitDisk, check, LimitDiskResponse(),
                                          {"limit-disk", "h"});
  EXPECT_EQ(text.out, "nothing is limited: disk quotas are off in the server's configuration\n");
}

TEST(WardenCommandTest, limitBandwidthTakesRateAndBurst) {
  LimitBandwidthResponse response;
  response.set_rate(1 << 20);
  response.set_burst(2048);
  auto check = [](const LimitBandwidthRequest& request) {
    EXPECT_EQ(request.rate(), 1u << 20);
    EXPECT_EQ(request.burst(), 2048u);
  };
  auto result = runAsking<LimitBandwidthRequest>(Message::LimitBandwidth, check, response,
                                                 {"limit-bandwidth", "h", "1M", "2K"});
  EXPECT_EQ(result.out,
            "rate                                    1048576 bytes/s (1.0 MiB/s)\n"
            "burst                                   2048 bytes\n");
}

TEST(WardenCommandTest, netInPrintsBothPorts) {
  NetInResponse response;
  response.set_host_port(61000);
  response.set_container_port(80);
  auto without = runAsking<NetInRequest>(Message::NetIn,
                                         [](const auto& request) {
                                           EXPECT_FALSE(request.has_host_port());
                                           EXPECT_FALSE(request.has_container_port());
                                         },
                                         response, {"net-in", "h"});
  EXPECT_EQ(without.out,
            "host_port                               61000\n"
            "container_port                          80\n");
  auto with = runAsking<NetInRequest>(
      Message::NetIn,
      [](const auto& request) {
        EXPECT_EQ(request.host_port(), 61000u);
        EXPECT_EQ(request.container_port(), 80u);
      },
      response, {"--json", "net-in", "h", "--host-port", "61000", "--container-port", "80"});
  EXPECT_EQ(with.out, "{\"host_port\":61000,\"container_port\":80}\n");
}

TEST(WardenCommandTest, netOutPassesItsOptionsOn) {
  auto all = runAsking<NetOutRequest>(
      Message::NetOut,
      [](const auto& request) {
        EXPECT_EQ(request.network(), "10.0.0.0/8");
        EXPECT_EQ(request.port(), 80u);
        EXPECT_EQ(request.port_range(), "8000:8080");
        EXPECT_EQ(request.protocol(), NetOutRequest::ICMP);
        EXPECT_EQ(request.icmp_type(), -1);
        EXPECT_EQ(request.icmp_code(), 3);
        EXPECT_TRUE(request.log());
      },
      NetOutResponse(),
      {"net-out", "h", "--network", "10.0.0.0/8", "--port", "80", "--port-range", "8000:8080",
       "--protocol", "icmp", "--icmp-type", "-1", "--icmp-code", "3", "--log"});
  EXPECT_EQ(all.status, 0) << all.err;
  EXPECT_EQ(all.out, "");
  auto one = runAsking<NetOutRequest>(Message::NetOut,
                                      [](const auto& request) {
                                        NetOutRequest expected;
                                        expected.set_handle("h");
                                        expected.set_port(53);
                                        EXPECT_EQ(request.SerializeAsString(),
                                                  expected.SerializeAsString());
                                      },
                                      NetOutResponse(), {"--json", "net-out", "h", "--port", "53"});
  EXPECT_EQ(one.out, "{\"ok\":true}\n");
}

TEST(WardenCommandTest, copiesWithAbsolutePathsOfTheHost) {
  auto here = std::filesystem::current_path().string();
  auto in = runAsking<CopyInRequest>(Message::CopyIn,
                                     [&](const auto& request) {
                                       EXPECT_EQ(request.src_path(), here + "/a/");
                                       EXPECT_EQ(request.dst_path(), "b");
                                     },
                                     CopyInResponse(), {"copy-in", "h", "a/", "b"});
  EXPECT_EQ(in.status, 0) << in.err;
  EXPECT_EQ(in.out, "");
  auto out = runAsking<CopyOutRequest>(
      Message::CopyOut,
      [&](const auto& request) {
        EXPECT_EQ(request.src_path(), "a/");
        EXPECT_EQ(request.dst_path(), "/srv/b");
        EXPECT_EQ(request.owner(), "me:us");
      },
      CopyOutResponse(), {"--json", "copy-out", "h", "a/", "/srv/b", "--owner", "me:us"});
  EXPECT_EQ(out.out, "{\"ok\":true}\n");
}

TEST(WardenCommandTest, createPassesPathsOfTheHostOn) {
  auto here = std::filesystem::current_path().string();
  CreateResponse response;
  response.set_handle("h");
  auto result = runAsking<CreateRequest>(
      Message::Create,
      [&](const auto& request) {
        EXPECT_EQ(request.rootfs(), "/images/x");
        ASSERT_EQ(request.bind_mounts_size(), 3);
        EXPECT_EQ(request.bind_mounts(0).src_path(), here + "/data");
        EXPECT_EQ(request.bind_mounts(0).dst_path(), "/data");
        EXPECT_EQ(request.bind_mounts(0).mode(), CreateRequest::BindMount::RO);
        EXPECT_EQ(request.bind_mounts(1).mode(), CreateRequest::BindMount::RW);
        EXPECT_EQ(request.bind_mounts(2).dst_path(), "/c:d");
      },
      response,
      {"create", "--handle", "h", "--rootfs", "/images/x", "--bind-mount", "data:/data",
       "--bind-mount", "/a:/b:rw", "--bind-mount", "/a:/c:d:ro"});
  EXPECT_EQ(result.status, 0) << result.err;
  for (auto wrong : {"", "/a", "/a:", ":/b", "/a::ro"}) {
    EXPECT_EQ(runCommand({"create", "--bind-mount", wrong}).status, 2) << wrong;
  }
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
