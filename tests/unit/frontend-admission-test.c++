// Who is let in, who waits, and in which order: each user's share, turns, limits of the whole core.

#include <gtest/gtest.h>

#include <deque>

#include "frontend/client-error.h"
#include "frontend/turn-queue.h"
#include "tests/unit/frontend-test-client.h"

namespace warden::frontend {
namespace {

TEST(FairLimitTest, givesOneUserHalfAndTheNextHalfOfWhatIsLeft) {
  FairLimit limit(16);
  std::vector<Place> places;
  auto takeAll = [&](uid_t user) {
    int count = 0;
    for (;;) {
      auto place = limit.take(user);
      KJ_IF_MAYBE (taken, place) {
        places.push_back(kj::mv(*taken));
        ++count;
      } else {
        return count;
      }
    }
  };
  EXPECT_EQ(takeAll(1), 8);
  EXPECT_EQ(takeAll(2), 4);
  EXPECT_EQ(takeAll(3), 2);
  EXPECT_EQ(takeAll(4), 1);
  EXPECT_EQ(takeAll(5), 1);
  EXPECT_EQ(takeAll(6), 0);
  places.clear();
  EXPECT_EQ(takeAll(6), 8);
}

TEST(FairLimitTest, givesASinglePlace) {
  FairLimit limit(1);
  auto place = limit.take(1);
  EXPECT_TRUE(place != nullptr);
  EXPECT_TRUE(limit.take(2) == nullptr);
  place = nullptr;
  EXPECT_TRUE(limit.take(2) != nullptr);
}

class TurnQueueTest : public ::testing::Test {
 protected:
  ~TurnQueueTest() noexcept override = default;

  kj::EventLoop loop;
  kj::WaitScope scope{loop};
  TurnQueue queue{8};
  std::deque<Turn> held;
  std::vector<uid_t> served;
  std::vector<kj::Promise<void>> waiting;

  // So many that none of these users gets another at once.
  void occupy(std::initializer_list<uid_t> users) {
    for (uid_t user : users) {
      for (;;) {
        auto turn = queue.takeAtOnce(user);
        KJ_IF_MAYBE (taken, turn) {
          held.push_back(kj::mv(*taken));
        } else {
          break;
        }
      }
    }
  }

  void wait(uid_t user) {
    waiting.push_back(queue.wait(user)
                          .then([this, user](Turn turn) {
                            served.push_back(user);
                            held.push_back(kj::mv(turn));
                          })
                          .eagerlyEvaluate(nullptr));
  }

  void releaseOne() {
    held.pop_front();
    scope.poll();
  }
};

TEST_F(TurnQueueTest, givesAtMostHalfOfTheTurnsToOneUser) {
  occupy({1});
  EXPECT_EQ(held.size(), TurnQueue::TURNS / 2);
  EXPECT_TRUE(queue.takeAtOnce(2) != nullptr);
}

TEST_F(TurnQueueTest, servesUsersInTurnAndEachInItsOrder) {
  occupy({1, 2, 3, 4, 5, 6});
  EXPECT_EQ(held.size(), TurnQueue::TURNS);
  for (int i = 0; i < 3; ++i)
    wait(7);
  wait(8);
  wait(9);
  EXPECT_TRUE(served.empty());
  for (int i = 0; i < 3; ++i)
    releaseOne();
  // One who asked three times is not served thrice before the others.
  EXPECT_EQ(served, (std::vector<uid_t>{7, 8, 9}));
}

TEST_F(TurnQueueTest, refusesWhereThereIsNoRoomToWaitAndSaysWhatToDo) {
  occupy({1, 2, 3, 4, 5, 6});
  for (int i = 0; i < 4; ++i)
    wait(7);
  try {
    queue.wait(7).wait(scope);
    FAIL() << "it waits";
  } catch (const kj::Exception& e) {
    EXPECT_TRUE(isClientError(e));
    std::string text = e.getDescription().cStr();
    EXPECT_NE(text.find("frontend.max_waiting"), std::string::npos) << text;
    EXPECT_NE(text.find("try again"), std::string::npos) << text;
  }
  wait(8);
  // What the server does by itself always waits.
  auto always = queue.takeAlways(7);
  EXPECT_FALSE(always.poll(scope));
  EXPECT_TRUE(served.empty());
}

TEST_F(TurnQueueTest, forgetsThoseWhoLeave) {
  occupy({1, 2, 3, 4, 5, 6});
  for (int i = 0; i < 4; ++i)
    wait(7);
  waiting.clear();
  wait(8);
  releaseOne();
  EXPECT_EQ(served, std::vector<uid_t>{8});
  for (int i = 0; i < 3; ++i)
    wait(7);
}

TEST_F(TurnQueueTest, givesBackATurnThatNobodyTookInTime) {
  occupy({1, 2, 3, 4, 5, 6});
  auto leaver = queue.wait(7);
  wait(8);
  held.pop_front();
  // It has been given the turn, and goes before it looks.
  leaver = nullptr;
  scope.poll();
  EXPECT_EQ(served, std::vector<uid_t>{8});
}

// --- the whole core

class AdmissionTest : public FlowTest {};

TEST_F(AdmissionTest, refusesMoreContainersThanAreAllowed) {
  config.frontend.maxContainers = 2;
  startCore();
  client->create("a");
  client->create("b");
  EXPECT_EQ(client->error(Message::Create, CreateRequest()),
            "all 2 containers that frontend.max_containers allows exist; destroy one first");
  client->call<DestroyResponse>(Message::Destroy, named<DestroyRequest>("a"));
  client->create("c");
}

class CrowdTest : public FlowTest {
 protected:
  void SetUp() override {
    FlowTest::SetUp();
    config.user.poolSize = config.frontend.maxContainers = 60;
    config.frontend.maxWaiting = 8;
  }

