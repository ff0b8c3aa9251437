// The client framing, without sockets.

#include "frontend/frame-codec.h"

#include <gtest/gtest.h>

#include <string>

namespace warden::frontend {
namespace {

constexpr size_t LIMIT = 1024;

kj::ArrayPtr<const kj::byte> bytesOf(const std::string& text) {
  return kj::arrayPtr(reinterpret_cast<const kj::byte*>(text.data()), text.size());
}

std::string stringOf(kj::ArrayPtr<const kj::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
}

std::string frame(Message::Type type, const std::string& payload) {
  return stringOf(encodeFrame(type, bytesOf(payload)));
}

std::string wrap(const std::string& payload) {
  return std::to_string(payload.size()) + "\r\n" + payload + "\r\n";
}

TEST(FrameCodecTest, encodesWhatProtobufEncodes) {
  for (size_t size : {0, 1, 127, 128, 20000}) {
    Message message;
    message.set_type(Message::Echo);
    message.set_payload(std::string(size, 'x'));
    EXPECT_EQ(frame(Message::Echo, std::string(size, 'x')), wrap(message.SerializeAsString()));
  }
}

TEST(FrameCodecTest, decodesOneFrame) {
  FrameDecoder decoder(LIMIT);
  decoder.feed(bytesOf(frame(Message::Ping, "")));
  auto decoded = decoder.next();
  ASSERT_TRUE(decoded.is<Frame>());
  EXPECT_EQ(decoded.get<Frame>().type, Message::Ping);
  EXPECT_TRUE(decoder.next().is<IncompleteFrame>());
}

TEST(FrameCodecTest, decodesAByteAtATime) {
  FrameDecoder decoder(LIMIT);
  std::string payload("\0\xff\r\n5\r\n", 7);
  std::string wire = frame(Message::Echo, payload);
  for (size_t i = 0; i + 1 < wire.size(); ++i) {
    decoder.feed(bytesOf(wire.substr(i, 1)));
    ASSERT_TRUE(decoder.next().is<IncompleteFrame>()) << i;
  }
  decoder.feed(bytesOf("\n"));
  auto decoded = decoder.next();
  ASSERT_TRUE(decoded.is<Frame>());
  EXPECT_EQ(stringOf(decoded.get<Frame>().payload), payload);
}

TEST(FrameCodecTest, decodesPipelinedFramesInOrder) {
  FrameDecoder decoder(LIMIT);
  std::string wire;
  for (int i = 0; i < 100; ++i)
    wire += frame(Message::Echo, std::to_string(i));
  size_t half = wire.size() / 2;
  int expected = 0;
  for (const auto& part : {wire.substr(0, half), wire.substr(half)}) {
    decoder.feed(bytesOf(part));
    for (;;) {
      auto decoded = decoder.next();
      if (!decoded.is<Frame>()) break;
      EXPECT_EQ(stringOf(decoded.get<Frame>().payload), std::to_string(expected++));
    }
  }
  EXPECT_EQ(expected, 100);
}

TEST(FrameCodecTest, acceptsAPayloadOfTheLargestSize) {
  std::string payload(LIMIT - 5, 'x');
  std::string wire = frame(Message::Echo, payload);
  ASSERT_TRUE(wire.starts_with("1024\r\n"));
  FrameDecoder decoder(LIMIT);
  decoder.feed(bytesOf(wire));
  EXPECT_TRUE(decoder.next().is<Frame>());
}

TEST(FrameCodecTest, holdsNoMemoryBetweenFrames) {
  FrameDecoder decoder(LIMIT);
  decoder.feed(bytesOf(frame(Message::Echo, std::string(1000, 'x'))));
  EXPECT_TRUE(decoder.next().is<Frame>());
  EXPECT_EQ(decoder.heldBytes(), 0u);
}

TEST(FrameCodecTest, doesNotAllocateTheAnnouncedLength) {
  FrameDecoder decoder(1 << 30);
  decoder.feed(bytesOf("1073741824\r\n"));
  EXPECT_TRUE(decoder.next().is<IncompleteFrame>());
  EXPECT_LE(decoder.heldBytes(), 64u);
  decoder.feed(bytesOf(std::string(10000, 'x')));
  EXPECT_TRUE(decoder.next().is<IncompleteFrame>());
  EXPECT_LE(decoder.heldBytes(), 2 * 10012u);
}

struct Malformed {
  const char* name;
  std::string wire;
};

class MalformedFrameTest : public testing::TestWithParam<Malformed> {};

TEST_P(MalformedFrameTest, isRefused) {
  FrameDecoder decoder(LIMIT);
  decoder.feed(bytesOf(GetParam().wire));
  EXPECT_TRUE(decoder.next().is<MalformedFrame>());
}

TEST_P(MalformedFrameTest, isRefusedAByteAtATime) {
  FrameDecoder decoder(LIMIT);
  bool refused = false;
  for (char c : GetParam().wire) {
    decoder.feed(bytesOf(std::string(1, c)));
    auto decoded = decoder.next();
    ASSERT_FALSE(decoded.is<Frame>());
    if (decoded.is<MalformedFrame>()) {
      refused = true;
      break;
    }
  }
  EXPECT_TRUE(refused);
}

TEST_P(MalformedFrameTest, isRefusedAfterAGoodFrame) {
  FrameDecoder decoder(LIMIT);
  decoder.feed(bytesOf(frame(Message::Ping, "") + GetParam().wire));
  EXPECT_TRUE(decoder.next().is<Frame>());
  EXPECT_TRUE(decoder.next().is<MalformedFrame>());
}

INSTANTIATE_TEST_SUITE_P(
    All, MalformedFrameTest,
    testing::Values(Malformed{"negativeLength", "-5\r\n"}, Malformed{"plusSign", "+5\r\n"},
                    Malformed{"hexLength", "0x10\r\n"}, Malformed{"hugeLength", "99999999999\r\n"},
                    Malformed{"zerosWithoutEnd", std::string(11, '0')},
                    Malformed{"lengthOverTheLimit", "1025"}, Malformed{"leadingSpace", " 5\r\n"},
                    Malformed{"trailingSpace", "5 \r\n"}, Malformed{"noLength", "\r\n"},
                    Malformed{"noCarriageReturn", "4\n\x08\x5b\x12\r\n"},
                    Malformed{"noLineFeed", "4\rx"}, Malformed{"garbage", "GET / HTTP/1.1\r\n"},
                    Malformed{"nulByte", std::string("\0", 1)},
                    Malformed{"noEndOfPayload", std::string("4\r\n\x08\x5b\x12\x00zz", 9)},
                    Malformed{"halfAnEndOfPayload",
                              wrap(std::string("\x08\x5b\x12\x00", 4)).replace(8, 1, "x")},
                    Malformed{"emptyPayload", "0\r\n\r\n"},
                    Malformed{"payloadOfGarbage", wrap("\xff\xff\xff")},
                    Malformed{"truncatedMessage", wrap("\x08\x5b\x12\x05")},
                    Malformed{"missingType", wrap(std::string("\x12\x00", 2))},
                    Malformed{"missingPayload", wrap("\x08\x5b")},
                    Malformed{"unknownType", wrap(std::string("\x08\x02\x12\x00", 4))},
                    Malformed{"endOfGroup", wrap(std::string("\x08\x5b\x12\x00\x0c", 5))}),
    [](const auto& info) { return info.param.name; });

TEST(FrameCodecTest, waitsForTheRestOfATruncatedFrame) {
  std::string wire = frame(Message::Echo, "hello");
  for (size_t size = 0; size < wire.size(); ++size) {
    FrameDecoder decoder(LIMIT);
    decoder.feed(bytesOf(wire.substr(0, size)));
    EXPECT_TRUE(decoder.next().is<IncompleteFrame>()) << size;
  }
}

}  // namespace
}  // namespace warden::frontend
