#include "client/frame.h"

#include <gtest/gtest.h>
#include <string.h>

namespace warden::client {
namespace {

constexpr size_t LIMIT = 1000;

void feed(FrameDecoder& decoder, std::string_view bytes) {
  while (!bytes.empty()) {
    auto space = decoder.space();
    size_t count = std::min(space.size(), bytes.size());
    memcpy(space.begin(), bytes.data(), count);
    decoder.commit(count);
    bytes.remove_prefix(count);
  }
}

std::optional<std::string> decodeOne(std::string_view bytes) {
  FrameDecoder decoder(LIMIT);
  feed(decoder, bytes);
  auto payload = decoder.next();
  return payload ? std::optional<std::string>(*payload) : std::nullopt;
}

TEST(ClientFrameTest, encodesAsTheProtocolSays) {
  using namespace std::string_view_literals;
  EXPECT_EQ(encodeFrame(Message::Ping, ""), "4\r\n\x08\x5b\x12\x00\r\n"sv);
}

TEST(ClientFrameTest, carriesEveryByteValue) {
  std::string bytes;
  for (int i = 0; i < 256; ++i)
    bytes += static_cast<char>(i);
  std::string frame = encodeFrame(Message::Echo, bytes);
  auto payload = decodeOne(frame);
  ASSERT_TRUE(payload);
  Message message;
  ASSERT_TRUE(message.ParseFromString(*payload));
  EXPECT_EQ(message.payload(), bytes);
}

TEST(ClientFrameTest, waitsForTheRestWhereverItIsCut) {
  std::string frame = encodeFrame(Message::Echo, "some\r\npayload");
  for (size_t cut = 0; cut < frame.size(); ++cut) {
    FrameDecoder decoder(LIMIT);
    feed(decoder, std::string_view(frame).substr(0, cut));
    EXPECT_FALSE(decoder.next()) << cut;
    EXPECT_EQ(decoder.empty(), cut == 0);
    feed(decoder, std::string_view(frame).substr(cut));
    EXPECT_TRUE(decoder.next()) << cut;
    EXPECT_TRUE(decoder.empty());
  }
}

TEST(ClientFrameTest, separatesFramesThatArriveTogether) {
  FrameDecoder decoder(LIMIT);
  feed(decoder, "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n");
  EXPECT_EQ(decoder.next(), "a");
  EXPECT_EQ(decoder.next(), "bc");
  EXPECT_EQ(decoder.next(), "");
  EXPECT_FALSE(decoder.next());
  EXPECT_TRUE(decoder.empty());
}

class MalformedFrame : public testing::TestWithParam<const char*> {};

TEST_P(MalformedFrame, isRefused) {
  EXPECT_THROW(decodeOne(GetParam()), ProtocolError);
}

INSTANTIATE_TEST_SUITE_P(ClientFrameTest, MalformedFrame,
                         testing::Values("-5\r\nhello\r\n", "+5\r\nhello\r\n", "0x10\r\n",
                                         " 5\r\nhello\r\n", "5 \r\nhello\r\n", "05\r\nhello\r\n",
                                         "\r\n", "\n", "5\nhello\r\n", "5\rhello", "5\r\nhello\n\r",
                                         "5\r\nhelloX", "5\r\nhello\rX", "1001\r\n",
                                         "99999999999\r\n", "99999999999999999999999999",
                                         "18446744073709551621\r\nhello\r\n", "garbage", "1e3\r\n"),
                         [](const auto& info) { return "number" + std::to_string(info.index); });

TEST(ClientFrameTest, refusesAnEndlessLengthLineBeforeItEnds) {
  EXPECT_THROW(decodeOne("1001"), ProtocolError);
  EXPECT_THROW(decodeOne(std::string(100, '9')), ProtocolError);
}

TEST(ClientFrameTest, takesAPayloadOfExactlyTheLimit) {
  EXPECT_EQ(decodeOne("1000\r\n" + std::string(LIMIT, 'x') + "\r\n"), std::string(LIMIT, 'x'));
}

TEST(ClientFrameTest, holdsPayloadsLargerThanItsFirstBuffer) {
  std::string payload(3'000'000, 'x');
  for (size_t i = 0; i < payload.size(); i += 997)
    payload[i] = static_cast<char>(i);
  FrameDecoder decoder(payload.size());
  std::string frame = std::to_string(payload.size()) + "\r\n" + payload + "\r\n";
  for (int round = 0; round < 3; ++round) {
    feed(decoder, frame);
    auto got = decoder.next();
    ASSERT_TRUE(got);
    EXPECT_TRUE(*got == payload);
  }
}

TEST(ClientFrameTest, reusesItsBufferForManySmallFrames) {
  FrameDecoder decoder(LIMIT);
  size_t space = decoder.space().size();
  std::string payload(900, 'y');
  std::string frames;
  for (int i = 0; i < 50; ++i)
    frames += "900\r\n" + payload + "\r\n";
  // A frame and a half at a time, so that there is always something left over.
  size_t count = 0;
  for (int round = 0; round < 100; ++round) {
    for (size_t at = 0; at < frames.size(); at += 1361) {
      feed(decoder, std::string_view(frames).substr(at, 1361));
      while (auto got = decoder.next()) {
        EXPECT_EQ(got->size(), 900u);
        ++count;
      }
    }
  }
  EXPECT_EQ(count, 5000u);
  EXPECT_EQ(decoder.space().size(), space);
}

}  // namespace
}  // namespace warden::client
