#include "tests/chaos/trouble.h"

#include <signal.h>

#include <thread>

#include "tests/support/depot.h"
#include "tests/support/process.h"

namespace warden::chaos {

namespace {

constexpr size_t FLOOD_CONNECTIONS = 150;

void trySignal(pid_t pid, int signal) {
  if (pid > 0) ::kill(pid, signal);
}

}  // namespace

void TroubleMaker::make(const Trouble& trouble) {
  std::this_thread::sleep_for(trouble.pause);
  keepRunning();
  journal.say("trouble", nameOf(trouble.harm));
  journal.count(nameOf(trouble.harm));
  auto frontend = [&]() { return server.findFrontend().value_or(-1); };
  auto launcher = [&]() { return frontend() > 0 ? server.launcherPid() : -1; };
  switch (trouble.harm) {
    case Harm::KILL_FRONTEND:
      return killFrontend();
    case Harm::KILL_BROKER:
      return killHelper(server.brokerPid());
    case Harm::KILL_LAUNCHER:
      return killHelper(launcher());
    case Harm::KILL_PORTER:
      return killHelper(server.helperPid("porter"));
    case Harm::KILL_OBSERVER:
      return killHelper(server.helperPid("observer"));
    case Harm::KILL_SWEEPER:
      return killHelper(server.helperPid("sweeper"));
    case Harm::KILL_SERVER:
      return killServer();
    case Harm::KILL_WSHD:
      return killWshd(trouble.pick);
    case Harm::STOP_FRONTEND:
      return pauseProcess(frontend(), trouble);
    case Harm::STOP_BROKER:
      return pauseProcess(server.brokerPid(), trouble);
    case Harm::STOP_LAUNCHER:
      return pauseProcess(launcher(), trouble);
    case Harm::STOP_PORTER:
      return pauseProcess(server.helperPid("porter"), trouble);
    case Harm::STOP_SWEEPER:
      return pauseProcess(server.helperPid("sweeper"), trouble);
    case Harm::STOP_WSHD:
      return pauseProcess(wshdOf(trouble.pick, false), trouble);
    case Harm::FILL_DISK:
      return fillDisk(trouble);
    case Harm::FLOOD_CONNECTIONS:
      return flood(trouble);
    case Harm::EXHAUST_PIDS:
      return exhaustPids(trouble.pick);
  }
}

void TroubleMaker::keepRunning() {
  if (endIsExpected) test::waitUntil([&]() { return !test::isAlive(server.brokerPid()); });
  if (test::isAlive(server.brokerPid())) return;
  auto began = Clock::now();
  int status = server.waitForExit();
  noteEnd(began);
  if (!endIsExpected) {
    journal.violation("server", "the helper has ended by itself, status " + std::to_string(status));
  }
  endIsExpected = false;
  server.start();
  journal.say("trouble", "the server is started again");
}

void TroubleMaker::noteEnd(Clock::time_point from) {
  std::lock_guard guard(model.lock);
  model.ends.emplace_back(from, Clock::now());
}

void TroubleMaker::kill(pid_t pid) {
  auto began = Clock::now();
  trySignal(pid, SIGKILL);
  // Those that are killed by the end of another end a moment later.
  if (endIsExpected) test::waitUntil([&]() { return !test::isAlive(server.brokerPid()); });
  noteEnd(began);
}

void TroubleMaker::killFrontend() {
  auto pid = server.findFrontend();
  if (pid) kill(*pid);
}

void TroubleMaker::killHelper(pid_t pid) {
  // -1: it is not there at the moment, as no frontend is by which a launcher is found.
  if (pid < 0) return;
  endIsExpected = true;
  kill(pid);
}

void TroubleMaker::killServer() {
  auto began = Clock::now();
  server.kill9();
  noteEnd(began);
  server.start();
}

pid_t TroubleMaker::wshdOf(uint32_t pick, bool harms) {
  std::lock_guard guard(model.lock);
  auto there = model.existing();
  if (there.empty()) return -1;
  auto& victim = *there[pick % there.size()];
  journal.say("trouble", "its victim is " + victim.handle);
  if (harms) victim.mayLoseFirstProcess();
  return server.findWshd(victim.id).value_or(-1);
}

void TroubleMaker::killWshd(uint32_t pick) {
  trySignal(wshdOf(pick, true), SIGKILL);
}

void TroubleMaker::pauseProcess(pid_t pid, const Trouble& trouble) {
  if (pid <= 0) return;
  auto began = Clock::now();
  trySignal(pid, SIGSTOP);
  std::this_thread::sleep_for(trouble.length);
  trySignal(pid, SIGCONT);
  // A frontend that stands still does not tell of the jobs that it has answered.
  noteEnd(began);
}

void TroubleMaker::fillDisk(const Trouble& trouble) {
  {
    std::lock_guard guard(model.lock);
    model.diskIsFull = true;
    ++model.fills;
    for (auto& client : model.clients)
      for (auto& container : client.containers) {
        container.disturbJobs();
        if (model.fullDiskLosesFiles) container.copies.clear();
      }
  }
  {
    test::Filler filler(server.directory());
    std::this_thread::sleep_for(trouble.length);
  }
  std::lock_guard guard(model.lock);
  model.diskIsFull = false;
  model.emptied = Clock::now();
}

void TroubleMaker::flood(const Trouble& trouble) {
  std::vector<test::TestClient> clients;
  for (size_t i = 0; i < FLOOD_CONNECTIONS; ++i) {
    try {
      clients.push_back(server.connect());
    } catch (const kj::Exception&) {
      break;
    }
  }
  std::this_thread::sleep_for(trouble.length);
}

void TroubleMaker::exhaustPids(uint32_t pick) {
  std::string handle;
  {
    std::lock_guard guard(model.lock);
    auto there = model.existing();
    if (there.empty()) return;
    auto& victim = *there[pick % there.size()];
    victim.harmed = true;
    victim.disturbJobs();
    ++victim.maybeJobs;
    handle = victim.handle;
  }
  try {
    auto client = server.connect();
    client.spawn(handle, bombScript(), true);
  } catch (const std::exception&) {
    // It may be stopped or gone meanwhile.
  } catch (const kj::Exception&) {
  }
}

}  // namespace warden::chaos
