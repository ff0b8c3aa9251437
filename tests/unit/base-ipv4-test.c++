#include "base/ipv4.h"

#include <gtest/gtest.h>
#include <kj/debug.h>

namespace warden {
namespace {

TEST(Ipv4Test, readsAndWritesAnAddress) {
  EXPECT_EQ(KJ_ASSERT_NONNULL(parseIpv4("10.254.0.1")), 0x0afe0001u);
  EXPECT_EQ(KJ_ASSERT_NONNULL(parseIpv4("255.255.255.255")), 0xffffffffu);
  EXPECT_EQ(ipv4Text(0x0afe0001), "10.254.0.1");
}

TEST(Ipv4Test, readsNetworksAndRanges) {
  struct {
    const char* text;
    uint32_t first, last;
  } cases[] = {
      {"10.0.0.7", 0x0a000007, 0x0a000007},          {"10.0.0.7/32", 0x0a000007, 0x0a000007},
      {"10.0.0.7/24", 0x0a000000, 0x0a0000ff},       {"0.0.0.0/0", 0, 0xffffffff},
      {"10.0.0.1-10.0.1.0", 0x0a000001, 0x0a000100}, {"10.0.0.1-10.0.0.1", 0x0a000001, 0x0a000001}};
  for (auto& c : cases) {
    auto range = KJ_ASSERT_NONNULL(parseIpv4Range(c.text), c.text);
    EXPECT_EQ(range.first, c.first) << c.text;
    EXPECT_EQ(range.last, c.last) << c.text;
  }
}

TEST(Ipv4Test, refusesEverythingElse) {
  for (kj::StringPtr text : {""_kj,
                             "10.0.0"_kj,
                             "10.0.0.256"_kj,
                             "10.0.0.01"_kj,
                             " 10.0.0.1"_kj,
                             "10.0.0.1 "_kj,
                             "0.0.0.0/0 -j ACCEPT"_kj,
                             "10.0.0.1/33"_kj,
                             "10.0.0.1/-1"_kj,
                             "10.0.0.1/"_kj,
                             "10.0.0.1/032"_kj,
                             "10.0.0.1/8/8"_kj,
                             "10.0.0.2-10.0.0.1"_kj,
                             "10.0.0.1-"_kj,
                             "10.0.0.1-10.0.0.2-10.0.0.3"_kj,
                             "10.0.0.1/8-10.0.0.2"_kj,
                             "::1"_kj,
                             "example.org"_kj,
                             "0x0a.0.0.1"_kj,
                             "10.0.0.1\0"_kj,
                             "1.2.3.4\0/8"_kj}) {
    EXPECT_TRUE(parseIpv4Range(text) == nullptr) << text.cStr();
  }
}

}  // namespace
}  // namespace warden
