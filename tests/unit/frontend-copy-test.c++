// What a client hears of a copy while it is under way: from a container that floods its pipe with
// nonsense.

#include <gtest/gtest.h>

#include "tests/unit/frontend-test-client.h"

namespace warden::frontend {
namespace {

class CopyAnswerTest : public CoreTest {
 protected:
  ~CopyAnswerTest() noexcept override = default;

  void SetUp() override {
    CoreTest::SetUp();
    client->create("h");
    client->out.sent.clear();
    helper->copyDelayMs = 1700;
  }

  static CopyInRequest copyIn(bool progress) {
    auto request = named<CopyInRequest>("h");
    request.set_src_path("/a");
    request.set_dst_path("/b");
    if (progress) request.set_progress(true);
    return request;
  }

  template <typename Response>
  static bool hasProgress(const RecordingWriter::Sent& sent) {
    Response response;
    KJ_ASSERT(response.ParseFromString(sent.payload));
    return response.has_progress();
  }
};

TEST_F(CopyAnswerTest, isOneResponseForAClientThatDoesNotAsk) {
  client->call<CopyInResponse>(Message::CopyIn, copyIn(false));
  ASSERT_EQ(client->out.sent.size(), 1u);
  EXPECT_EQ(client->out.sent[0].payload, "");
  EXPECT_EQ(helper->meters(), 0);
}

TEST_F(CopyAnswerTest, isAFewResponsesHoweverMuchTheContainerSays) {
  auto copied = client->begin(Message::CopyIn, copyIn(true)).eagerlyEvaluate(nullptr);
  sleep(100);
  // Others are served meanwhile.
  connect()->call<PingResponse>(Message::Ping, PingRequest());
  copied.wait(scope);
  EXPECT_EQ(helper->meters(), 1);
  auto& sent = client->out.sent;
  // Nonsense may repeat itself, and what repeats itself is not said again.
  ASSERT_GE(sent.size(), 2u);
  EXPECT_LE(sent.size(), 5u);
  for (size_t i = 0; i < sent.size(); ++i) {
    EXPECT_EQ(sent[i].type, Message::CopyIn);
    EXPECT_EQ(hasProgress<CopyInResponse>(sent[i]), i + 1 < sent.size()) << i;
  }
  EXPECT_EQ(sent.back().payload, "");
}

TEST_F(CopyAnswerTest, isOfTheRequestsOwnTypeOutOfTheContainerToo) {
  auto request = named<CopyOutRequest>("h");
  request.set_src_path("/a");
  request.set_dst_path("/b");
  request.set_progress(true);
  client->call<CopyOutResponse>(Message::CopyOut, request);
  ASSERT_GE(client->out.sent.size(), 2u);
  EXPECT_TRUE(hasProgress<CopyOutResponse>(client->out.sent.front()));
  EXPECT_FALSE(hasProgress<CopyOutResponse>(client->out.sent.back()));
}

TEST_F(CopyAnswerTest, saysNothingMoreToAClientThatDoesNotRead) {
  client->out.blocked = true;
  auto copied = client->begin(Message::CopyIn, copyIn(true)).eagerlyEvaluate(nullptr);
  sleep(2000);
  EXPECT_EQ(client->out.refused, 1);
}

}  // namespace
}  // namespace warden::frontend
