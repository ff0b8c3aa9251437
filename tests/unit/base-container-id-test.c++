#include "base/container-id.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace warden {
namespace {

TEST(ContainerIdTest, acceptsElevenDigitsOfBase32) {
  for (const char* text : {"00000000000", "vvvvvvvvvvv", "0123456789a", "16t3k9dphq0"}) {
    auto id = ContainerId::parse(text);
    ASSERT_TRUE(id != nullptr) << text;
    KJ_IF_MAYBE (i, id) EXPECT_STREQ(i->text().cStr(), text);
  }
}

TEST(ContainerIdTest, refusesEverythingElse) {
  for (const char* text : {"", "0", "0123456789", "0123456789ab", "0123456789w", "0123456789A",
                           "0123456789/", "..", "../../../..", "/0123456789", "0123456789.",
                           "0123456789 ", "\n1234567890", "0123456789\xff", "-1234567890",
                           "\xef\xbc\x90"
                           "12345678"}) {
    EXPECT_TRUE(ContainerId::parse(text) == nullptr) << text;
  }
  EXPECT_TRUE(ContainerId::parse(kj::StringPtr("0123\0006789ab", 11)) == nullptr);
}

TEST(ContainerIdTest, goesThroughNumbersAndBack) {
  for (uint64_t number : {uint64_t(0), uint64_t(1), uint64_t(31), uint64_t(32),
                          uint64_t(1'700'000'000'000'000), (uint64_t(1) << 55) - 1}) {
    auto id = ContainerId::fromNumber(number);
    EXPECT_EQ(id.number(), number);
    EXPECT_EQ(id.text().size(), ContainerId::LENGTH);
    EXPECT_TRUE(ContainerId::parse(id.text()) != nullptr);
  }
  EXPECT_EQ(ContainerId::fromNumber(UINT64_MAX).number(), (uint64_t(1) << 55) - 1);
}

TEST(ContainerIdTest, sortsAsItsNumberDoes) {
  uint64_t step = (uint64_t(1) << 55) / 1009;
  for (uint64_t number = step; number < (uint64_t(1) << 55); number += step) {
    EXPECT_TRUE(ContainerId::fromNumber(number - 1) < ContainerId::fromNumber(number));
    EXPECT_TRUE(ContainerId::fromNumber(number) == ContainerId::fromNumber(number));
  }
}

TEST(ContainerIdGeneratorTest, neverRepeatsAndAlwaysIncreases) {
  ContainerIdGenerator generator;
  std::set<std::string> seen;
  std::string last;
  for (int i = 0; i < 100000; ++i) {
    std::string id = generator.next().text().cStr();
    EXPECT_LT(last, id);
    EXPECT_TRUE(seen.insert(id).second);
    last = id;
  }
}

TEST(ContainerIdGeneratorTest, staysAboveItsFloorWhenTheClockWasSetBack) {
  uint64_t future = uint64_t(1) << 54;
  ContainerIdGenerator generator(future);
  EXPECT_EQ(generator.next().number(), future + 1);
  EXPECT_EQ(generator.next().number(), future + 2);
}

}  // namespace
}  // namespace warden
