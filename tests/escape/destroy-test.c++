// What a container does to keep its files from being removed.

#include <gtest/gtest.h>

#include "tests/escape/escape-environment.h"

namespace warden::test {
namespace {

class DestroyTest : public ::testing::TestWithParam<bool> {
 protected:
  void TearDown() override { environment().expectCanariesUntouched(); }

  void expectDestroyed(const std::string& script) {
    TestClient client = environment().server->connect();
    std::string handle = client.create();
    auto before = environment().server->depotEntries();
    auto response = client.run(handle, script, GetParam());
    EXPECT_EQ(response.exit_status(), 0u) << response.stdout() << response.stderr();
    client.destroy(handle);
    // Of containers there is the environment's only, and nothing waits to be removed.
    EXPECT_TRUE(waitUntil([] { return environment().server->depotEntries().size() == 1; },
                          std::chrono::seconds(30)))
        << environment().server->logs();
    EXPECT_EQ(before.size(), 2u);
  }
};

INSTANTIATE_TEST_SUITE_P(, DestroyTest, ::testing::Bool(), [](auto& info) {
  return std::string(info.param ? "ofRootsFiles" : "ofVcapsFiles");
});

TEST_P(DestroyTest, removesTenThousandDirectoriesWithinEachOther) {
  expectDestroyed("cd /tmp && /probe dig 10000");
}

TEST_P(DestroyTest, removesWhatNobodyMayEnterOrWrite) {
  expectDestroyed(
      "cd /tmp && mkdir -p a/b/c && touch a/b/c/f && chmod 0 a/b/c/f a/b/c a/b a; "
      "(chattr +i /tmp; chattr +a /tmp) 2>/dev/null; true");
}

TEST_P(DestroyTest, removesNamesOfAnyBytes) {
  expectDestroyed(
      "cd /tmp && touch \"$(printf 'new\\nline')\" \"$(printf '\\033[2J')\" \"$(printf '\\377')\" "
      "-- -rf && mkfifo fifo && ln -s / slash && ln -s .. up");
}

}  // namespace
}  // namespace warden::test
