// What the command passes on of limits, the network, copies and bind mounts.

#include "client-command-testing.h"

namespace warden::client {
namespace {

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

TEST(WardenCommandTest, saysHowFarACopyIsOnStandardErrorWhereItIsAsked) {
  auto script = [](bool asked) {
    return [asked](Peer& peer) {
      EXPECT_EQ(peer.take<CopyOutRequest>(Message::CopyOut).has_progress(), asked);
      CopyOutResponse response;
      for (uint64_t entries : {1, 2, 3}) {
        response.mutable_progress()->set_entries(entries);
        if (asked) peer.answer(Message::CopyOut, response);
      }
      peer.answer(Message::CopyOut, CopyOutResponse());
    };
  };
  EXPECT_EQ(runWith(script(false), {"copy-out", "h", "a", "b"}).err, "");
  auto shown = runWith(script(true), {"--json", "copy-out", "--progress", "h", "a", "b"});
  EXPECT_EQ(shown.status, 0);
  EXPECT_EQ(shown.out, "{\"ok\":true}\n");
  EXPECT_EQ(shown.err, "0 bytes, 1 entry, 0 bytes/s\n0 bytes, 3 entries, 0 bytes/s\n");
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

}  // namespace
}  // namespace warden::client