  // Fills this user's turns, and then its places to wait, with creates.
  void crowd() {
    helper->createDelayMs = 20;
    for (uint32_t i = 0; i < TurnQueue::TURNS / 2 + 4; ++i) {
      crowded.push_back(connect());
      creates.push_back(crowded.back()->begin(Message::Create,
                                              named<CreateRequest>("crowd" + std::to_string(i))));
    }
  }

  std::vector<std::unique_ptr<Client>> crowded;
  std::vector<kj::Promise<Continuation>> creates;
};

TEST_F(CrowdTest, refusesACreateThatCannotWaitAndLeavesNothingOfIt) {
  startCore();
  crowd();
  auto text = client->error(Message::Create, named<CreateRequest>("late"));
  EXPECT_NE(text.find("the server is busy"), std::string::npos) << text;
  for (auto& create : creates)
    create.wait(scope);
  for (auto& one : crowded)
    EXPECT_EQ(one->out.sent.back().type, Message::Create) << one->errorText();
  EXPECT_EQ(helper->containers(), creates.size());
  client->create("late");
}

TEST_F(CrowdTest, refusesADestroyThatCannotWaitAndTheContainerLivesOn) {
  startCore();
  client->create("h");
  crowd();
  auto text = client->error(Message::Destroy, named<DestroyRequest>("h"));
  EXPECT_NE(text.find("the server is busy"), std::string::npos) << text;
  EXPECT_EQ(client->info("h").state(), "active");
  for (auto& create : creates)
    create.wait(scope);
  client->call<DestroyResponse>(Message::Destroy, named<DestroyRequest>("h"));
}

TEST_F(CrowdTest, forgetsACreateWhoseClientGoesWhileItWaits) {
  startCore();
  crowd();
  creates.pop_back();
  crowded.pop_back();
  for (auto& create : creates)
    create.wait(scope);
  EXPECT_EQ(helper->containers(), creates.size());
}

TEST_F(CrowdTest, carriesOutTwoDestroysOfOneContainerThatWaited) {
  startCore();
  client->create("h");
  helper->createDelayMs = 20;
  for (uint32_t i = 0; i < TurnQueue::TURNS / 2; ++i) {
    crowded.push_back(connect());
    creates.push_back(crowded.back()->begin(Message::Create, CreateRequest()));
  }
  auto other = connect();
  auto one = client->begin(Message::Destroy, named<DestroyRequest>("h"));
  auto two = other->begin(Message::Destroy, named<DestroyRequest>("h"));
  one.wait(scope);
  two.wait(scope);
  EXPECT_EQ(client->out.sent.back().type, Message::Destroy) << client->errorText();
  EXPECT_EQ(other->out.sent.back().type, Message::Destroy) << other->errorText();
  for (auto& create : creates)
    create.wait(scope);
  EXPECT_EQ(helper->containers(), creates.size());
}

TEST_F(CrowdTest, aDestroyThatDoesNotEndHoldsUpNoOther) {
  startCore();
  std::vector<std::string> handles;
  for (uint32_t i = 0; i < TurnQueue::TURNS / 2; ++i) {
    handles.push_back(std::to_string(i));
    client->create(handles.back());
  }
  helper->holdDestroys = true;
  std::vector<kj::Promise<Continuation>> destroys;
  for (auto& handle : handles) {
    crowded.push_back(connect());
    destroys.push_back(crowded.back()->begin(Message::Destroy, named<DestroyRequest>(handle)));
  }
  client->create("another");
  EXPECT_EQ(client->info("another").state(), "active");
}

TEST_F(AdmissionTest, refusesMoreRequestsThanOneUserMayHaveUnderWay) {
  config.frontend.maxRequests = 2;
  startCore();
  client->create("h");
  helper->limitDelayMs = 50;
  auto other = connect();
  auto info = other->begin(Message::Info, named<InfoRequest>("h"));
  auto text = client->error(Message::Info, named<InfoRequest>("h"));
  EXPECT_NE(text.find("frontend.max_requests"), std::string::npos) << text;
  // What waits for a job, and what is answered at once, are not counted.
  EXPECT_EQ(client->run("h", "true").exit_status(), 0u);
  client->call<PingResponse>(Message::Ping, PingRequest());
  info.wait(scope);
  client->info("h");
}

}  // namespace
}  // namespace warden::frontend
