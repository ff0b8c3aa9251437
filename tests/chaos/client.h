#pragma once
// One client: carries out its part of the plan, and notes in the model what the answers promise.

#include "tests/chaos/copies.h"

namespace warden::chaos {

class Client {
 public:
  Client(const test::TestServer& server, Model& model, Journal& journal, Trees& trees,
         uint32_t number);

  void run(const std::vector<Operation>& operations);
  void disconnect() { connection.close(); }

 private:
  Model& model;
  Journal& journal;
  Trees& trees;
  uint32_t number;
  std::string who;
  Connection connection;

  ClientModel& own() { return model.clients[number]; }
  ContainerModel* pickContainer(uint32_t pick);
  static JobModel* pickJob(ContainerModel& container, uint32_t pick, uint32_t& id);

  void perform(const Operation& operation);
  void performOn(ContainerModel& container, const Operation& operation);
  void create(const Operation& operation);
  void destroy(ContainerModel& container, const Operation& operation);
  void stop(ContainerModel& container, const Operation& operation);
  void run(ContainerModel& container, const Operation& operation);
  void spawn(ContainerModel& container, const Operation& operation);
  void link(ContainerModel& container, const Operation& operation);
  void stream(ContainerModel& container, const Operation& operation);
  void netIn(ContainerModel& container, const Operation& operation);
  void netOut(ContainerModel& container, const Operation& operation);
  void limitMemory(ContainerModel& container, const Operation& operation);
  void limitCpu(ContainerModel& container, const Operation& operation);
  void limitBandwidth(ContainerModel& container, const Operation& operation);
  void limitDisk(ContainerModel& container, const Operation& operation);
  void copyIn(ContainerModel& container, const Operation& operation);
  void copyOut(ContainerModel& container, const Operation& operation);
  void info(ContainerModel& container, const Operation& operation);
  void list();

  void jobAnswered(ContainerModel& container, uint32_t id, const std::string& out,
                   const std::string& err, uint32_t status);
  void jobUnanswered(ContainerModel& container, uint32_t id, Fate fate, bool walkedAway);
  void noteSet(std::set<uint64_t>& values, uint64_t asked, uint64_t inForce, Fate fate);
  void judgeRefusal(const ContainerModel& container, Fate fate);
  // With the model's lock held: whether the refusal contradicts what is known.
};

std::string judgeOutput(const JobScript& script, bool exact, const std::string& out,
                        const std::string& err, uint32_t status);
// What is wrong with it; "": nothing. Not exact: the beginning of it, and any status.

std::string judgeInfo(const ContainerModel& container, const InfoResponse& info);
// What contradicts the model; "": nothing.

}  // namespace warden::chaos
