// The part of a client that concerns jobs.

#include "tests/chaos/client.h"

namespace warden::chaos {

namespace {

constexpr size_t MOST_JOBS = 12;

}  // namespace

void Client::run(ContainerModel& container, const Operation& operation) {
  auto script = makeScript(operation.number, false);
  auto request = test::runRequest(container.handle, script.text);
  request.set_discard_output(script.discards);
  bool disturbed;
  uint32_t fillsBefore;
  {
    std::lock_guard guard(model.lock);
    disturbed = model.diskIsFull;
    fillsBefore = model.fills;
  }
  RunResponse response;
  Fate fate = connection.ask(request, response, operation.walksAway);
  std::lock_guard guard(model.lock);
  judgeRefusal(container, fate);
  if (fate == Fate::UNKNOWN) ++container.maybeJobs;
  if (fate != Fate::ANSWERED) return;
  disturbed |= model.fills != fillsBefore || container.harmed || container.mayBeStopped;
  auto wrong =
      judgeOutput(script, !disturbed, response.stdout(), response.stderr(), response.exit_status());
  if (!wrong.empty()) journal.violation(who, container.handle + ": run: " + wrong);
}

void Client::spawn(ContainerModel& container, const Operation& operation) {
  JobModel job;
  job.script = makeScript(operation.number, true);
  auto request = test::spawnRequest(container.handle, job.script.text);
  request.set_discard_output(job.script.discards);
  uint32_t fillsBefore;
  {
    std::lock_guard guard(model.lock);
    if (container.jobs.size() >= MOST_JOBS) return;
    job.disturbed = model.diskIsFull;
    fillsBefore = model.fills;
  }
  SpawnResponse response;
  Fate fate = connection.ask(request, response, operation.walksAway);
  std::lock_guard guard(model.lock);
  judgeRefusal(container, fate);
  if (fate == Fate::UNKNOWN) ++container.maybeJobs;
  if (fate != Fate::ANSWERED) return;
  job.disturbed |= model.fills != fillsBefore || container.mayBeStopped;
  journal.say(who, container.handle + " has job " + std::to_string(response.job_id()));
  auto found = container.jobs.find(response.job_id());
  if (found != container.jobs.end() && found->second.state == JobModel::State::LIVE) {
    journal.violation(who, "job id " + std::to_string(response.job_id()) + " is given twice");
  }
  container.jobs[response.job_id()] = std::move(job);
}

void Client::link(ContainerModel& container, const Operation& operation) {
  uint32_t id = 0;
  {
    std::lock_guard guard(model.lock);
    if (pickJob(container, operation.pick / 16, id) == nullptr) return;
  }
  LinkResponse response;
  Fate fate =
      connection.ask(test::linkRequest(container.handle, id), response, operation.walksAway);
  std::lock_guard guard(model.lock);
  if (fate != Fate::ANSWERED) return jobUnanswered(container, id, fate, operation.walksAway);
  jobAnswered(container, id, response.stdout(), response.stderr(), response.exit_status());
}

void Client::stream(ContainerModel& container, const Operation& operation) {
  uint32_t id = 0;
  {
    std::lock_guard guard(model.lock);
    if (pickJob(container, operation.pick / 16, id) == nullptr) return;
  }
  test::JobOutput output;
  Fate fate = connection.attempt(
      [&](test::TestClient& client) { client.startStream(container.handle, id); },
      [&](test::TestClient& client) { output = client.finishStream(); }, operation.walksAway);
  std::lock_guard guard(model.lock);
  if (fate != Fate::ANSWERED) return jobUnanswered(container, id, fate, operation.walksAway);
  jobAnswered(container, id, output.out, output.err, output.exitStatus);
}

void Client::jobAnswered(ContainerModel& container, uint32_t id, const std::string& out,
                         const std::string& err, uint32_t status) {
  auto& job = container.jobs.at(id);
  journal.say(who, container.handle + " answered job " + std::to_string(id));
  bool exact = !job.disturbed && !container.harmed && !container.mayBeStopped;
  auto wrong = judgeOutput(job.script, exact, out, err, status);
  if (!wrong.empty()) {
    journal.violation(who, container.handle + ": job " + std::to_string(id) + ": " + wrong);
  }
  job.state = JobModel::State::LINKED;
  job.linked = Clock::now();
}

void Client::jobUnanswered(ContainerModel& container, uint32_t id, Fate fate, bool walkedAway) {
  judgeRefusal(container, fate);
  // A connection that the server's end breaks leaves the job; so the answer has been received
  // whole, or will be by the next who asks.
  if (walkedAway) container.jobs.at(id).state = JobModel::State::MAYBE_LINKED;
}

}  // namespace warden::chaos
