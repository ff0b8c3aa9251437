// chaos --seed N --seconds S: random requests of many clients while the server is killed, stopped
// and starved; after each round the server has to be what its answers have promised.

#include <gtest/gtest.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <random>
#include <thread>

#include "tests/chaos/checker.h"
#include "tests/chaos/client.h"
#include "tests/chaos/plant.h"
#include "tests/chaos/trouble.h"
#include "tests/support/depot.h"
#include "tests/support/process.h"
#include "tests/support/server-test.h"

namespace warden::chaos {
namespace {

constexpr uint64_t DEPOT_BYTES = 1 << 30;
constexpr uint64_t DEFAULT_SECONDS = 180;

// After a round of trouble the server has much to do; a fault that was planted does not go away.
constexpr auto SETTLING_TIME = std::chrono::seconds(30);
constexpr auto PLANTED_SETTLING_TIME = std::chrono::seconds(1);

struct Options {
  uint64_t seed = std::random_device()();
  uint64_t seconds = DEFAULT_SECONDS;
  uint32_t rounds = UINT32_MAX;
  uint32_t clients = 6;
  std::string plant;
  std::string log;
};

// Each backend of limits has its turn.
bool hasDiskLimits(uint64_t seed) {
  return seed % 2 == 0;
}

// The frontend has enough of them for about half of the containers that the clients want, with
// their jobs; the helper, which wants 128 and four for each slot, has all.
constexpr uint32_t FEW_DESCRIPTORS = 256;
constexpr uint32_t FEW_SLOTS = 32;

bool hasFewDescriptors(uint64_t seed) {
  return seed % 3 == 0;
}

std::string treesPath() {
  return test::testDirectory() + "/" + test::DIRECTORY_PREFIX + std::to_string(getpid()) + "-trees";
}

test::ServerOptions serverOptions(uint64_t seed) {
  test::ServerOptions options;
  options.slots = 64;
  if (hasFewDescriptors(seed)) {
    options.descriptors = FEW_DESCRIPTORS;
    options.slots = FEW_SLOTS;
  }
  options.config = {
      {"network.pool_network", "10.254.0.0/22"},
      {"network.release_delay", "1"},
      {"frontend.max_connections", "100"},
      {"privhelper.pids_limit", "128"},
      {"server.quota",
       hasDiskLimits(seed) ? "{disk_quota_enabled: true}" : "{disk_quota_enabled: false}"},
  };
  return options;
}

void runRound(const RoundPlan& plan, std::vector<Client>& clients, TroubleMaker& trouble) {
  std::vector<std::thread> threads;
  for (size_t i = 0; i < clients.size(); ++i)
    threads.emplace_back([&, i]() { clients[i].run(plan.clients[i]); });
  for (auto& harm : plan.troubles)
    trouble.make(harm);
  trouble.keepRunning();
  for (auto& thread : threads)
    thread.join();
}

uint32_t runRounds(const Options& options, test::TestServer& server, Journal& journal) {
  Model model(options.clients);
  model.fullDiskLosesFiles = hasDiskLimits(options.seed);
  Trees trees(treesPath());
  std::vector<Client> clients;
  for (uint32_t i = 0; i < options.clients; ++i)
    clients.emplace_back(server, model, journal, trees, i);
  TroubleMaker trouble(server, model, journal);
  Checker checker(server, model, journal, trees, SETTLING_TIME);
  test::warmUp(server);
  test::LeakCheck leaks(server);
  Random random(options.seed);
  auto end = Clock::now() + std::chrono::seconds(options.seconds);
  uint32_t round = 0;
  bool last = false;
  while (!last && journal.violations() == 0) {
    journal.say("round", std::to_string(round));
    RoundPlan plan = makePlan(options.seed, round++, options.clients);
    runRound(plan, clients, trouble);
    last = round >= options.rounds || (options.rounds == UINT32_MAX && Clock::now() >= end);
    checker.check(random);
    trouble.keepRunning();
    if (!plan.clears && !last) continue;
    for (auto& client : clients)
      client.disconnect();
    checker.clear(leaks);
  }
  return round;
}

uint32_t runPlanted(const Options& options, test::TestServer& server, Journal& journal) {
  Model model(1);
  Trees trees(treesPath());
  std::vector<Client> clients;
  clients.emplace_back(server, model, journal, trees, 0);
  TroubleMaker trouble(server, model, journal);
  Checker checker(server, model, journal, trees, PLANTED_SETTLING_TIME);
  test::warmUp(server);
  test::LeakCheck leaks(server);
  Random random(options.seed);
  runRound(makePlantPlan(), clients, trouble);
  clients[0].disconnect();
  if (journal.violations() > 0) return 1;
  plant(options.plant, server, model);
  checker.check(random);
  if (journal.violations() == 0) checker.clear(leaks);
  return 1;
}

int run(const Options& options) {
  test::DepotFileSystem depot("ext4", DEPOT_BYTES);
  Journal journal(options.log);
  uint32_t rounds = 0;
  {
    test::TestServer server(serverOptions(options.seed));
    server.start();
    try {
      rounds = options.plant.empty() ? runRounds(options, server, journal)
                                     : runPlanted(options, server, journal);
    } catch (const kj::Exception& e) {
      journal.violation("driver", e.getDescription().cStr());
    } catch (const std::exception& e) {
      journal.violation("driver", e.what());
    }
    if (journal.violations() > 0) test::writeFile(options.log + ".server", server.logs());
  }
  printf("{\"seed\": %lu, \"rounds\": %u, %s}\n", options.seed, rounds, journal.summary().c_str());
  for (auto& line : journal.refusals())
    printf("  %s\n", line.c_str());
  if (journal.violations() == 0) return 0;
  fprintf(stderr, "what was done: %s; the server's log: %s.server\n", options.log.c_str(),
          options.log.c_str());
  fprintf(stderr, "again: chaos --seed %lu --rounds %u --clients %u\n", options.seed, rounds,
          options.clients);
  return 1;
}

}  // namespace
}  // namespace warden::chaos

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  warden::chaos::Options options;
  CLI::App app("Random requests while the server is killed, stopped and starved");
  app.add_option("--seed", options.seed, "decides everything; without: a fresh one");
  app.add_option("--seconds", options.seconds, "no new round after these")
      ->envname("WARDEN_CHAOS_SECONDS");
  app.add_option("--rounds", options.rounds, "so many, however long they take");
  app.add_option("--clients", options.clients)->check(CLI::Range(1, 32));
  app.add_option("--plant", options.plant,
                 "one calm round, and then this fault, which has to be found")
      ->check(CLI::IsMember(warden::chaos::plantNames()));
  app.add_option("--log", options.log, "what is done; default: chaos-SEED.log here");
  CLI11_PARSE(app, argc, argv);
  if (options.log.empty()) options.log = "chaos-" + std::to_string(options.seed) + ".log";
  if (geteuid() != 0) {
    fputs("chaos starts a container server and must run as root\n", stderr);
    return 1;
  }
  return warden::chaos::run(options);
}
