// What a frontend that was taken over makes of creates that wait for the sources of bind mounts.

#include <sys/socket.h>

#include "tests/escape/hostile-porter-test.h"

namespace warden::test {
namespace {

TEST_F(HostilePorterTest, aCreateThatWaitsForItsSourcesHoldsWhatItWillHave) {
  HelperConnection alice = clientOf(ALICE);
  makeOwned(host + "/source", 0);
  auto second = creating([](auto create) { create.setId("0123456789c"); });
  // Sent without waiting for the answer of the first.
  int client = alice.client();
  auto first = encode([&](auto request) {
    request.setSequence(1000);
    binding(host + "/source", "/data", false, 64)(request);
  });
  ASSERT_TRUE(helper->sendBytes(first, kj::arrayPtr(&client, 1)));
  expectRefusedWith(second, {alice.client()});
  auto reply = helper->receive(std::chrono::seconds(10));
  if (!reply) reply = helper->receive(std::chrono::seconds(10));
  helper->drain();
  helper->destroy(ID);
}

TEST_F(HostilePorterTest, answersToACopyOfAContainerThatIsGoneAreForNoCreateOfItsId) {
  HelperConnection alice = clientOf(ALICE);
  makeOwned(host + "/source", 0);
  ASSERT_EQ(call(creating([](auto) {}), {alice.client()}).which, HelperReply::CREATED);
  auto send = [&](uint64_t sequence, const HelperConnection::Fill& fill,
                  std::initializer_list<int> fds) {
    auto bytes = encode([&](auto request) {
      request.setSequence(sequence);
      fill(request);
    });
    ASSERT_TRUE(helper->sendBytes(bytes, kj::arrayPtr(fds.begin(), fds.size())));
  };
  // More than a stream takes that nobody reads.
  writeOwned(host + "/alice/file", std::string(4 << 20, 'x'), ALICE);
  constexpr uint64_t COPY = 1000, CREATE = 1001;
  Stream stream = makeStream();
  send(COPY, copyingIn(ID, host + "/alice"), {alice.client(), stream.theirs});
  helper->destroy(ID);
  send(CREATE, binding(host + "/source", "/data", false, 64), {alice.client()});
  // The copy fails while the create, if it is not refused, waits for its sources.
  usleep(5000);
  shutdown(stream.ours, SHUT_RDWR);
  std::map<uint64_t, int> answers;
  bool created = false;
  while (auto reply = helper->receive(std::chrono::seconds(2))) {
    ++answers[reply->sequence];
    created |= reply->which == HelperReply::CREATED;
  }
  EXPECT_EQ(answers, (std::map<uint64_t, int>{{COPY, 1}, {CREATE, 1}}));
  ASSERT_TRUE(isAlive(server->brokerPid())) << server->logs();
  if (!created) {
    ASSERT_EQ(call(binding(host + "/source", "/data"), {alice.client()}).which,
              HelperReply::CREATED);
  }
  helper->destroy(ID);
}

TEST_F(HostilePorterTest, aFrontendThatEndsLeavesNoWorkerAndNoReservation) {
  HelperConnection alice = clientOf(ALICE);
  makeOwned(host + "/source", 0);
  int client = alice.client();
  for (int i = 0; i < 8; ++i) {
    auto bytes = encode([&](auto request) {
      request.setSequence(1000 + i);
      binding(host + "/source", "/data", false, 64)(request);
      request.getCreate().setId(("0123456789" + std::string(1, char('c' + i))).c_str());
      request.getCreate().setSlot(3 + i);
      request.getCreate().setNetwork(3 + i);
    });
    ASSERT_TRUE(helper->sendBytes(bytes, kj::arrayPtr(&client, 1)));
  }
  replaceFrontend();
  EXPECT_TRUE(waitUntil([&]() { return countWorkers(*server) == 0; }));
  HelperConnection again = clientOf(ALICE);
  EXPECT_EQ(call(creating([](auto) {}), {again.client()}).which, HelperReply::CREATED);
  helper->destroy(ID);
}

}  // namespace
}  // namespace warden::test
