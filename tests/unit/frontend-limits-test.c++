// Limits and Info through the whole core.

#include "tests/unit/frontend-limits-testing.h"

namespace warden::frontend {
namespace {

TEST_F(LimitsTest, readsAndSetsMemoryUpAndDown) {
  EXPECT_EQ(limitMemory(named<LimitMemoryRequest>("h")), UNLIMITED);
  EXPECT_EQ(limitMemory(memory(100 << 20)), 100u << 20);
  EXPECT_EQ(limitMemory(memory(200 << 20)), 200u << 20);
  EXPECT_EQ(limitMemory(memory((50 << 20) + 1)), 50u << 20);
  EXPECT_EQ(limitMemory(memory(UINT64_MAX)), UNLIMITED);
  EXPECT_EQ(limitMemory(named<LimitMemoryRequest>("h")), UNLIMITED);
}

TEST_F(LimitsTest, refusesLessMemoryThanAPage) {
  EXPECT_EQ(client->error(Message::LimitMemory, memory(0)),
            "limit_in_bytes is 0; a number from 4096, one page, is accepted");
  EXPECT_EQ(client->error(Message::LimitMemory, memory(PAGE - 1)),
            "limit_in_bytes is 4095; a number from 4096, one page, is accepted");
  EXPECT_EQ(limitMemory(named<LimitMemoryRequest>("h")), UNLIMITED);
}

TEST_F(LimitsTest, saysWhyALimitCouldNotBeSet) {
  helper->failLimits = EBUSY;
  EXPECT_EQ(client->error(Message::LimitMemory, memory(PAGE)),
            "could not limit the memory: the step: Device or resource busy; the container uses "
            "more than that: end some of its processes, or ask for more");
  helper->failLimits = EOPNOTSUPP;
  auto shares = named<LimitCpuRequest>("h");
  shares.set_limit_in_shares(1);
  EXPECT_EQ(client->error(Message::LimitCpu, shares),
            "could not limit the cpu shares: the step: Operation not supported; this host lacks "
            "what it takes: look into the helper's log");
  EXPECT_EQ(client->error(Message::LimitBandwidth, bandwidth(1, 1)).find("could not limit the ban"),
            0u);
  EXPECT_EQ(client->info("h").bandwidth_stat().in_rate(), 0xffffffffu);
  auto disk = named<LimitDiskRequest>("h");
  disk.set_block(1);
  EXPECT_EQ(client->error(Message::LimitDisk, disk).find("could not limit the disk space"), 0u);
  helper->failLimits = 0;
  EXPECT_EQ(limitDisk(disk).block(), 1u);
}

TEST_F(LimitsTest, readsAndSetsCpuShares) {
  auto request = named<LimitCpuRequest>("h");
  auto shares = [&]() {
    return client->call<LimitCpuResponse>(Message::LimitCpu, request).limit_in_shares();
  };
  EXPECT_EQ(shares(), 1024u);
  request.set_limit_in_shares(100);
  EXPECT_EQ(shares(), 100u);
  request.set_limit_in_shares(0);
  EXPECT_EQ(shares(), 2u);
  request.set_limit_in_shares(UINT64_MAX);
  EXPECT_EQ(shares(), 262144u);
  request.clear_limit_in_shares();
  EXPECT_EQ(shares(), 262144u);
}

TEST_F(LimitsTest, setsBandwidthForBothDirectionsAndReplacesIt) {
  auto before = client->info("h").bandwidth_stat();
  for (uint64_t value :
       {before.in_rate(), before.in_burst(), before.out_rate(), before.out_burst()}) {
    EXPECT_EQ(value, 0xffffffffu);
  }
  auto response =
      client->call<LimitBandwidthResponse>(Message::LimitBandwidth, bandwidth(1000, 2000));
  EXPECT_EQ(response.rate(), 1000u);
  EXPECT_EQ(response.burst(), 2000u);
  client->call<LimitBandwidthResponse>(Message::LimitBandwidth, bandwidth(3000, 4000));
  EXPECT_EQ(helper->bandwidthOf(id), (std::pair<uint64_t, uint64_t>{3000, 4000}));
  auto stat = client->info("h").bandwidth_stat();
  EXPECT_EQ(stat.in_rate(), 3000u);
  EXPECT_EQ(stat.in_burst(), 4000u);
  EXPECT_EQ(stat.out_rate(), 3000u);
  EXPECT_EQ(stat.out_burst(), 4000u);
}

TEST_F(LimitsTest, refusesABandwidthOfNothingOrTooMuch) {
  EXPECT_EQ(client->error(Message::LimitBandwidth, bandwidth(0, 1)),
            "rate is 0; a number of bytes a second from 1 to 9223372036854775807 is accepted");
  EXPECT_EQ(client->error(Message::LimitBandwidth, bandwidth(1, 0)),
            "burst is 0; a number of bytes from 1 to 9223372036854775807 is accepted");
  EXPECT_EQ(client->error(Message::LimitBandwidth, bandwidth(UINT64_MAX, 1)),
            "rate is 18446744073709551615; a number of bytes a second from 1 to "
            "9223372036854775807 is accepted");
  EXPECT_EQ(client->error(Message::LimitBandwidth, bandwidth(1, uint64_t(1) << 63)).find("burst"),
            0u);
  EXPECT_EQ(helper->bandwidthOf(id), (std::pair<uint64_t, uint64_t>{0, 0}));
}

TEST_F(LimitsTest, keepsABandwidthWhoseClientHasGone) {
  helper->limitDelayMs = 30;
  auto gone = connect();
  { auto dropped = gone->begin(Message::LimitBandwidth, bandwidth(5, 6)); }
  gone.reset();
  sleep(60);
  EXPECT_EQ(client->info("h").bandwidth_stat().out_rate(), 5u);
}

TEST_F(LimitsTest, readsAndSetsDiskLimits) {
  auto unlimited = limitDisk(named<LimitDiskRequest>("h"));
  EXPECT_TRUE(unlimited.has_byte_hard());
  EXPECT_EQ(unlimited.byte_hard(), 0u);
  auto request = named<LimitDiskRequest>("h");
  request.set_byte(1025);
  request.set_inode_soft(7);
  auto set = limitDisk(request);
  EXPECT_EQ(set.block_hard(), 2u);
  EXPECT_EQ(set.byte_limit(), 2048u);
  EXPECT_EQ(set.inode_soft(), 7u);
  EXPECT_EQ(set.inode_hard(), 0u);
  auto more = named<LimitDiskRequest>("h");
  more.set_inode(9);
  EXPECT_EQ(limitDisk(more).block(), 2u);
  auto present = limitDisk(named<LimitDiskRequest>("h"));
  EXPECT_EQ(present.block(), 2u);
  EXPECT_EQ(present.inode_soft(), 7u);
  EXPECT_EQ(present.inode_hard(), 9u);
}

TEST_F(LimitsTest, losesNoDiskLimitWhenTwoClientsSetOne) {
  helper->limitDelayMs = 10;
  auto other = connect();
  auto blocks = named<LimitDiskRequest>("h");
  blocks.set_block(5);
  auto inodes = named<LimitDiskRequest>("h");
  inodes.set_inode(6);
  auto first = client->begin(Message::LimitDisk, blocks);
  auto second = other->begin(Message::LimitDisk, inodes);
  first.wait(scope);
  second.wait(scope);
  auto present = limitDisk(named<LimitDiskRequest>("h"));
  EXPECT_EQ(present.block(), 5u);
  EXPECT_EQ(present.inode(), 6u);
}

TEST_F(LimitsTest, keepsNoDiskLimitWhoseClientLeavesBeforeItsTurn) {
  helper->limitDelayMs = 30;
  auto gone = connect();
  auto blocks = named<LimitDiskRequest>("h");
  blocks.set_block(5);
  auto inodes = named<LimitDiskRequest>("h");
  inodes.set_inode(6);
  auto first = client->begin(Message::LimitDisk, blocks);
  { auto dropped = gone->begin(Message::LimitDisk, inodes); }
  gone.reset();
  first.wait(scope);
  auto present = limitDisk(named<LimitDiskRequest>("h"));
  EXPECT_EQ(present.block(), 5u);
  EXPECT_EQ(present.inode(), 0u);
}

TEST_F(LimitsTest, servesMoreChangesThanGoOnAtATime) {
  helper->limitDelayMs = 5;
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<decltype(client->begin(Message::LimitBandwidth, bandwidth(1, 1)))> begun;
  for (int i = 1; i <= 20; ++i) {
    clients.push_back(connect());
    begun.push_back(clients.back()->begin(Message::LimitBandwidth, bandwidth(i, i)));
  }
  for (auto& one : begun)
    one.wait(scope);
  EXPECT_EQ(client->info("h").bandwidth_stat().out_rate(), 20u);
}

TEST_F(LimitsTest, refusesADiskLimitThatIsTooLarge) {
  auto request = named<LimitDiskRequest>("h");
  request.set_byte_hard(UINT64_MAX);
  EXPECT_EQ(client->error(Message::LimitDisk, request).find("byte_hard is 18446744073709551615;"),
            0u);
  EXPECT_EQ(limitDisk(named<LimitDiskRequest>("h")).byte_hard(), 0u);
}

TEST_F(LimitsTest, takesLimitsAndInfoOfAStoppedContainer) {
  stop();
  EXPECT_EQ(limitMemory(memory(1 << 20)), 1u << 20);
  client->call<LimitCpuResponse>(Message::LimitCpu, named<LimitCpuRequest>("h"));
  auto disk = named<LimitDiskRequest>("h");
  disk.set_block(1);
  EXPECT_EQ(limitDisk(disk).block(), 1u);
  client->call<LimitBandwidthResponse>(Message::LimitBandwidth, bandwidth(1, 1));
  auto info = client->info("h");
  EXPECT_EQ(info.state(), "stopped");
  EXPECT_TRUE(info.has_memory_stat());
}

TEST_F(LimitsTest, refusesLimitsOfADestroyedContainer) {
  helper->destroyDelayMs = 50;
  auto other = connect();
  auto destroying = other->begin(Message::Destroy, named<DestroyRequest>("h"));
  const std::string expected =
      "Container state must be one of 'active, stopped', current state is 'destroyed'";
  EXPECT_EQ(client->error(Message::LimitMemory, memory(1 << 20)), expected);
  EXPECT_EQ(client->error(Message::LimitCpu, named<LimitCpuRequest>("h")), expected);
  EXPECT_EQ(client->error(Message::LimitDisk, named<LimitDiskRequest>("h")), expected);
  EXPECT_EQ(client->error(Message::LimitBandwidth, bandwidth(1, 1)), expected);
  destroying.wait(scope);
  EXPECT_EQ(client->error(Message::LimitMemory, memory(1 << 20)), "unknown handle");
}

TEST_F(LimitsTest, describesAllOfAContainer) {
  auto info = client->info("h");
  EXPECT_EQ(info.host_ip(), "10.254.0.1");
  EXPECT_EQ(info.container_ip(), "10.254.0.2");
  EXPECT_EQ(info.memory_stat().rss(), 8192u);
  EXPECT_EQ(info.memory_stat().cache(), 4096u);
  EXPECT_EQ(info.cpu_stat().usage(), 123456789u);
  EXPECT_EQ(info.cpu_stat().user(), 7u);
  EXPECT_EQ(info.cpu_stat().system(), 5u);
  EXPECT_EQ(info.disk_stat().bytes_used(), 65536u);
  EXPECT_EQ(info.disk_stat().inodes_used(), 12u);
}

TEST_F(LimitsTest, asksTheHelperForDiskUsageOnly) {
  int before = helper->requests();
  client->info("h");
  EXPECT_EQ(helper->requests(), before + 1);
}

TEST_F(LimitsTest, describesTheContainerInTheAnswersOfJobs) {
  auto run = client->run("h", "true");
  EXPECT_EQ(run.info().container_ip(), "10.254.0.2");
  EXPECT_EQ(run.info().memory_stat().rss(), 8192u);
  EXPECT_EQ(run.info().disk_stat().inodes_used(), 12u);
  auto job = client->spawn("h", "true");
  client->begin(Message::Stream, Client::streamRequest("h", job)).wait(scope);
  StreamResponse end;
  client->streamed(end);
  EXPECT_EQ(end.info().cpu_stat().usage(), 123456789u);
  EXPECT_EQ(end.info().disk_stat().bytes_used(), 65536u);
}

TEST_F(LimitsTest, keepsTheLastInfoOfADestroyedContainer) {
  auto linker = connect();
  auto link = linker->begin(Message::Run, Client::runRequest("h", "sleep 60"));
  sleep(50);
  helper->destroyDelayMs = 30;
  auto destroying = client->begin(Message::Destroy, named<DestroyRequest>("h"));
  helper->writeStatistic(id, "memory.stat", "rss 1\n");
  destroying.wait(scope);
  link.wait(scope);
  auto info = linker->last<RunResponse>(Message::Run).info();
  EXPECT_EQ(info.state(), "active");
  EXPECT_EQ(info.memory_stat().rss(), 8192u);
  EXPECT_EQ(info.disk_stat().inodes_used(), 12u);
  EXPECT_EQ(info.host_ip(), "10.254.0.1");
}

TEST_F(StatisticsChoiceTest, answersWithoutFieldsWhereQuotasAreOff) {
  config.server.diskQuotaEnabled = false;
  startCore();
  create();
  EXPECT_FALSE(client->info("h").has_disk_stat());
  auto request = named<LimitDiskRequest>("h");
  request.set_block(1);
  EXPECT_EQ(limitDisk(request).ByteSizeLong(), 0u);
}

TEST_F(StatisticsChoiceTest, describesAContainerOfV2) {
  startCore();
  helper->cgroupVersion = 2;
  create();
  auto info = client->info("h");
  EXPECT_EQ(info.memory_stat().rss(), 8192u);
  EXPECT_EQ(info.memory_stat().hierarchical_memory_limit(), UNLIMITED);
  EXPECT_EQ(info.cpu_stat().usage(), 1000000u);
}

TEST_F(StatisticsChoiceTest, describesAContainerWithoutStatistics) {
  startCore();
  helper->cgroupVersion = 0;
  create();
  auto info = client->info("h");
  EXPECT_FALSE(info.has_memory_stat());
  EXPECT_FALSE(info.has_cpu_stat());
  EXPECT_TRUE(info.has_bandwidth_stat());
}

}  // namespace
}  // namespace warden::frontend
