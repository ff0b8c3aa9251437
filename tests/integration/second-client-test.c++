// Clients of other makes, in other languages, drive the server: what they expect is what old
// clients do.

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/server-test.h"
#include "tests/support/test-image.h"

namespace warden::test {
namespace {

class SecondClientTest : public ServerTest {
 protected:
  // A script finds the socket by its environment, says what it does (TAP), and exits with 0 when
  // all was well.
  void runScript(const std::string& interpreter, const std::string& name) {
    constexpr char LIMIT[] = "4194304";
    ServerOptions options;
    options.image = bashImage();
    options.config = {{"server.job_output_limit", LIMIT}};
    start(options);
    auto result = runProgram({"/usr/bin/env", "WARDEN_SOCKET=" + server().socketPath(),
                              std::string("WARDEN_JOB_OUTPUT_LIMIT=") + LIMIT, interpreter,
                              WARDEN_SOURCE_DIR "/tests/second-client/" + name},
                             std::chrono::seconds(90));
    EXPECT_EQ(result.exitStatus, 0) << result.out << result.err;
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
