// Clients of other makes, in other languages, drive the server: what they expect is what old
// clients do.

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/server-test.h"

namespace warden::test {
namespace {

class SecondClientTest : public ServerTest {
protected:
  // A script finds the server by its environment, prints TAP, and exits with 0 when all was well.
  void runScript(const std::string& interpreter, const std::string& name) {
    constexpr char LIMIT[] = "1000000";
    startWith({{"server.job_output_limit", LIMIT}});
    auto result = runProgram({"/usr/bin/env", "WARDEN_SOCKET=" + server().socketPath(),
                              std::string("WARDEN_JOB_OUTPUT_LIMIT=") + LIMIT, interpreter,
                              WARDEN_SOURCE_DIR "/tests/second-client/" + name},
                             std::chrono::seconds(90));
    EXPECT_EQ(result.exitStatus, 0) << result.out << result.err;
    EXPECT_EQ(result.out.find("not ok"), std::string::npos);
  }
};

TEST_F(SecondClientTest, rubyWithBeefcakeIsServed) {
  runScript("/usr/bin/ruby", "second-client-test.rb");
}

TEST_F(SecondClientTest, pythonWithProtobufIsServed) {
  runScript("/usr/bin/python3", "second-client-smoke.py");
}

}  // namespace
}  // namespace warden::test
