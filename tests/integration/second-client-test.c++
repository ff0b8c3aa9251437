// Clients of other makes, in other languages, drive the server: what they expect is what old
// clients do.

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/server-test.h"

namespace warden::test {
namespace {

class SecondClientTest : public ServerTest {
protected:
  // A script is called with the socket's path, says what it does, and exits with 0 when all was
  // well.
  void runScript(const std::string& interpreter, const std::string& name) {
    start();
    auto result = runProgram(
        {interpreter, WARDEN_SOURCE_DIR "/tests/second-client/" + name, server().socketPath()},
        std::chrono::seconds(90));
    EXPECT_EQ(result.exitStatus, 0) << result.out << result.err;
  }
};

TEST_F(SecondClientTest, rubyWithBeefcakeIsServed) {
  runScript("/usr/bin/ruby", "client.rb");
}

TEST_F(SecondClientTest, pythonWithProtobufIsServed) {
  runScript("/usr/bin/python3", "client.py");
}

}  // namespace
}  // namespace warden::test
