// Copies between host and container, for root.

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/host-files.h"
#include "tests/support/server-test.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;

class CopyTest : public ServerTest {
 protected:
  void SetUp() override {
    host = testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-host";
    fs::create_directories(host);
  }

  void TearDown() override {
    ServerTest::TearDown();
    fs::remove_all(host);
  }

  std::string host;
};

TEST_F(CopyTest, aFileGoesInAndComesOutAgain) {
  start();
  writeFile(host + "/file", "hello\n");
  auto client = connect();
  client.create("a");
  CopyInRequest in;
  in.set_handle("a");
  in.set_src_path(host + "/file");
  in.set_dst_path("/tmp/copied");
  client.call(in);
  EXPECT_EQ(client.output("a", "cat /tmp/copied; stat -c %U /tmp/copied"), "hello\nvcap\n");
  client.stop("a");
  CopyOutRequest out;
  out.set_handle("a");
  out.set_src_path("/tmp/copied");
  out.set_dst_path(host + "/back");
  client.call(out);
  EXPECT_EQ(readFile(host + "/back"), "hello\n");
}

}  // namespace
}  // namespace warden::test
